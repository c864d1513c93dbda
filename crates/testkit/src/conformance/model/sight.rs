//! What the ports promise of an answer. The rest is made the same before two answers are compared.

use std::collections::BTreeMap;

use tidings_core::delivery::{Delivery, State};
use tidings_core::fairness::Lane;
use tidings_core::id::MessageId;
use tidings_core::notification::{NewNotification, Record, Summary};
use tidings_core::ports::dead_letters::DeadLetter;
use tidings_core::ports::jobs::{Job, Lost, Ready};
use tidings_core::ports::upkeep::Stats;
use tidings_core::time::Timestamp;

/// When it is due is promised only of what waits.
pub(super) fn summary(mut summary: Summary) -> Summary {
    if summary.state != State::Queued {
        summary.due_at = summary.accepted_at;
    }
    summary
}

/// The words of journal entries are free; how much of an attempt is left after an erasure, too.
pub(super) fn record(record: Option<Record>) -> Option<Record> {
    let mut record = record?;
    record.summary = summary(record.summary);
    let is_erased = record.content.is_none();
    if is_erased {
        record.summary.error = None;
    }
    for entry in &mut record.journal {
        entry.detail = None;
        if let Some(attempt) = entry.attempt.as_mut().filter(|_| is_erased) {
            (attempt.code, attempt.message, attempt.provider_id) = (None, None, None);
        }
    }
    Some(record)
}

/// What the error of an erased dead letter says is free.
pub(super) fn letter(mut letter: DeadLetter) -> DeadLetter {
    if letter.content.is_none() {
        letter.error = String::new();
    }
    letter
}

/// A claim without its fence, which only has to grow.
pub(super) fn job(job: &Job) -> (MessageId, Timestamp, NewNotification, Delivery) {
    let notification = NewNotification { due_at: job.notification.accepted_at, ..job.notification.clone() };
    (job.lease.id, job.lease.until, notification, job.delivery.clone())
}

/// A lost lease without its fence and notification.
pub(super) fn lost(lost: &Lost) -> (MessageId, Timestamp, Delivery) {
    (lost.lease.id, lost.lease.until, lost.delivery.clone())
}

/// The order of lanes that became due at the same time is free; so is what is announced while something is due.
pub(super) fn ready(ready: &Ready) -> (BTreeMap<Lane, usize>, Option<Timestamp>) {
    let announced = ready.next_due.filter(|_| ready.lanes.is_empty());
    (ready.lanes.iter().cloned().collect(), announced)
}

/// Sizes are the store's own affair, and nothing is overdue that is not due.
pub(super) fn stats(stats: Stats, now: Timestamp) -> Stats {
    let oldest_due = stats.oldest_due.filter(|due_at| *due_at <= now);
    Stats { oldest_due, size_bytes: 0, waiting_writes: 0, ..stats }
}
