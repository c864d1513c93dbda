//! The scheduler: looks at what is due, shares it out fairly, claims it and hands it to the workers.
//!
//! A job whose destination has no room, because enough runs there already or its breaker is open, is not claimed. It
//! waits in the store and is charged nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidings_core::error::StoreError;
use tidings_core::fairness::{Candidate, Fairness, Lane, QueueKey};
use tidings_core::notification::Destination;
use tidings_core::ports::jobs::{Claim, Job};
use tidings_core::ports::sender::Reach;
use tidings_core::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::config::Shared;
use crate::destinations::Destinations;
use crate::leases::Leases;
use crate::tasks::{Backoff, Tasks, pause};
use crate::worker::{Claimed, Worker};

/// How many lanes are looked at, besides those that are known to be in the way.
const LANES: usize = 256;

/// A queue has this many lanes.
const LANES_PER_QUEUE: usize = 4;

/// How many inbox jobs are claimed at once.
const INBOX_BATCH: usize = 256;

/// How many due jobs of a lane are counted. A lane with as many may have more.
const DEPTH: usize = 32;

/// How many inbox batches may be on their way to the store: one that is settled while the next one is claimed.
pub(crate) const INBOX_BATCHES_AHEAD: usize = 2;

/// However long nothing is due: the clock may be moved.
const LONGEST_NAP: Duration = Duration::from_secs(1);

const SHORTEST_NAP: Duration = Duration::from_millis(1);

/// The scheduler.
pub(crate) struct Dispatcher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) destinations: Arc<Destinations>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) attempts: Arc<Tasks>,
    pub(crate) inbox_ahead: Arc<Semaphore>,
}

/// Whose turn it is. Inbox jobs take no slots, so they cost nobody a turn for one.
#[derive(Default)]
struct Turns {
    remote: Fairness,
    inbox: Fairness,
}

/// What one look at the queue led to.
enum Look {
    /// Something was claimed; there may be more.
    Claimed,
    /// Nothing can start for so long, as far as is known.
    Nothing { nap: Option<Duration> },
}

/// What is to be claimed.
struct Plan {
    lanes: Vec<(Lane, usize)>,
    ahead: Option<OwnedSemaphorePermit>,
}

impl Dispatcher {
    /// Runs until the stop.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut turns = Turns::default();
        let mut backoff = Backoff::new();
        while !self.shared.stop.is_cancelled() {
            match self.look(&mut turns).await {
                Ok(Look::Claimed) => backoff.reset(),
                Ok(Look::Nothing { nap }) => {
                    backoff.reset();
                    self.wait(nap).await;
                }
                Err(error) => {
                    warn!("The store does not hand out work: {error}");
                    pause(&self.shared.stop, backoff.next_pause()).await;
                }
            }
        }
    }

    async fn look(&self, turns: &mut Turns) -> Result<Look, StoreError> {
        let now = self.shared.now();
        let survey = self.destinations.survey(self.shared.steady());
        // Lanes without room would hide others that have been due for less long.
        let limit = LANES + LANES_PER_QUEUE * survey.without_room;
        let ready = self.shared.ports.jobs.ready(now, limit, DEPTH).await?;
        let plan = self.plan(ready.lanes, turns);
        let claimed = self.claim(plan, now).await?;
        if claimed > 0 {
            return Ok(Look::Claimed);
        }
        let due_in = ready.next_due.map(|due| due.since(self.shared.now()));
        let reopens_in = survey.reopens_at.map(|reopens| reopens.since(self.shared.steady()));
        Ok(Look::Nothing { nap: [due_in, reopens_in].into_iter().flatten().min() })
    }

    fn plan(&self, lanes: Vec<(Lane, usize)>, turns: &mut Turns) -> Plan {
        let now = self.shared.steady();
        let (mut remote, mut inbox) = (Vec::new(), Vec::new());
        for (lane, due) in lanes {
            match self.reach(&lane.queue.destination) {
                Reach::Inbox => {
                    inbox.push(Candidate { lane, room: INBOX_BATCH, due: at_least(due, INBOX_BATCH) });
                }
                Reach::Remote => {
                    let room = self.destinations.room(&lane.queue, now);
                    if room > 0 {
                        remote.push(Candidate { lane, room, due: at_least(due, room) });
                    }
                }
            }
        }
        let mut lanes = self.plan_remote(remote, &mut turns.remote);
        let mut ahead = None;
        if !inbox.is_empty() {
            ahead = self.inbox_ahead.clone().try_acquire_owned().ok();
        }
        if ahead.is_some() {
            lanes.extend(turns.inbox.plan(&inbox, INBOX_BATCH));
        }
        Plan { lanes, ahead }
    }

    /// Shares out the slots, the last of them among queues in which nothing is in flight.
    fn plan_remote(&self, mut candidates: Vec<Candidate>, turns: &mut Fairness) -> Vec<(Lane, usize)> {
        let free = self.destinations.free_slots();
        let mut plan = turns.plan(&candidates, free.saturating_sub(self.destinations.reserve()));
        let planned: usize = plan.iter().map(|(_, count)| count).sum();
        if planned < free {
            let touched: HashSet<QueueKey> = plan.iter().map(|(lane, _)| lane.queue.clone()).collect();
            candidates.retain(|candidate| {
                let queue = &candidate.lane.queue;
                !touched.contains(queue) && self.destinations.is_untouched(queue)
            });
            for candidate in &mut candidates {
                candidate.room = 1;
            }
            plan.extend(turns.plan(&candidates, free - planned));
        }
        plan
    }

    /// How a destination is reached: it begins with the name of its channel. What is not known any more goes to the
    /// sender, which refuses it.
    fn reach(&self, destination: &Destination) -> Reach {
        let text = destination.as_str();
        let channel = text.split_once(':').map_or(text, |(channel, _target)| channel);
        self.shared.ports.sender.reach(channel).unwrap_or(Reach::Remote)
    }

    async fn claim(&self, plan: Plan, now: Timestamp) -> Result<usize, StoreError> {
        if plan.lanes.is_empty() || self.shared.stop.is_cancelled() {
            return Ok(0);
        }
        let ports = &self.shared.ports;
        let lease = self.shared.config.lease();
        let ends = Instant::now() + lease;
        let jobs = ports.jobs.claim(Claim { owner: ports.boot, now, lease, lanes: plan.lanes }).await?;
        let claimed = jobs.len();
        if claimed > 0 {
            tidings_faultpoints::point("engine.after-claim");
        }
        self.hand_out(jobs, ends, plan.ahead).await?;
        Ok(claimed)
    }

    async fn hand_out(
        &self,
        jobs: Vec<Job>,
        ends: Instant,
        ahead: Option<OwnedSemaphorePermit>,
    ) -> Result<(), StoreError> {
        let now = self.shared.steady();
        let mut inbox = Vec::new();
        for job in jobs {
            let reach = self.reach(&job.notification.destination);
            let queue = QueueKey { tenant: job.notification.tenant, destination: job.notification.destination.clone() };
            let claimed = Claimed { held: self.leases.hold(&job.lease, ends), job };
            match reach {
                Reach::Inbox => inbox.push(claimed),
                Reach::Remote => {
                    let seat = self.destinations.seat(queue, now);
                    self.attempts.spawn("attempt", self.worker.clone().attempt(claimed, seat));
                }
            }
        }
        if inbox.is_empty() { Ok(()) } else { self.worker.append(inbox, ahead).await }
    }

    /// Waits for a reason to look again.
    async fn wait(&self, nap: Option<Duration>) {
        let nap = nap.unwrap_or(LONGEST_NAP);
        tokio::select! {
            // In this order, not in any: a simulation has to be able to do the same twice.
            biased;
            () = self.shared.stop.cancelled() => {}
            () = self.shared.bell.notified() => {}
            () = self.shared.ports.broker.woken() => {}
            () = sleep(nap.clamp(SHORTEST_NAP, LONGEST_NAP)) => {}
        }
    }
}

/// How many jobs of a lane to reckon with: what was counted, or as many as there is room if the count stopped early.
const fn at_least(counted: usize, room: usize) -> usize {
    if counted < DEPTH { counted } else { room }
}
