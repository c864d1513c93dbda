//! Two clocks: one that only goes on, and the wall clock, which somebody moves.

use std::time::Duration;

use parking_lot::Mutex;
use tidings_core::time::{Clock, Timestamp};
use tidings_testkit::clock::START;
use tokio::time::{Instant, sleep};

/// The time of a simulation, over all lives of its process. Each life has a runtime, and so a paused clock, of its own.
#[derive(Default)]
pub(crate) struct SimClock {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the present life began; `None` between two.
    origin: Option<Instant>,
    /// How long the lives and pauses before it took.
    before: Duration,
    /// How far the wall clock is off, in milliseconds.
    skew: i64,
}

impl State {
    fn elapsed(&self) -> Duration {
        self.before + self.origin.map_or(Duration::ZERO, |origin| origin.elapsed())
    }
}

impl SimClock {
    /// A life begins.
    pub(crate) fn begin(&self) {
        self.state.lock().origin = Some(Instant::now());
    }

    /// A life ends: time stands still until the next one.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.before = state.elapsed();
        state.origin = None;
    }

    /// Time passes between two lives.
    pub(crate) fn rest(&self, time: Duration) {
        self.state.lock().before += time;
    }

    /// The time since the beginning of the simulation, which no jump changes.
    pub(crate) fn elapsed(&self) -> Duration {
        self.state.lock().elapsed()
    }

    /// Waits until so much time has passed since the beginning.
    pub(crate) async fn sleep_until(&self, at: Duration) {
        let left = at.saturating_sub(self.elapsed());
        if !left.is_zero() {
            sleep(left).await;
        }
    }

    /// Moves the wall clock.
    pub(crate) fn jump(&self, millis: i64) {
        self.state.lock().skew += millis;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let state = self.state.lock();
        let elapsed = i64::try_from(state.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(START.as_millis() + elapsed + state.skew)
    }

    fn steady(&self) -> Timestamp {
        START + self.elapsed()
    }
}
