//! How much may start where: slots for all attempts together, and for each queue a bulkhead and a circuit breaker.
//!
//! A queue begins with few attempts at once, earns one more with each that its destination answers, and loses half with
//! each that it does not. So one that never answers holds few slots until its breaker opens.
//!
//! Memory is bounded: a queue is forgotten once nothing runs in it and forgetting its breaker changes nothing, or when
//! nobody has used it for long.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidings_core::breaker::{Breaker, Position};
use tidings_core::fairness::QueueKey;
use tidings_core::time::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::Shared;

/// How often idle queues are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// After this long without use, even an open breaker is forgotten: whoever comes next finds out anew.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// How many attempts at once a queue begins with.
const FIRST_ALLOWANCE: usize = 4;

/// Everywhere that attempts go or lately went.
pub(crate) struct Destinations {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

struct State {
    queues: HashMap<QueueKey, Queue>,
    in_flight: usize,
    tidied: Instant,
}

struct Queue {
    in_flight: usize,
    /// How many may be in flight.
    allowance: usize,
    breaker: Breaker,
    used_at: Timestamp,
}

/// What the scheduler has to know of all queues together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Queues in which nothing may start now. Their lanes are in the way of others.
    pub(crate) without_room: usize,
    /// When the next open breaker lets a probe pass, on the steady scale.
    pub(crate) reopens_at: Option<Timestamp>,
}

/// The place of one attempt: a slot, and a share of its queue. Dropping it gives both back.
pub(crate) struct Seat {
    destinations: Arc<Destinations>,
    queue: QueueKey,
    judged: bool,
}

impl Destinations {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let state = State { queues: HashMap::new(), in_flight: 0, tidied: Instant::now() };
        Self { shared, state: Mutex::new(state) }
    }

    /// How many more attempts may start, wherever they go.
    pub(crate) fn free_slots(&self) -> usize {
        self.concurrency().saturating_sub(self.state.lock().in_flight)
    }

    /// How many slots are kept for queues in which nothing is in flight: the last fifth. However many attempts hang
    /// elsewhere, these can start.
    pub(crate) fn reserve(&self) -> usize {
        let concurrency = self.concurrency();
        (concurrency / 5).max(1).min(concurrency - 1)
    }

    /// How many more attempts may start in one queue.
    pub(crate) fn room(&self, queue: &QueueKey, now: Timestamp) -> usize {
        let state = self.state.lock();
        state.queues.get(queue).map_or_else(|| self.first_allowance(), |queue| self.room_of(queue, now))
    }

    /// Whether nothing is in flight in a queue.
    pub(crate) fn is_untouched(&self, queue: &QueueKey) -> bool {
        self.state.lock().queues.get(queue).is_none_or(|queue| queue.in_flight == 0)
    }

    /// Looks at all queues, and forgets those that are not worth remembering.
    pub(crate) fn survey(&self, now: Timestamp) -> Survey {
        let mut state = self.state.lock();
        if state.tidied.elapsed() >= TIDY_EVERY {
            state.tidied = Instant::now();
            self.forget_idle(&mut state, now);
        }
        let mut survey = Survey::default();
        for queue in state.queues.values() {
            survey.without_room += usize::from(self.room_of(queue, now) == 0);
            let reopens_at = queue.breaker.opens_until().filter(|until| *until > now);
            survey.reopens_at = [survey.reopens_at, reopens_at].into_iter().flatten().min();
        }
        survey
    }

    /// Takes a place for an attempt that is about to start.
    pub(crate) fn seat(self: &Arc<Self>, queue: QueueKey, now: Timestamp) -> Seat {
        {
            let mut state = self.state.lock();
            state.in_flight += 1;
            let entry = state.queues.entry(queue.clone()).or_insert_with(|| Queue {
                in_flight: 0,
                allowance: self.first_allowance(),
                breaker: Breaker::default(),
                used_at: now,
            });
            entry.in_flight += 1;
            entry.used_at = now;
            entry.breaker.started(now);
        }
        self.shared.metrics.attempts_in_flight.inc();
        Seat { destinations: self.clone(), queue, judged: false }
    }

    fn concurrency(&self) -> usize {
        self.shared.config.concurrency.max(1)
    }

    fn bulkhead(&self) -> usize {
        self.shared.config.per_destination.max(1)
    }

    fn first_allowance(&self) -> usize {
        FIRST_ALLOWANCE.min(self.bulkhead())
    }

    fn room_of(&self, queue: &Queue, now: Timestamp) -> usize {
        let free = queue.allowance.saturating_sub(queue.in_flight);
        let permits = queue.breaker.permits(&self.shared.config.breaker, now);
        permits.map_or(free, |permits| permits.min(free))
    }

    fn forget_idle(&self, state: &mut State, now: Timestamp) {
        let settings = &self.shared.config.breaker;
        state.queues.retain(|_, queue| {
            let idle = queue.breaker.is_idle(settings, now) || now.since(queue.used_at) >= FORGET_AFTER;
            let keep = queue.in_flight > 0 || !idle;
            if !keep && queue.breaker.position(now) != Position::Closed {
                self.shared.metrics.breakers_open.dec();
            }
            keep
        });
    }

    fn judge(&self, key: &QueueKey, healthy: bool) {
        let now = self.shared.steady();
        let mut state = self.state.lock();
        let Some(queue) = state.queues.get_mut(key) else {
            return;
        };
        queue.allowance =
            if healthy { (queue.allowance + 1).min(self.bulkhead()) } else { (queue.allowance / 2).max(1) };
        let before = queue.breaker.position(now);
        if !queue.breaker.finished(healthy, &self.shared.config.breaker, now) {
            return;
        }
        let until = queue.breaker.opens_until();
        drop(state);
        self.announce(key, before, until);
    }

    /// Tells that a breaker moved: to open until some time, or to closed.
    fn announce(&self, key: &QueueKey, before: Position, open_until: Option<Timestamp>) {
        let metrics = &self.shared.metrics;
        let (tenant, destination) = (key.tenant.as_integer(), &key.destination);
        let Some(until) = open_until else {
            metrics.breakers_open.dec();
            info!(tenant, destination = %destination, "The breaker of {destination} closed: it answers again");
            return;
        };
        metrics.breaker_opened.inc();
        if before == Position::Closed {
            metrics.breakers_open.inc();
        }
        warn!(
            tenant, destination = %destination,
            "The breaker of {destination} opened: too many attempts failed; the next may start at {until}"
        );
    }

    fn leave(&self, key: &QueueKey, judged: bool) {
        let now = self.shared.steady();
        {
            let mut state = self.state.lock();
            state.in_flight = state.in_flight.saturating_sub(1);
            if let Some(queue) = state.queues.get_mut(key) {
                queue.in_flight = queue.in_flight.saturating_sub(1);
                queue.used_at = now;
                if !judged {
                    queue.breaker.abandoned();
                }
            }
        }
        self.shared.metrics.attempts_in_flight.dec();
        self.shared.bell.notify_one();
    }
}

impl Seat {
    /// The attempt came to something that tells how the destination is doing.
    pub(crate) fn judge(&mut self, healthy: bool) {
        self.judged = true;
        self.destinations.judge(&self.queue, healthy);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.destinations.leave(&self.queue, self.judged);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tidings_core::id::{BootId, MonotonicIds, TenantId};
    use tidings_core::notification::Destination;
    use tidings_core::time::Clock;
    use tidings_testkit::{FakeBroker, FakeSender, FakeStore, ManualClock, sample};

    use super::*;
    use crate::config::{Config, Ports};
    use crate::metrics::Metrics;

    fn destinations(concurrency: usize) -> (Arc<Destinations>, Arc<ManualClock>) {
        let store = Arc::<FakeStore>::default();
        let clock = Arc::<ManualClock>::default();
        let ports = Ports {
            jobs: store.clone(),
            intake: store.clone(),
            catalog: store.clone(),
            dead_letters: store.clone(),
            upkeep: store,
            sender: Arc::<FakeSender>::default(),
            broker: Arc::<FakeBroker>::default(),
            clock: clock.clone(),
            ids: Arc::<MonotonicIds>::default(),
            boot: BootId(sample::USER1.0),
        };
        let config = Config { concurrency, ..Config::default() };
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let shared = Arc::new(Shared::new(config, ports, metrics));
        (Arc::new(Destinations::new(shared)), clock)
    }

    fn queue() -> QueueKey {
        QueueKey { tenant: TenantId::DEFAULT, destination: Destination::new("email", "smtp") }
    }

    fn attempt(destinations: &Arc<Destinations>, healthy: bool, now: Timestamp) {
        destinations.seat(queue(), now).judge(healthy);
    }

    fn remembered(destinations: &Destinations) -> usize {
        destinations.state.lock().queues.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_takes_a_slot_and_a_share_until_it_is_dropped() {
        let (destinations, clock) = destinations(10);
        let now = clock.now();
        let seat = destinations.seat(queue(), now);
        assert_eq!((destinations.free_slots(), destinations.room(&queue(), now)), (9, 3));
        assert!(!destinations.is_untouched(&queue()));
        drop(seat);
        assert_eq!((destinations.free_slots(), destinations.room(&queue(), now)), (10, 4));
        assert!(destinations.is_untouched(&queue()));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_earn_room_and_failures_lose_it() {
        let (destinations, clock) = destinations(100);
        let now = clock.now();
        for _ in 0..20 {
            attempt(&destinations, true, now);
        }
        assert_eq!(destinations.room(&queue(), now), 16);
        let rooms: Vec<usize> = (0..6)
            .map(|_| {
                attempt(&destinations, false, now);
                destinations.room(&queue(), now)
            })
            .collect();
        assert_eq!(rooms, [8, 4, 2, 1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_idle_is_forgotten() {
        let (destinations, clock) = destinations(10);
        attempt(&destinations, true, clock.now());
        let now = clock.advance(Duration::from_mins(1));
        destinations.survey(now);
        assert_eq!(remembered(&destinations), 1, "it is not looked at every time");
        tokio::time::advance(TIDY_EVERY).await;
        let busy = destinations.seat(queue(), now);
        destinations.survey(now);
        assert_eq!(remembered(&destinations), 1);
        drop(busy);
        tokio::time::advance(TIDY_EVERY).await;
        destinations.survey(clock.advance(Duration::from_mins(1)));
        assert_eq!(remembered(&destinations), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_is_remembered_for_an_hour() {
        let (destinations, clock) = destinations(10);
        let now = clock.now();
        for _ in 0..10 {
            attempt(&destinations, false, now);
        }
        let settings = &destinations.shared.config.breaker;
        let survey = Survey { without_room: 1, reopens_at: Some(now + settings.open_for) };
        assert_eq!(destinations.survey(now), survey);
        for (passed, expected) in [(50, 1), (10, 0)] {
            tokio::time::advance(TIDY_EVERY).await;
            destinations.survey(clock.advance(Duration::from_mins(passed)));
            assert_eq!(remembered(&destinations), expected);
            assert_eq!(destinations.shared.metrics.breakers_open.get(), i64::try_from(expected).unwrap());
        }
    }

    #[test]
    fn the_last_fifth_of_the_slots_is_kept_back() {
        for (concurrency, kept) in [(1, 0), (2, 1), (5, 1), (10, 2), (100, 20)] {
            assert_eq!(destinations(concurrency).0.reserve(), kept);
        }
    }
}
