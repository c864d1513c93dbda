//! Dead letters and their review.

use async_trait::async_trait;
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::journal::{Entry, Event};
use tidings_core::ports::DeadLetters;
use tidings_core::ports::dead_letters::{DeadLetter, DeadLetterPage, DeadLetterQuery, Review, ReviewStatus, Reviewed};
use tidings_core::time::Timestamp;

use super::FakeStore;
use super::rows::{Letter, Row, Tables};

#[async_trait]
impl DeadLetters for FakeStore {
    async fn dead_letter(&self, tenant: TenantId, id: MessageId) -> Result<Option<DeadLetter>, StoreError> {
        self.read(|tables| tables.dead_letter(tenant, id))
    }

    async fn list_dead_letters(&self, tenant: TenantId, query: DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        self.read(|tables| tables.list_dead_letters(tenant, &query))
    }

    async fn review(
        &self,
        tenant: TenantId,
        id: MessageId,
        review: Review,
        now: Timestamp,
    ) -> Result<Option<Reviewed>, StoreError> {
        self.write(|tables| tables.review(tenant, id, review, now))
    }

    async fn due_redrives(&self, now: Timestamp, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.read(|tables| {
            let open = tables.all_dead_letters().filter(|letter| letter.review_status.is_open());
            let mut due: Vec<DeadLetter> =
                open.filter(|letter| letter.next_redrive_at.is_some_and(|at| at <= now)).collect();
            due.sort_by_key(|letter| letter.next_redrive_at);
            due.truncate(limit);
            due
        })
    }
}

impl Tables {
    pub(super) fn dead_letter(&self, tenant: TenantId, id: MessageId) -> Option<DeadLetter> {
        Some(read(self.row(tenant, id)?, self.letters.get(&id)?))
    }

    /// Newest first.
    fn all_dead_letters(&self) -> impl Iterator<Item = DeadLetter> {
        let rows = self.letters.iter().rev();
        rows.filter_map(|(id, letter)| Some(read(self.notifications.get(id)?, letter)))
    }

    fn list_dead_letters(&self, tenant: TenantId, query: &DeadLetterQuery) -> DeadLetterPage {
        let found = self.all_dead_letters().filter(|letter| letter.tenant == tenant && fits(letter, query));
        let items: Vec<DeadLetter> = found.take(query.limit).collect();
        let is_full = items.len() >= query.limit;
        let next = items.last().filter(|_| is_full).map(|letter| letter.id);
        DeadLetterPage { items, next }
    }

    fn review(&mut self, tenant: TenantId, id: MessageId, review: Review, now: Timestamp) -> Option<Reviewed> {
        let has_content = self.row(tenant, id)?.content.is_some();
        let letter = self.letters.get_mut(&id)?;
        let is_possible = has_content || !matches!(review, Review::Redrive(_));
        if !letter.review_status.is_open() || !is_possible {
            return Some(Reviewed::Closed(letter.review_status));
        }
        match review {
            Review::Note { note, status } => {
                letter.note = note.or_else(|| letter.note.take());
                letter.review_status = status.unwrap_or(letter.review_status);
            }
            Review::Discard { note } => {
                letter.note = note.or_else(|| letter.note.take());
                letter.close(ReviewStatus::Discarded);
                self.write_entry(id, Entry::new(now, Event::Discarded));
            }
            Review::Redrive(replacement) => {
                letter.redriven_as = Some(replacement.id);
                letter.close(ReviewStatus::Redriven);
                self.write_entry(id, Entry::new(now, Event::Redriven).with_detail(replacement.id.to_string()));
                self.insert(*replacement);
            }
        }
        self.dead_letter(tenant, id).map(|letter| Reviewed::Done(Box::new(letter)))
    }

    fn write_entry(&mut self, id: MessageId, entry: Entry) {
        if let Some(row) = self.notifications.get_mut(&id) {
            row.journal.push(entry);
        }
    }
}

impl Letter {
    fn close(&mut self, status: ReviewStatus) {
        self.review_status = status;
        self.next_redrive_at = None;
    }
}

fn read(row: &Row, letter: &Letter) -> DeadLetter {
    let notification = &row.notification;
    DeadLetter {
        id: notification.id,
        tenant: notification.tenant,
        user: notification.user,
        channel: notification.channel.clone(),
        category: notification.category.clone(),
        priority: notification.priority,
        context: notification.context.clone(),
        content: row.content.clone(),
        error: row.error.clone().unwrap_or_default(),
        attempts: row.attempts,
        accepted_at: notification.accepted_at,
        died_at: letter.died_at,
        review_status: letter.review_status,
        note: letter.note.clone(),
        redrives: notification.redrives,
        next_redrive_at: letter.next_redrive_at,
        redriven_as: letter.redriven_as,
    }
}

fn fits(letter: &DeadLetter, query: &DeadLetterQuery) -> bool {
    query.user.is_none_or(|wanted| letter.user == Some(wanted))
        && query.channel.as_ref().is_none_or(|wanted| *wanted == letter.channel)
        && query.category.as_ref().is_none_or(|wanted| *wanted == letter.category)
        && query.review_status.is_none_or(|wanted| wanted == letter.review_status)
        && query.error_contains.as_deref().is_none_or(|part| letter.error.contains(part))
        && query.from.is_none_or(|from| letter.died_at >= from)
        && query.until.is_none_or(|until| letter.died_at < until)
        && query.before.is_none_or(|before| letter.id < before)
}
