//! Numbers that look random and are the same every time.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood 2014).
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// True in so many of a hundred cases.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time of less than so many seconds.
    pub(super) fn seconds(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end * 1_000))
    }

    /// A place in a list of this length; `None` in an empty one.
    pub(super) fn place(&mut self, length: usize) -> Option<usize> {
        let length = u64::try_from(length).ok().filter(|length| *length > 0)?;
        usize::try_from(self.below(length)).ok()
    }

    /// One of several things.
    pub(super) fn pick<T: Clone>(&mut self, things: &[T]) -> Option<T> {
        self.place(things.len()).and_then(|place| things.get(place)).cloned()
    }
}
