//! A clock that stands still until it is moved.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidings_core::time::{Clock, Timestamp};

/// 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicI64,
    steady: AtomicI64,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::at(START)
    }
}

impl ManualClock {
    /// A clock that shows `now`.
    pub const fn at(now: Timestamp) -> Self {
        Self { millis: AtomicI64::new(now.as_millis()), steady: AtomicI64::new(now.as_millis()) }
    }

    /// Shows `now` from here on, be it earlier or later than before, as when somebody sets the clock of a machine: the steady
    /// scale does not notice.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Moves the present forward and gives the new one.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let now = self.now() + by;
        self.set(now);
        self.steady.store((self.steady() + by).as_millis(), Ordering::SeqCst);
        now
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(self.steady.load(Ordering::SeqCst))
    }
}
