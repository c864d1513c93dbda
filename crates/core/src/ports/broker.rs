//! Waking workers up.

use async_trait::async_trait;

/// Carries hints that work is due. The store is the truth: a hint may be lost, doubled, late or invented, and costs at
/// most a look at the store.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Hints that jobs have become due. MUST NOT block on a slow or absent peer.
    fn wake(&self);

    /// Waits for a hint. A hint that was given while nobody waited MUST be kept: the next call returns at once. Any
    /// number of hints MAY become one.
    async fn woken(&self);
}
