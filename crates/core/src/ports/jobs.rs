//! The queue.

use std::time::Duration;

use async_trait::async_trait;

use crate::delivery::{Delivery, Transition};
use crate::error::StoreError;
use crate::fairness::Lane;
use crate::id::{BootId, MessageId};
use crate::notification::NewNotification;
use crate::time::Timestamp;

/// What is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Lanes with at least one due job, each with the number known to be due (at least 1, at most what was asked for).
    pub lanes: Vec<(Lane, usize)>,
    /// When the next lane becomes due that is not due yet.
    pub next_due: Option<Timestamp>,
}

/// Which jobs to claim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who claims.
    pub owner: BootId,
    /// The present.
    pub now: Timestamp,
    /// How long the lease lasts.
    pub lease: Duration,
    /// How many jobs of which lanes.
    pub lanes: Vec<(Lane, usize)>,
}

/// The right to settle one claim. A later claim of the same job has a greater fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The notification.
    pub id: MessageId,
    /// The fencing token.
    pub fence: i64,
    /// When the right ends.
    pub until: Timestamp,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The right to settle it.
    pub lease: Lease,
    /// The notification with its content; an erased payload is `{}`.
    pub notification: NewNotification,
    /// The delivery, in state `Sending`, this attempt counted.
    pub delivery: Delivery,
}

/// The result of a claim, to be made durable.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The claim that it settles.
    pub lease: Lease,
    /// What was decided.
    pub transition: Transition,
    /// Whether the notification is appended to its user's inbox stream.
    pub to_inbox: bool,
    /// When the dead letter, if this makes one, is redriven by itself.
    pub redrive_at: Option<Timestamp>,
    /// What is to be sent because of it, such as an operational event.
    pub follow_up: Option<Box<NewNotification>>,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is durable.
    Done,
    /// The lease was not valid any more: somebody else owns the job, or it has ended. Nothing was changed.
    Stale,
}

/// A lease that ran out.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The claim.
    pub lease: Lease,
    /// The notification, without content.
    pub notification: NewNotification,
    /// The delivery, in state `Sending`.
    pub delivery: Delivery,
}

/// Which leases to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostBy {
    /// Those that ended at or before this instant.
    Deadline(Timestamp),
    /// Those of every owner but this one: the caller knows that no other process is alive.
    OtherThan(BootId),
}

/// The whole queue: what is due, who works on it, what came of it.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// The lanes with due jobs, at most `limit` of them, the longest due first; at most `depth` is counted in each. When
    /// there are more, every tenant, channel and priority with due jobs MUST be among them as far as the limit allows.
    ///
    /// It MAY lag behind concurrent writes, but a job stored before the call MUST be seen by it.
    async fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Result<Ready, StoreError>;

    /// Leases due jobs, the longest due first in each lane, and counts the attempt.
    ///
    /// - MUST give a job to one claimer at a time, and a fence greater than all earlier ones of that job.
    /// - The claim, attempt number included, MUST be durable before it returns: it is the record of intent that crash
    ///   recovery reads.
    async fn claim(&self, claim: Claim) -> Result<Vec<Job>, StoreError>;

    /// Applies decisions: the state change, its journal entry, the inbox append, the dead letter and the follow-up of
    /// one settlement are one transaction.
    ///
    /// - MUST NOT change anything for a lease that is not the current one; it answers `Stale`.
    /// - A transition to `State::Dead` MUST create the dead letter.
    /// - `to_inbox` MUST give the entry the next number of the stream `inbox:<user>`, in the same transaction.
    /// - One answer per settlement, in order; durable when it returns.
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError>;

    /// Leases that were lost, in the order of their ids from the first after `after` on, `limit` of them or, when there are
    /// no more, fewer. The caller decides each and settles it under its fence.
    async fn lost(&self, by: LostBy, after: Option<MessageId>, limit: usize) -> Result<Vec<Lost>, StoreError>;
}
