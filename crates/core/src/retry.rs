//! When to try again.

use std::time::Duration;

use crate::routing::{Pattern, RoutingKey};
use crate::time::Timestamp;

/// How far a delay is moved at random to either side, so that what failed together does not return together.
const JITTER: f64 = 0.2;

/// The longest `Retry-After` that is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// How often a notification may reach its provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Tried again whenever it may not have arrived.
    #[default]
    AtLeastOnce,
    /// Never tried again once it may have arrived: for one-time codes.
    AtMostOnce,
}

/// A retry policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The delay before each retry; the last one repeats.
    pub schedule: Vec<Duration>,
    /// How many retries follow the first attempt.
    pub max_retries: u32,
    /// What may be repeated.
    pub guarantee: Guarantee,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            schedule: vec![Duration::from_secs(2), Duration::from_secs(10), Duration::from_mins(1)],
            max_retries: 3,
            guarantee: Guarantee::AtLeastOnce,
        }
    }
}

impl Policy {
    /// The delay before retry `number` (the first is 1), or `None` when there is none left.
    ///
    /// `jitter` is uniform in `[0, 1)`. A `Retry-After` of the provider lengthens the delay up to a day; it never shortens it.
    pub fn delay(&self, number: u32, retry_after: Option<Duration>, jitter: f64) -> Option<Duration> {
        if number == 0 || number > self.max_retries {
            return None;
        }
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let base = self.schedule.get(index).or_else(|| self.schedule.last()).copied().unwrap_or(Duration::from_secs(1));
        let jittered = base.mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter.clamp(0.0, 1.0));
        Some(retry_after.map_or(jittered, |asked| jittered.max(asked.min(MAX_RETRY_AFTER))))
    }

    /// The longest time from the first attempt to the last, without `Retry-After`.
    pub fn longest_window(&self) -> Duration {
        (1..=self.max_retries.min(1000)).filter_map(|number| self.delay(number, None, 1.0)).sum()
    }
}

/// How often a chain of dead letters is redriven by itself, where that is switched on.
pub const MAX_AUTOMATIC_REDRIVES: u32 = 5;

/// When a dead letter is redriven by itself: 60 s, doubled for each redrive before; `None` after the fifth.
pub fn automatic_redrive(redrives: u32, died_at: Timestamp) -> Option<Timestamp> {
    (redrives < MAX_AUTOMATIC_REDRIVES).then(|| died_at + Duration::from_mins(1) * 2_u32.pow(redrives))
}

/// The policies of an installation: the first whose pattern selects the routing key counts, else the default.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Exceptions, in order.
    pub rules: Vec<Rule>,
    /// What holds otherwise.
    pub default: Policy,
}

/// A policy for some routing keys.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which.
    pub pattern: Pattern,
    /// How.
    pub policy: Policy,
}

impl Policies {
    /// The policy of a routing key.
    pub fn of(&self, key: &RoutingKey) -> &Policy {
        self.rules.iter().find(|rule| rule.pattern.matches(key)).map_or(&self.default, |rule| &rule.policy)
    }

    /// The longest window of all policies.
    pub fn longest_window(&self) -> Duration {
        let rules = self.rules.iter().map(|rule| rule.policy.longest_window());
        rules.chain([self.default.longest_window()]).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_is_two_ten_and_sixty_seconds() {
        let policy = Policy::default();
        let delays: Vec<u64> =
            (1..=3).filter_map(|n| policy.delay(n, None, 0.5)).map(|delay| delay.as_secs()).collect();
        assert_eq!(delays, [2, 10, 60]);
        assert_eq!(policy.delay(4, None, 0.5), None);
    }

    #[test]
    fn the_first_matching_rule_counts() {
        let otp = Policy { max_retries: 0, guarantee: Guarantee::AtMostOnce, ..Policy::default() };
        let rules = vec![Rule { pattern: "notification.*.otp".parse().unwrap(), policy: otp.clone() }];
        let policies = Policies { rules, default: Policy::default() };
        assert_eq!(policies.of(&RoutingKey::new("sms", "otp")), &otp);
        assert_eq!(policies.of(&RoutingKey::new("sms", "news")), &Policy::default());
    }

    #[test]
    fn automatic_redrives_double_and_end() {
        let waits: Vec<u64> = (0..9)
            .map_while(|n| automatic_redrive(n, Timestamp::EPOCH))
            .map(|at| at.since(Timestamp::EPOCH).as_secs())
            .collect();
        assert_eq!(waits, [60, 120, 240, 480, 960]);
    }

    proptest! {
        #[test]
        fn delays_stay_within_a_fifth_of_the_schedule(number in 1_u32..=3, jitter in 0.0..1.0_f64) {
            let policy = Policy::default();
            let base = policy.schedule[number as usize - 1];
            let delay = policy.delay(number, None, jitter).unwrap();
            prop_assert!(delay >= base.mul_f64(0.8) && delay <= base.mul_f64(1.2));
        }

        #[test]
        fn retry_after_only_lengthens_and_is_capped(number in 1_u32..=3, asked in 0_u64..1_000_000, jitter in 0.0..1.0_f64) {
            let policy = Policy::default();
            let asked = Duration::from_secs(asked);
            let delay = policy.delay(number, Some(asked), jitter).unwrap();
            prop_assert!(delay >= policy.delay(number, None, jitter).unwrap());
            prop_assert!(delay >= asked.min(MAX_RETRY_AFTER));
            prop_assert!(delay <= MAX_RETRY_AFTER);
        }
    }
}
