//! The leases that this process holds, by a clock that never jumps.
//!
//! The store judges leases by the wall clock. When that is moved forward, every lease seems to have run out, while its
//! worker is still at work; this is how the rescue knows better.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidings_core::id::MessageId;
use tidings_core::ports::jobs::Lease;
use tokio::time::Instant;

/// All leases that this process holds.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<MessageId, Term>>,
}

#[derive(Clone, Copy)]
struct Term {
    fence: i64,
    ends: Instant,
}

/// A lease from its claim to its settlement.
pub(crate) struct Held {
    leases: Arc<Leases>,
    id: MessageId,
    term: Term,
}

impl Leases {
    /// Takes note of a claimed lease.
    pub(crate) fn hold(self: &Arc<Self>, lease: &Lease, ends: Instant) -> Held {
        let term = Term { fence: lease.fence, ends };
        self.held.lock().insert(lease.id, term);
        Held { leases: self.clone(), id: lease.id, term }
    }

    /// Whether somebody here works under this lease and has time left.
    pub(crate) fn has(&self, lease: &Lease) -> bool {
        let held = self.held.lock();
        held.get(&lease.id).is_some_and(|term| term.fence == lease.fence && term.ends > Instant::now())
    }
}

impl Held {
    /// How much of the lease is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.term.ends.saturating_duration_since(Instant::now())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock();
        // After a rescue the same notification may be under a later claim.
        if held.get(&self.id).is_some_and(|term| term.fence == self.term.fence) {
            held.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::time::Timestamp;

    use super::*;

    fn lease(fence: i64) -> Lease {
        let now = Timestamp::from_millis(1_800_000_000_000);
        Lease { id: MessageId::floor(now), fence, until: now }
    }

    #[test]
    fn a_lease_is_held_until_its_holder_lets_go() {
        let leases = Arc::<Leases>::default();
        let held = leases.hold(&lease(1), Instant::now() + Duration::from_mins(1));
        assert!(leases.has(&lease(1)) && !leases.has(&lease(2)));
        assert!(held.remaining() > Duration::from_secs(50));
        drop(held);
        assert!(!leases.has(&lease(1)));
    }

    #[test]
    fn letting_go_of_an_old_claim_leaves_the_new_one() {
        let leases = Arc::<Leases>::default();
        let ends = Instant::now() + Duration::from_mins(1);
        let old = leases.hold(&lease(1), ends);
        let _new = leases.hold(&lease(2), ends);
        drop(old);
        assert!(leases.has(&lease(2)));
    }

    #[test]
    fn a_lease_whose_time_is_over_is_not_held() {
        let leases = Arc::<Leases>::default();
        let held = leases.hold(&lease(1), Instant::now());
        assert!(!leases.has(&lease(1)));
        assert_eq!(held.remaining(), Duration::ZERO);
    }
}
