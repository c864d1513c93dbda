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
    /// When the next open breaker lets a probe pass.
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
        let now = self.shared.now();
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
        let now = self.shared.now();
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
