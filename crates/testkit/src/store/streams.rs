//! Numbered streams: inboxes.

use async_trait::async_trait;
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::journal::{Entry, Event};
use tidings_core::ports::Streams;
use tidings_core::ports::streams::{InboxEntry, InboxHead, InboxPage, InboxRange, Receipt, ReceiptFor};
use tidings_core::time::Timestamp;

use super::FakeStore;
use super::rows::{Inbox, Place, Tables};

#[async_trait]
impl Streams for FakeStore {
    async fn read_inbox(
        &self,
        tenant: TenantId,
        user: UserId,
        range: InboxRange,
        limit: usize,
    ) -> Result<InboxPage, StoreError> {
        self.read(|tables| tables.read_inbox((tenant, user), range, limit))
    }

    async fn acknowledge(
        &self,
        tenant: TenantId,
        user: UserId,
        receipt: Receipt,
        of: ReceiptFor,
        now: Timestamp,
    ) -> Result<InboxHead, StoreError> {
        self.write(|tables| tables.acknowledge((tenant, user), receipt, &of, now))
    }
}

impl Tables {
    /// Appends a notification to the inbox of its user.
    pub(super) fn append(&mut self, owner: (TenantId, UserId), id: MessageId, at: Timestamp) {
        let inbox = self.inboxes.entry(owner).or_default();
        inbox.last += 1;
        inbox.places.insert(inbox.last, Place { id, at, delivered_at: None, read_at: None });
    }

    fn read_inbox(&self, owner: (TenantId, UserId), range: InboxRange, limit: usize) -> InboxPage {
        let Some(inbox) = self.inboxes.get(&owner) else {
            return InboxPage::default();
        };
        let entry = |(number, place): (&u64, &Place)| self.entry(*number, place);
        let entries = match range {
            InboxRange::After(number) => {
                let after = inbox.places.range(number.saturating_add(1)..);
                after.filter_map(entry).take(limit).collect()
            }
            InboxRange::Before(number) => inbox.places.range(..number).rev().filter_map(entry).take(limit).collect(),
        };
        InboxPage { entries, head: inbox.head() }
    }

    fn entry(&self, number: u64, place: &Place) -> Option<InboxEntry> {
        let row = self.notifications.get(&place.id)?;
        Some(InboxEntry {
            number,
            id: place.id,
            category: row.notification.category.clone(),
            payload: row.payload(),
            at: place.at,
            delivered_at: place.delivered_at,
            read_at: place.read_at,
        })
    }

    fn acknowledge(
        &mut self,
        owner: (TenantId, UserId),
        receipt: Receipt,
        of: &ReceiptFor,
        now: Timestamp,
    ) -> InboxHead {
        let Some(inbox) = self.inboxes.get_mut(&owner) else {
            return InboxHead::default();
        };
        for (_, place) in inbox.places.iter_mut().filter(|(number, _)| is_meant(of, **number)) {
            place.delivered_at.get_or_insert(now);
            if receipt == Receipt::Read && place.read_at.is_none() {
                place.read_at = Some(now);
                if let Some(row) = self.notifications.get_mut(&place.id) {
                    row.read_at = Some(now);
                    row.journal.push(Entry::new(now, Event::Read));
                }
            }
        }
        inbox.head()
    }
}

fn is_meant(of: &ReceiptFor, number: u64) -> bool {
    match of {
        ReceiptFor::UpTo(last) => number <= *last,
        ReceiptFor::Numbers(numbers) => numbers.contains(&number),
    }
}

impl Inbox {
    fn head(&self) -> InboxHead {
        let unread = self.places.values().filter(|place| place.read_at.is_none()).count();
        InboxHead { last: self.last, unread: u64::try_from(unread).unwrap_or(u64::MAX) }
    }
}
