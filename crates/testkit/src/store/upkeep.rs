//! Retention, erasure, and the state of the store.

use std::ops::Bound;

use async_trait::async_trait;
use tidings_core::delivery::{Event, State};
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::journal::{Entry, Event as JournalEvent};
use tidings_core::ports::Upkeep;
use tidings_core::ports::dead_letters::ReviewStatus;
use tidings_core::ports::upkeep::{Stats, Swept};
use tidings_core::retention::{Due, Facts, Policy, Span};
use tidings_core::time::Timestamp;

use super::FakeStore;
use super::rows::{Row, Tables};

#[async_trait]
impl Upkeep for FakeStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.read(|_| ())
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.read(Tables::stats)
    }

    async fn sweep(&self, policy: &Policy, span: Span, now: Timestamp, batch: usize) -> Result<Swept, StoreError> {
        self.write(|tables| tables.sweep(policy, span, now, batch))
    }

    async fn forget_keys(&self, now: Timestamp, batch: usize) -> Result<usize, StoreError> {
        self.write(|tables| {
            let expired = tables.keys.iter().filter(|(_, known)| known.expires_at <= now);
            let expired: Vec<_> = expired.map(|(key, _)| *key).take(batch).collect();
            for key in &expired {
                tables.keys.remove(key);
            }
            expired.len()
        })
    }

    async fn pending_erasures(&self, limit: usize) -> Result<Vec<(TenantId, UserId)>, StoreError> {
        self.read(|tables| tables.erasures.iter().take(limit).map(|gone| (gone.tenant, gone.user)).collect())
    }

    async fn erase(&self, tenant: TenantId, user: UserId, now: Timestamp, batch: usize) -> Result<bool, StoreError> {
        self.write(|tables| tables.erase(tenant, user, now, batch))
    }
}

impl Tables {
    fn stats(&self) -> Stats {
        let count = |state: State| self.notifications.values().filter(move |row| row.state == state);
        let pending = || self.letters.values().filter(|letter| letter.review_status == ReviewStatus::Pending);
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Stats {
            queued: number(count(State::Queued).count()),
            leased: number(count(State::Sending).count()),
            oldest_due: count(State::Queued).map(|row| row.notification.due_at).min(),
            dead_letters_pending: number(pending().count()),
            oldest_dead_letter: pending().map(|letter| letter.died_at).min(),
            size_bytes: 0,
            waiting_writes: 0,
        }
    }

    fn sweep(&mut self, policy: &Policy, span: Span, now: Timestamp, batch: usize) -> Swept {
        let start = span.after.map_or(Bound::Unbounded, Bound::Excluded);
        let last = span.last(policy, now);
        let rows = self.notifications.range((start, Bound::Unbounded)).take_while(|(id, _)| **id <= last).take(batch);
        let judged: Vec<(MessageId, TenantId, Due, Timestamp)> = rows
            .map(|(id, row)| {
                let facts = facts(row);
                (*id, row.notification.tenant, policy.judge(&facts, now), policy.earliest(&facts, now))
            })
            .collect();
        let last = judged.last().map(|(id, ..)| *id);
        let mut swept = Swept { next: last.filter(|_| judged.len() == batch), ..Swept::default() };
        let mut left = Vec::new();
        for (id, tenant, due, earliest) in judged {
            match due {
                Due::Keep => left.push(earliest),
                Due::Expire => {
                    let ended = self.end(tenant, id, Event::Expired, now);
                    swept.expired += usize::from(ended.is_some_and(|ended| ended.is_ok()));
                    left.push(now);
                }
                Due::Delete => {
                    self.delete(id);
                    swept.deleted += 1;
                }
            }
        }
        swept.due_at = left.into_iter().min();
        swept
    }

    fn delete(&mut self, id: MessageId) {
        self.notifications.remove(&id);
        self.letters.remove(&id);
        for inbox in self.inboxes.values_mut() {
            inbox.places.retain(|_, place| place.id != id);
        }
    }

    fn erase(&mut self, tenant: TenantId, user: UserId, now: Timestamp, batch: usize) -> bool {
        let Some(position) = self.erasures.iter().position(|gone| gone.tenant == tenant && gone.user == user) else {
            return true;
        };
        let start = self.erasures[position].upto.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.notifications.range((start, Bound::Unbounded));
        let theirs = rows.filter(|(_, row)| row.notification.tenant == tenant && row.notification.user == Some(user));
        let ids: Vec<MessageId> = theirs.map(|(id, _)| *id).take(batch).collect();
        for id in &ids {
            self.erase_one(tenant, *id, now);
        }
        if ids.len() == batch {
            self.erasures[position].upto = ids.last().copied();
            return false;
        }
        self.inboxes.remove(&(tenant, user));
        self.erasures.remove(position);
        true
    }

    /// Ends what is not at its end yet, and deletes what was told and what providers said about it.
    fn erase_one(&mut self, tenant: TenantId, id: MessageId, now: Timestamp) {
        for event in [Event::RecipientGone, Event::Cancelled] {
            // Of the two one fits what is being sent, the other what waits; neither fits what has ended.
            self.end(tenant, id, event, now);
        }
        if let Some(row) = self.notifications.get_mut(&id) {
            row.erase(now);
        }
        if let Some(letter) = self.letters.get_mut(&id) {
            letter.next_redrive_at = None;
        }
    }
}

impl Row {
    fn erase(&mut self, now: Timestamp) {
        self.content = None;
        self.error = self.error.take().map(|_| "Erased".to_owned());
        for entry in &mut self.journal {
            entry.detail = None;
            if let Some(attempt) = &mut entry.attempt {
                attempt.message = None;
            }
        }
        self.journal.push(Entry::new(now, JournalEvent::Erased));
    }
}

fn facts(row: &Row) -> Facts {
    Facts {
        state: row.state,
        accepted_at: row.notification.accepted_at,
        due_at: row.notification.due_at,
        finished_at: row.finished_at,
        read_at: row.read_at,
    }
}
