//! Keeping the store small and healthy.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::id::{MessageId, TenantId, UserId};
use crate::retention::{Policy, Span};
use crate::time::Timestamp;

/// A step of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Notifications deleted.
    pub deleted: usize,
    /// Notifications that expired because nobody could deliver them in time.
    pub expired: usize,
    /// The last one looked at, after which the next step goes on; `None` when the span is through.
    pub next: Option<MessageId>,
    /// Nothing that this step has left of what it looked at can be due before; `None` if it has left nothing.
    pub due_at: Option<Timestamp>,
}

/// The state of the store, for metrics, health and alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Jobs waiting, due or not.
    pub queued: u64,
    /// Jobs under a lease.
    pub leased: u64,
    /// When the first waiting job becomes due, or became due.
    pub oldest_due: Option<Timestamp>,
    /// Dead letters that nobody has decided about.
    pub dead_letters_pending: u64,
    /// When the oldest of these died.
    pub oldest_dead_letter: Option<Timestamp>,
    /// Bytes of the store on disk, log included.
    pub size_bytes: u64,
    /// Writes waiting for the next commit.
    pub waiting_writes: u64,
}

/// The work that nobody asked for.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Whether the store answers, by a real read. MUST NOT wait behind writes or a full pool.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The state of the store. MUST be cheap enough to be asked every few seconds.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// One small step of retention over all tenants: looks at no more than `batch` notifications of the span, the oldest
    /// first, and deletes or expires what the policy says, with everything that belongs to it, in one short transaction.
    ///
    /// - MUST look at every notification of the span up to the answer's `next`, or to the end of the span, and at no other.
    /// - `due_at` MUST NOT be later than [`Policy::earliest`] of anything that is left there. It MAY be earlier, such as
    ///   `now` for what has just expired: whoever asks does not come back before.
    /// - What nobody needs any more of other things, such as names of queues, MAY be forgotten with the step that comes
    ///   to the horizon.
    async fn sweep(&self, policy: &Policy, span: Span, now: Timestamp, batch: usize) -> Result<Swept, StoreError>;

    /// Forgets idempotency keys that have expired, at most `batch`. Returns how many.
    async fn forget_keys(&self, now: Timestamp, batch: usize) -> Result<usize, StoreError>;

    /// Deleted users whose erasure is not complete.
    async fn pending_erasures(&self, limit: usize) -> Result<Vec<(TenantId, UserId)>, StoreError>;

    /// One small step of an erasure: cancels what still waits for the user, deletes content and inbox, and takes out of
    /// journals and errors what providers said. Returns `true` when nothing is left.
    async fn erase(&self, tenant: TenantId, user: UserId, now: Timestamp, batch: usize) -> Result<bool, StoreError>;
}
