//! How long things are kept.

mod agenda;

use std::time::Duration;

use crate::delivery::State;
use crate::id::MessageId;
use crate::time::Timestamp;

pub use agenda::Agenda;

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

/// Notifications that follow each other by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Those after this one; from the first on if there is none.
    pub after: Option<MessageId>,
    /// Up to this one, itself included; up to the horizon if there is none.
    pub upto: Option<MessageId>,
}

impl Span {
    /// Everything that can be due.
    pub const ALL: Self = Self { after: None, upto: None };

    /// The last id that belongs to it.
    pub fn last(&self, policy: &Policy, now: Timestamp) -> MessageId {
        self.upto.unwrap_or_else(|| MessageId::floor(policy.horizon(now)))
    }
}

impl Policy {
    /// Decides about one notification.
    pub fn judge(&self, facts: &Facts, now: Timestamp) -> Due {
        match self.falls_due(facts) {
            Some((at, due)) if at <= now => due,
            _ => Due::Keep,
        }
    }

    /// Whatever happens to a notification from `now` on, it is due at this instant at the earliest. Who has kept it need
    /// not look at it before. [`Timestamp::MAX`] stands for never.
    ///
    /// What is kept can only be brought forward by an end or a reading, and neither is in the past.
    pub fn earliest(&self, facts: &Facts, now: Timestamp) -> Timestamp {
        let brought_forward = match (facts.state, facts.read_at) {
            (State::Queued | State::Sending, _) => Some(now + self.shortest()),
            (State::Delivered, None) => Some(now + self.read),
            (State::Delivered, Some(_)) | (State::Dead | State::Expired | State::Cancelled, _) => None,
        };
        let as_it_is = self.falls_due(facts).map(|(at, _)| at);
        [as_it_is, brought_forward].into_iter().flatten().min().unwrap_or(Timestamp::MAX)
    }

    /// Nothing accepted after this instant can be due for deletion.
    pub fn horizon(&self, now: Timestamp) -> Timestamp {
        now - self.shortest()
    }

    /// When a notification is due if nothing more happens to it, and for what. What is being sent is not.
    fn falls_due(&self, facts: &Facts) -> Option<(Timestamp, Due)> {
        let finished_at = facts.finished_at.unwrap_or(facts.accepted_at);
        match facts.state {
            State::Sending => None,
            State::Queued => Some((facts.accepted_at.max(facts.due_at) + self.undelivered, Due::Expire)),
            State::Dead | State::Expired | State::Cancelled => Some((finished_at + self.undelivered, Due::Delete)),
            State::Delivered => {
                let unread = finished_at + self.delivered;
                let read = facts.read_at.map(|at| at + self.read);
                Some((read.map_or(unread, |read| read.min(unread)), Due::Delete))
            }
        }
    }

    /// Nothing that ends is kept for less long.
    fn shortest(&self) -> Duration {
        self.undelivered.min(self.delivered).min(self.read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn what_has_ended_for_good_is_not_looked_at_before_its_time() {
        let policy = Policy::default();
        let now = THEN + 3 * DAY;
        assert_eq!(policy.earliest(&facts(State::Dead), now), THEN + 90 * DAY);
        let read = Facts { read_at: Some(THEN + DAY), ..facts(State::Delivered) };
        assert_eq!(policy.earliest(&read, now), THEN + 4 * DAY);
        assert_eq!(policy.earliest(&facts(State::Delivered), now), THEN + 6 * DAY, "it may be read at once");
        assert_eq!(policy.earliest(&facts(State::Delivered), now + 3 * DAY), THEN + 7 * DAY);
    }

    fn any_facts() -> impl Strategy<Value = Facts> {
        let hours = |most: u64| (0..most).prop_map(Duration::from_hours);
        (prop::sample::select(State::ALL.to_vec()), hours(3_000), hours(100), prop::option::of(hours(300))).prop_map(
            |(state, scheduled, took, read)| {
                let finished_at = THEN + took;
                Facts {
                    state,
                    accepted_at: THEN,
                    due_at: THEN + scheduled,
                    finished_at: state.is_terminal().then_some(finished_at),
                    read_at: read.filter(|_| state == State::Delivered).map(|read| finished_at + read),
                }
            },
        )
    }

    /// What can have become of a notification by `at`.
    fn what_can_follow(before: Facts, at: Timestamp) -> Vec<Facts> {
        let mut all = vec![before];
        if !before.state.is_terminal() {
            let ends = [State::Delivered, State::Dead, State::Expired, State::Cancelled];
            all.extend(ends.map(|state| Facts { state, finished_at: Some(at), ..before }));
            all.push(Facts { state: State::Delivered, finished_at: Some(at), read_at: Some(at), ..before });
            all.push(Facts { state: State::Sending, ..before });
            all.push(Facts { state: State::Queued, due_at: at, ..before });
        }
        if before.state == State::Delivered && before.read_at.is_none() {
            all.push(Facts { read_at: Some(at), ..before });
        }
        all
    }

    proptest! {
        #[test]
        fn nothing_that_can_follow_is_due_before_the_earliest_instant(
            facts in any_facts(),
            age in 0_u64..4_000,
            later in 0_u64..4_000,
            kept in (1_u64..2_000, 1_u64..2_000, 1_u64..2_000),
        ) {
            let [undelivered, delivered, read] = [kept.0, kept.1, kept.2].map(Duration::from_hours);
            let policy = Policy { undelivered, delivered, read };
            let now = THEN + Duration::from_hours(age);
            let earliest = policy.earliest(&facts, now);
            let just_before = earliest - Duration::from_millis(1);
            for after in what_can_follow(facts, now + Duration::from_hours(later)) {
                prop_assert_eq!(policy.judge(&after, just_before), Due::Keep, "{:?}", after);
            }
        }
    }
}
