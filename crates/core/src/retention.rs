//! How long things are kept.

use std::time::Duration;

use crate::delivery::State;
use crate::time::Timestamp;

const DAY: Duration = Duration::from_hours(24);

/// How long a notification is kept, by what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Not delivered, counted from its end; still pending, counted from its acceptance: then it expires first.
    pub undelivered: Duration,
    /// Delivered and not read.
    pub delivered: Duration,
    /// Read, counted from the reading.
    pub read: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { undelivered: 90 * DAY, delivered: 7 * DAY, read: 3 * DAY }
    }
}

/// What retention looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Where the delivery stands.
    pub state: State,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it is due, while it is queued: a schedule far ahead is not a failure.
    pub due_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
}

/// What retention asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Keep it.
    Keep,
    /// End it as expired.
    Expire,
    /// Delete it.
    Delete,
}

impl Policy {
    /// Decides about one notification.
    pub fn judge(&self, facts: &Facts, now: Timestamp) -> Due {
        let finished_at = facts.finished_at.unwrap_or(facts.accepted_at);
        let (since, keep, then) = match facts.state {
            State::Sending => return Due::Keep,
            State::Queued => (facts.accepted_at.max(facts.due_at), self.undelivered, Due::Expire),
            State::Dead | State::Expired | State::Cancelled => (finished_at, self.undelivered, Due::Delete),
            State::Delivered => match facts.read_at {
                Some(read_at) if read_at + self.read < finished_at + self.delivered => {
                    (read_at, self.read, Due::Delete)
                }
                _ => (finished_at, self.delivered, Due::Delete),
            },
        };
        if since + keep <= now { then } else { Due::Keep }
    }

    /// Nothing accepted after this instant can be due for deletion.
    pub fn horizon(&self, now: Timestamp) -> Timestamp {
        now - self.undelivered.min(self.delivered).min(self.read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn facts(state: State) -> Facts {
        Facts {
            state,
            accepted_at: THEN,
            due_at: THEN,
            finished_at: state.is_terminal().then_some(THEN),
            read_at: None,
        }
    }

    fn kept_for(facts: &Facts) -> (u32, Due) {
        let policy = Policy::default();
        let days = (0..1000).find(|days| policy.judge(facts, THEN + DAY * *days) != Due::Keep).unwrap();
        (days, policy.judge(facts, THEN + DAY * days))
    }

    #[test]
    fn each_state_has_its_time() {
        assert_eq!(kept_for(&facts(State::Delivered)), (7, Due::Delete));
        assert_eq!(kept_for(&facts(State::Dead)), (90, Due::Delete));
        assert_eq!(kept_for(&facts(State::Queued)), (90, Due::Expire));
        assert_eq!(kept_for(&Facts { read_at: Some(THEN + DAY), ..facts(State::Delivered) }), (4, Due::Delete));
    }

    #[test]
    fn the_earlier_of_two_rules_counts() {
        let read_late = Facts { read_at: Some(THEN + 6 * DAY), ..facts(State::Delivered) };
        assert_eq!(kept_for(&read_late), (7, Due::Delete));
    }

    #[test]
    fn a_schedule_far_ahead_is_no_failure() {
        let scheduled = Facts { due_at: THEN + 100 * DAY, ..facts(State::Queued) };
        assert_eq!(kept_for(&scheduled), (190, Due::Expire));
    }

    #[test]
    fn nothing_after_the_horizon_is_due() {
        let policy = Policy::default();
        let now = THEN + 3 * DAY;
        assert_eq!(policy.horizon(now), THEN);
    }
}
