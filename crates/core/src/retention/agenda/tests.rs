use proptest::prelude::*;

use super::*;
use crate::delivery::State;
use crate::id::{IdGen, MonotonicIds};
use crate::retention::{Due, Facts, Policy};

const THEN: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR: Duration = Duration::from_hours(1);
const SLACK: Duration = Duration::from_mins(15);
const POLICY: Policy = Policy {
    undelivered: Duration::from_hours(20),
    delivered: Duration::from_hours(10),
    read: Duration::from_hours(4),
};

/// A store of which nothing but retention is seen.
struct Shelf {
    now: Timestamp,
    ids: MonotonicIds,
    rows: BTreeMap<MessageId, Facts>,
    agenda: Agenda,
    /// How many rows were looked at.
    looks: usize,
}

impl Shelf {
    fn new(most: usize) -> Self {
        let agenda = Agenda::new(SLACK, most);
        Self { now: THEN, ids: MonotonicIds::default(), rows: BTreeMap::new(), agenda, looks: 0 }
    }

    fn accept(&mut self, state: State) -> MessageId {
        let id = self.ids.next(self.now);
        let finished_at = state.is_terminal().then_some(self.now);
        let facts = Facts { state, accepted_at: self.now, due_at: self.now, finished_at, read_at: None };
        self.rows.insert(id, facts);
        id
    }

    /// Lets the next thing happen to one of the rows.
    fn go_on(&mut self, choice: usize) {
        let now = self.now;
        let Some(place) = choice.checked_rem(self.rows.len()) else { return };
        let Some(facts) = self.rows.values_mut().nth(place) else { return };
        match (facts.state, choice % 4) {
            (State::Queued, _) if facts.due_at <= now => facts.state = State::Sending,
            (State::Sending, 0) => (facts.state, facts.due_at) = (State::Queued, now + HOUR),
            (State::Sending, 1) => (facts.state, facts.finished_at) = (State::Dead, Some(now)),
            (State::Sending, _) => (facts.state, facts.finished_at) = (State::Delivered, Some(now)),
            (State::Delivered, _) => facts.read_at = facts.read_at.or(Some(now)),
            _ => {}
        }
    }

    /// What a store does in one step: where it went on to, and the earliest instant of what it kept.
    fn step(&mut self, span: Span, batch: usize) -> (Option<MessageId>, Option<Timestamp>) {
        let last = span.last(&POLICY, self.now);
        let start = span.after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.rows.range((start, Bound::Unbounded)).take_while(|(id, _)| **id <= last).take(batch);
        let found: Vec<(MessageId, Facts)> = found.map(|(id, facts)| (*id, *facts)).collect();
        self.looks += found.len();
        let mut due_at: Option<Timestamp> = None;
        for (id, facts) in &found {
            match POLICY.judge(facts, self.now) {
                Due::Keep => {
                    let earliest = POLICY.earliest(facts, self.now);
                    due_at = Some(due_at.map_or(earliest, |due_at| due_at.min(earliest)));
                }
                Due::Expire => {
                    let expired = Facts { state: State::Expired, finished_at: Some(self.now), ..*facts };
                    self.rows.insert(*id, expired);
                    due_at = Some(self.now);
                }
                Due::Delete => {
                    self.rows.remove(id);
                }
            }
        }
        let next = found.last().map(|(id, _)| *id).filter(|_| found.len() == batch);
        (next, due_at)
    }

    /// A pass, or the first `steps` steps of it. Returns whether it came to its end.
    fn pass(&mut self, batch: usize, steps: usize) -> bool {
        let mut left = steps;
        for mut span in self.agenda.begin(self.now) {
            loop {
                if left == 0 {
                    return false;
                }
                left -= 1;
                let (next, due_at) = self.step(span, batch);
                let upto = next.unwrap_or_else(|| span.last(&POLICY, self.now));
                self.agenda.looked_at(span.after, upto, due_at, self.now);
                if next.is_none() {
                    break;
                }
                span.after = next;
            }
        }
        true
    }

    /// What should be gone by now.
    fn overdue(&self) -> Vec<MessageId> {
        let horizon = Span::ALL.last(&POLICY, self.now);
        let reached = self.rows.range(..=horizon);
        reached.filter(|(_, facts)| POLICY.judge(facts, self.now) != Due::Keep).map(|(id, _)| *id).collect()
    }
}

proptest! {
    #[test]
    fn a_pass_leaves_nothing_that_is_due(
        events in prop::collection::vec((0_u8..8, any::<u16>()), 1..150),
        batch in 1_usize..6,
        most in 2_usize..8,
    ) {
        let mut shelf = Shelf::new(most);
        for (kind, number) in events {
            match kind {
                0 | 1 => {
                    shelf.accept(State::Queued);
                }
                2..5 => shelf.go_on(usize::from(number)),
                5 | 6 => shelf.now = shelf.now + Duration::from_mins(u64::from(number % 300)),
                _ => {
                    let steps = if number % 4 == 0 { usize::from(number % 5) } else { usize::MAX };
                    if shelf.pass(batch, steps) {
                        prop_assert!(shelf.overdue().is_empty(), "{:?}", shelf.overdue());
                    }
                }
            }
            prop_assert!(shelf.agenda.len() <= most);
        }
        shelf.now = shelf.now + 100 * HOUR;
        prop_assert!(shelf.pass(batch, usize::MAX));
        prop_assert!(shelf.overdue().is_empty(), "{:?}", shelf.overdue());
    }
}

/// A hundred delivered notifications, a minute apart, and a pass once the horizon has passed the last of them.
fn looked_through() -> Shelf {
    let mut shelf = Shelf::new(1_000);
    for _ in 0..100 {
        shelf.accept(State::Delivered);
        shelf.now = shelf.now + Duration::from_mins(1);
    }
    shelf.now = shelf.now + 4 * HOUR;
    assert!(shelf.pass(10, usize::MAX));
    assert_eq!((shelf.looks, shelf.rows.len()), (100, 100));
    shelf
}

#[test]
fn what_cannot_be_due_is_not_looked_at_again() {
    let mut shelf = looked_through();
    for _ in 0..10 {
        shelf.now = shelf.now + Duration::from_mins(15);
        assert!(shelf.pass(10, usize::MAX));
    }
    assert_eq!(shelf.looks, 100);
    shelf.now = shelf.now + 2 * HOUR;
    assert!(shelf.pass(10, usize::MAX));
    assert_eq!(shelf.looks, 200, "after four hours they could have been read and be due");
    shelf.now = shelf.now + 20 * HOUR;
    assert!(shelf.pass(10, usize::MAX));
    assert!(shelf.rows.is_empty() && shelf.agenda.is_empty());
}

#[test]
fn what_is_read_later_is_deleted_in_time() {
    let mut shelf = looked_through();
    shelf.go_on(0);
    shelf.now = shelf.now + 4 * HOUR;
    assert!(shelf.pass(10, usize::MAX));
    assert!(shelf.rows.len() < 100);
    assert!(shelf.overdue().is_empty());
}

#[test]
fn a_clock_that_is_put_back_makes_everything_be_looked_at() {
    let mut shelf = looked_through();
    shelf.now = shelf.now - Duration::from_mins(1);
    assert_eq!(shelf.agenda.begin(shelf.now), [Span::ALL]);
}

#[test]
fn what_was_on_its_way_during_a_pass_is_looked_at_by_the_next() {
    let mut shelf = looked_through();
    let brief = Policy { read: Duration::from_secs(1), ..POLICY };
    let last = Span::ALL.last(&brief, shelf.now);
    let spans = shelf.agenda.begin(shelf.now);
    shelf.agenda.looked_at(spans[0].after, last, None, shelf.now);
    let spans = shelf.agenda.begin(shelf.now);
    let [tail] = spans[..] else { panic!("one span is left: {spans:?}") };
    assert_eq!(tail.after, Some(MessageId::floor(shelf.now - HOUR)));
}

#[test]
fn neighbours_are_remembered_as_one() {
    let shelf = looked_through();
    // All were looked at in one moment, so all can be due after the same time.
    assert_eq!(shelf.agenda.len(), 1);
}
