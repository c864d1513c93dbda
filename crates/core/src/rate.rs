//! How often something may happen: the generic cell rate algorithm (ITU-T I.371), which needs one instant to remember.

use std::time::Duration;

use crate::time::Timestamp;

/// So many at once, and one more whenever some time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many may happen at once.
    pub burst: u32,
    /// How long one takes to be made up for.
    pub every: Duration,
}

impl Quota {
    /// Takes one. `made_up_for` is the instant at which all that was taken so far will have been made up for, as the call before
    /// returned it; any instant in the past if there was none. Refused, it tells how long to wait for the next.
    ///
    /// A clock that is set back locks nobody out for longer than one interval at a time.
    pub fn take(self, made_up_for: Timestamp, now: Timestamp) -> Result<Timestamp, Duration> {
        let full = now + self.every.saturating_mul(self.burst);
        let next = made_up_for.clamp(now, full) + self.every;
        if next <= full { Ok(next) } else { Err(next.since(full)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { burst: 3, every: Duration::from_secs(10) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_at_a_time() {
        let mut state = Timestamp::EPOCH;
        for _ in 0..3 {
            state = QUOTA.take(state, at(100)).unwrap();
        }
        assert_eq!(QUOTA.take(state, at(100)), Err(Duration::from_secs(10)));
        assert_eq!(QUOTA.take(state, at(104)), Err(Duration::from_secs(6)));
        state = QUOTA.take(state, at(110)).unwrap();
        assert_eq!(QUOTA.take(state, at(110)), Err(Duration::from_secs(10)));
        for _ in 0..3 {
            state = QUOTA.take(state, at(1_000)).unwrap();
        }
        assert!(QUOTA.take(state, at(1_000)).is_err(), "patience is not saved up beyond a burst");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let state = QUOTA.take(Timestamp::EPOCH, at(1_000_000)).unwrap();
        assert_eq!(QUOTA.take(state, at(100)), Err(Duration::from_secs(10)));
    }

    proptest! {
        #[test]
        fn no_more_pass_than_the_quota_allows(
            burst in 1_u32..10,
            every in 1_u64..1_000,
            pauses in prop::collection::vec(0_u64..500, 1..200),
        ) {
            let quota = Quota { burst, every: Duration::from_millis(every) };
            let (mut now, mut state, mut passed) = (0_u64, Timestamp::EPOCH, 0_u64);
            for pause in pauses {
                now += pause;
                let instant = Timestamp::from_millis(i64::try_from(now).unwrap());
                match quota.take(state, instant) {
                    Ok(next) => {
                        state = next;
                        passed += 1;
                    }
                    Err(wait) => {
                        prop_assert!(Duration::ZERO < wait && wait <= quota.every);
                        prop_assert!(quota.take(state, instant + wait).is_ok(), "who waits as told is let through");
                    }
                }
                prop_assert!(passed <= u64::from(burst) + now / every);
            }
        }
    }
}
