//! How much may be under way at once, so that what is measured is the whole life of notifications and not a growing queue.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Lets notifications in while fewer than a limit are on their way.
pub(crate) struct Flow {
    room: Semaphore,
    limit: usize,
    delivered: AtomicU64,
}

impl Flow {
    /// At most `limit` on their way.
    pub(crate) fn new(limit: usize) -> Self {
        Self { room: Semaphore::new(limit), limit, delivered: AtomicU64::new(0) }
    }

    /// Waits for room for `count`; false if there was none until the instant given.
    pub(crate) async fn admit(&self, count: u32, until: Instant) -> bool {
        if let Ok(room) = self.room.try_acquire_many(count) {
            room.forget();
            return true;
        }
        match timeout_at(until, self.room.acquire_many(count)).await {
            Ok(Ok(room)) => {
                room.forget();
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Notifications that were let in and not accepted.
    pub(crate) fn give_back(&self, count: u64) {
        self.room.add_permits(bounded(count));
    }

    /// Notifications that arrived.
    pub(crate) fn deliver(&self, count: u64) {
        if count > 0 {
            self.delivered.fetch_add(count, Ordering::Relaxed);
            self.give_back(count);
        }
    }

    /// How many arrived since the start.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Makes room anew: after a crash nobody says how much of what was on its way has arrived.
    pub(crate) fn forget_what_is_under_way(&self) {
        self.room.add_permits(self.limit.saturating_sub(self.room.available_permits()));
    }
}

/// No process delivers more at once than this; the semaphore would refuse more than it can count.
fn bounded(count: u64) -> usize {
    usize::try_from(count.min(u64::from(u32::MAX))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_full_lets_in_again_after_a_delivery() {
        let flow = Flow::new(2);
        assert!(flow.admit(2, Instant::now()).await);
        assert!(!flow.admit(1, Instant::now()).await);
        flow.deliver(1);
        assert!(flow.admit(1, Instant::now()).await);
        assert_eq!(flow.delivered(), 1);
        flow.give_back(1);
        assert!(flow.admit(1, Instant::now()).await);
        flow.forget_what_is_under_way();
        assert!(flow.admit(2, Instant::now()).await);
        assert!(!flow.admit(1, Instant::now()).await);
    }
}
