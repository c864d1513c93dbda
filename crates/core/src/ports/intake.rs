//! Taking notifications in.

use std::time::Duration;

use async_trait::async_trait;

use crate::delivery::Transition;
use crate::error::StoreError;
use crate::id::MessageId;
use crate::idempotency::Idempotency;
use crate::notification::NewNotification;

/// One notification to be stored, with the key it came under.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The notification.
    pub notification: NewNotification,
    /// Its idempotency key, if the caller gave one.
    pub idempotency: Option<Idempotency>,
    /// The delivery to its user's inbox, if it is delivered with its acceptance; see [`delivery::appended`](crate::delivery::appended).
    pub at_once: Option<Transition>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Stored durably, with a job.
    Accepted(MessageId),
    /// Stored durably, and delivered to its user's inbox with that.
    Delivered(MessageId),
    /// The key was used before with the same body: the answer of then.
    Replayed(MessageId),
    /// The key was used before with another body. Nothing was stored.
    Mismatched,
}

/// Makes notifications durable.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Stores a batch: for each new submission the notification, its content, its job, its key and the first entry of
    /// its journal.
    ///
    /// - MUST be durable on stable storage before it returns `Ok`; one answer per submission, in order.
    /// - MUST be atomic: the batch is stored as a whole or not at all, and not at all after an error other than
    ///   [`StoreError::Unavailable`], which leaves it open.
    /// - MUST check each key in the same transaction, against what is stored and against the batch itself. A key whose
    ///   `expires_at` is at or before the notification's `accepted_at` counts as absent.
    /// - Concurrent calls with one key MUST yield one `Accepted`.
    /// - With `at_once`, the notification MUST be appended to the inbox of its user and recorded as the transition says, in the same
    ///   transaction and without a job: `Delivered`. If the user does not exist any more it is queued like others: `Accepted`.
    async fn accept(&self, batch: Vec<Submission>) -> Result<Vec<Acceptance>, StoreError>;

    /// What `accept` would answer to a key already used, without storing anything; `None` if the key is new. The
    /// present is the time at which keys are judged expired.
    async fn replay(&self, key: &Idempotency, now: crate::time::Timestamp) -> Result<Option<Acceptance>, StoreError>;

    /// How long a batch given now would wait until it is durable, as far as that can be told from what waits already.
    /// Overload is judged by it.
    ///
    /// - MUST cost no more than a few loads: it is asked for every request, before its body is read.
    /// - MUST NOT stay above zero when nothing waits, or nobody would ever be let in again.
    ///
    /// A store that cannot tell says zero.
    fn accept_wait(&self) -> Duration {
        Duration::ZERO
    }
}
