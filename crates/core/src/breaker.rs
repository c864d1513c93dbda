//! A circuit breaker per destination: a dead endpoint costs the others nothing.
//!
//! Closed, every call passes. When enough of the recent calls failed, it opens: nothing passes, and nothing is charged to
//! the notifications that wait. After a pause a few probes pass (half open). All of them good: closed again. One bad: open
//! again, for twice as long.
//!
//! A pure state machine: time comes in, permission comes out. (Nygard, *Release It!*, chapter 5.)

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// When a breaker opens and how it closes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How far back calls count.
    pub window: Duration,
    /// Fewer calls in the window prove nothing by their rate.
    pub min_calls: usize,
    /// The share of failures, in percent, at which it opens.
    pub failure_percent: usize,
    /// This many failures in a row open it whatever the rate.
    pub consecutive_failures: usize,
    /// The first pause.
    pub open_for: Duration,
    /// The longest pause; each reopening doubles the one before.
    pub open_for_at_most: Duration,
    /// How many probes pass when half open, and have to succeed.
    pub probes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_calls: 20,
            failure_percent: 50,
            consecutive_failures: 10,
            open_for: Duration::from_secs(30),
            open_for_at_most: Duration::from_mins(10),
            probes: 3,
        }
    }
}

/// The position of a breaker, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// Probes pass.
    HalfOpen,
}

/// The breaker of one destination.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    /// How often it opened since it last closed.
    trips: u32,
}

#[derive(Clone, Debug)]
enum State {
    Closed { calls: VecDeque<Call>, failures_in_a_row: usize },
    Open { until: Timestamp },
    HalfOpen { under_way: usize, succeeded: usize },
}

#[derive(Clone, Copy, Debug)]
struct Call {
    at: Timestamp,
    failed: bool,
}

/// More calls than this in a window add nothing to the judgement.
const MAX_CALLS: usize = 256;

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::closed(), trips: 0 }
    }
}

impl State {
    fn closed() -> Self {
        Self::Closed { calls: VecDeque::new(), failures_in_a_row: 0 }
    }
}

impl Breaker {
    /// Where it stands.
    pub fn position(&self, now: Timestamp) -> Position {
        match &self.state {
            State::Closed { .. } => Position::Closed,
            State::Open { until } if *until > now => Position::Open,
            State::Open { .. } | State::HalfOpen { .. } => Position::HalfOpen,
        }
    }

    /// How many more calls may start now; `None` is no limit.
    pub fn permits(&self, settings: &Settings, now: Timestamp) -> Option<usize> {
        match &self.state {
            State::Closed { .. } => None,
            State::Open { until } if *until > now => Some(0),
            State::Open { .. } => Some(settings.probes),
            State::HalfOpen { under_way, succeeded } => Some(settings.probes.saturating_sub(under_way + succeeded)),
        }
    }

    /// When it will let probes pass, while it is open.
    pub fn opens_until(&self) -> Option<Timestamp> {
        match &self.state {
            State::Open { until } => Some(*until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// A permitted call starts.
    pub fn started(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Open { until } if *until <= now => self.state = State::HalfOpen { under_way: 1, succeeded: 0 },
            State::HalfOpen { under_way, .. } => *under_way += 1,
            State::Open { .. } | State::Closed { .. } => {}
        }
    }

    /// A started call came to nothing: it was never made.
    pub fn abandoned(&mut self) {
        if let State::HalfOpen { under_way, .. } = &mut self.state {
            *under_way = under_way.saturating_sub(1);
        }
    }

    /// A started call ended. Returns whether the position changed.
    pub fn finished(&mut self, healthy: bool, settings: &Settings, now: Timestamp) -> bool {
        match &mut self.state {
            State::Closed { calls, failures_in_a_row } => {
                *failures_in_a_row = if healthy { 0 } else { *failures_in_a_row + 1 };
                calls.push_back(Call { at: now, failed: !healthy });
                let too_old = |call: &Call| call.at < now - settings.window;
                while calls.len() > MAX_CALLS || calls.front().is_some_and(too_old) {
                    calls.pop_front();
                }
                let failed = calls.iter().filter(|call| call.failed).count();
                let by_rate =
                    calls.len() >= settings.min_calls && failed * 100 >= settings.failure_percent * calls.len();
                let opens = !healthy && (by_rate || *failures_in_a_row >= settings.consecutive_failures);
                if opens {
                    self.open(settings, now);
                }
                opens
            }
            // A straggler from before the opening: it tells nothing about the present.
            State::Open { .. } => false,
            State::HalfOpen { .. } if !healthy => {
                self.open(settings, now);
                true
            }
            State::HalfOpen { under_way, succeeded } => {
                *under_way = under_way.saturating_sub(1);
                *succeeded += 1;
                let closes = *succeeded >= settings.probes;
                if closes {
                    *self = Self::default();
                }
                closes
            }
        }
    }

    /// Whether forgetting this breaker would change nothing.
    pub fn is_idle(&self, settings: &Settings, now: Timestamp) -> bool {
        match &self.state {
            State::Closed { calls, .. } => calls.back().is_none_or(|call| call.at < now - settings.window),
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    fn open(&mut self, settings: &Settings, now: Timestamp) {
        let factor = 2_u32.saturating_pow(self.trips.min(20));
        let pause = settings.open_for.saturating_mul(factor).min(settings.open_for_at_most);
        self.trips = self.trips.saturating_add(1);
        self.state = State::Open { until: now + pause };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn opened(settings: &Settings) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..settings.consecutive_failures {
            breaker.started(NOW);
            breaker.finished(false, settings, NOW);
        }
        assert_eq!(breaker.position(NOW), Position::Open);
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let settings = Settings::default();
        let breaker = opened(&settings);
        assert_eq!(breaker.permits(&settings, NOW), Some(0));
        assert_eq!(breaker.opens_until(), Some(NOW + settings.open_for));
    }

    #[test]
    fn half_the_calls_of_a_window_open_it() {
        let settings = Settings::default();
        let mut breaker = Breaker::default();
        for call in 0..20 {
            breaker.finished(call % 2 == 0, &settings, NOW);
        }
        assert_eq!(breaker.position(NOW), Position::Open);
    }

    #[test]
    fn old_calls_do_not_count() {
        let settings = Settings::default();
        let mut breaker = Breaker::default();
        for call in 0..200_u64 {
            let now = NOW + Duration::from_secs(call * 10);
            breaker.finished(call % 2 == 0, &settings, now);
            assert_eq!(breaker.position(now), Position::Closed);
        }
    }

    #[test]
    fn good_probes_close_it_and_a_bad_one_doubles_the_pause() {
        let settings = Settings::default();
        let mut breaker = opened(&settings);
        let later = NOW + settings.open_for;
        assert_eq!(breaker.permits(&settings, later), Some(3));
        breaker.started(later);
        assert_eq!(breaker.permits(&settings, later), Some(2));
        assert!(breaker.finished(false, &settings, later));
        assert_eq!(breaker.opens_until(), Some(later + settings.open_for * 2));

        let later = later + settings.open_for * 2;
        for _ in 0..3 {
            breaker.started(later);
            breaker.finished(true, &settings, later);
        }
        assert_eq!(breaker.position(later), Position::Closed);
    }

    #[test]
    fn an_abandoned_probe_gives_its_place_back() {
        let settings = Settings { probes: 1, ..Settings::default() };
        let mut breaker = opened(&settings);
        let later = NOW + settings.open_for;
        breaker.started(later);
        assert_eq!(breaker.permits(&settings, later), Some(0));
        breaker.abandoned();
        assert_eq!(breaker.permits(&settings, later), Some(1));
    }

    proptest! {
        /// It never wedges: whatever happened, after the longest pause good calls close it.
        #[test]
        fn it_always_closes_again(calls in prop::collection::vec((any::<bool>(), 0_u64..60_000), 0..200)) {
            let settings = Settings::default();
            let mut breaker = Breaker::default();
            let mut now = NOW;
            for (healthy, wait) in calls {
                now = now + Duration::from_millis(wait);
                if breaker.permits(&settings, now) != Some(0) {
                    breaker.started(now);
                    breaker.finished(healthy, &settings, now);
                }
                if let Some(permits) = breaker.permits(&settings, now) {
                    prop_assert!(permits <= settings.probes);
                }
            }
            now = now + settings.open_for_at_most;
            for _ in 0..settings.probes {
                prop_assert_ne!(breaker.permits(&settings, now), Some(0));
                breaker.started(now);
                breaker.finished(true, &settings, now);
            }
            prop_assert_eq!(breaker.position(now), Position::Closed);
        }
    }
}
