//! The queue.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;

use async_trait::async_trait;
use tidings_core::delivery::{Next, State};
use tidings_core::error::StoreError;
use tidings_core::fairness::{Lane, QueueKey};
use tidings_core::id::{MessageId, TenantId};
use tidings_core::notification::{NewNotification, Priority};
use tidings_core::ports::Jobs;
use tidings_core::ports::dead_letters::ReviewStatus;
use tidings_core::ports::jobs::{Claim, Job, Lease, Lost, LostBy, Ready, Settled, Settlement};
use tidings_core::time::Timestamp;

use super::FakeStore;
use super::rows::{Holder, Letter, Row, Tables};

#[async_trait]
impl Jobs for FakeStore {
    async fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Result<Ready, StoreError> {
        self.read(|tables| tables.ready(now, limit, depth))
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Job>, StoreError> {
        self.write(|tables| claim.lanes.iter().flat_map(|(lane, count)| tables.claim(&claim, lane, *count)).collect())
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        self.write(|tables| settlements.into_iter().map(|settlement| tables.settle(settlement)).collect())
    }

    async fn lost(&self, by: LostBy, after: Option<MessageId>, limit: usize) -> Result<Vec<Lost>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|tables| {
            let rows = tables.notifications.range((start, Bound::Unbounded));
            rows.filter_map(|(_, row)| lost(row, by)).take(limit).collect()
        })
    }
}

type DueLane = (Lane, (Timestamp, usize));

/// The first `limit` lanes when those of each tenant, channel and priority take turns, in the order that they came in.
fn in_turns(lanes: Vec<DueLane>, limit: usize) -> Vec<DueLane> {
    let mut turns: HashMap<(TenantId, String, Priority), usize> = HashMap::new();
    let mut ranked: Vec<(usize, usize)> = Vec::new();
    for (place, (lane, _)) in lanes.iter().enumerate() {
        let channel = lane.queue.destination.as_str().split(':').next().unwrap_or_default().to_owned();
        let turn = turns.entry((lane.queue.tenant, channel, lane.priority)).or_default();
        ranked.push((*turn, place));
        *turn += 1;
    }
    ranked.sort_unstable();
    let chosen: HashSet<usize> = ranked.into_iter().take(limit).map(|(_, place)| place).collect();
    lanes.into_iter().enumerate().filter(|(place, _)| chosen.contains(place)).map(|(_, lane)| lane).collect()
}

impl Tables {
    fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Ready {
        let waiting = || self.notifications.values().filter(|row| row.state == State::Queued);
        let mut due: HashMap<Lane, (Timestamp, usize)> = HashMap::new();
        for row in waiting().filter(|row| row.is_due(now)) {
            let due_at = row.notification.due_at;
            let (first, count) = due.entry(lane(&row.notification)).or_insert((due_at, 0));
            *first = due_at.min(*first);
            *count += 1;
        }
        let mut lanes: Vec<(Lane, (Timestamp, usize))> = due.into_iter().collect();
        lanes.sort_by(|(one, (one_due, _)), (other, (other_due, _))| (one_due, one).cmp(&(other_due, other)));
        let lanes = in_turns(lanes, limit).into_iter().map(|(lane, (_, count))| (lane, count.min(depth)));
        let later = waiting().map(|row| row.notification.due_at).filter(|due_at| *due_at > now);
        Ready { lanes: lanes.collect(), next_due: later.min() }
    }

    fn claim(&mut self, claim: &Claim, wanted: &Lane, count: usize) -> Vec<Job> {
        let is_wanted = |row: &&Row| row.is_due(claim.now) && lane(&row.notification) == *wanted;
        let due = self.notifications.values().filter(is_wanted);
        let mut due: Vec<(Timestamp, MessageId)> =
            due.map(|row| (row.notification.due_at, row.notification.id)).collect();
        due.sort_unstable();
        due.truncate(count);
        let until = claim.now + claim.lease;
        let mut jobs = Vec::with_capacity(due.len());
        for (_, id) in due {
            jobs.extend(self.notifications.get_mut(&id).map(|row| {
                row.holder = Some(Holder { owner: claim.owner, until });
                row.state = State::Sending;
                row.fence += 1;
                row.attempts += 1;
                Job {
                    lease: Lease { id, fence: row.fence, until },
                    notification: row.whole(),
                    delivery: row.delivery(),
                }
            }));
        }
        jobs
    }

    fn settle(&mut self, settlement: Settlement) -> Settled {
        let Settlement { lease, transition, to_inbox, redrive_at, follow_up } = settlement;
        let held = self.notifications.get_mut(&lease.id).filter(|row| row.holder.is_some() && row.fence == lease.fence);
        let Some(row) = held else {
            return Settled::Stale;
        };
        row.apply(&transition);
        let owner = row.notification.user.map(|user| (row.notification.tenant, user));
        let at = transition.entry.as_ref().map_or(Timestamp::EPOCH, |entry| entry.at);
        if let Some(owner) = owner.filter(|_| to_inbox) {
            self.append(owner, lease.id, at);
        }
        if transition.next == Next::End(State::Dead) {
            let letter = Letter {
                died_at: at,
                review_status: ReviewStatus::Pending,
                note: None,
                next_redrive_at: redrive_at,
                redriven_as: None,
            };
            self.letters.insert(lease.id, letter);
        }
        if let Some(follow_up) = follow_up {
            self.insert(*follow_up);
        }
        Settled::Done
    }
}

fn lane(notification: &NewNotification) -> Lane {
    let queue = QueueKey { tenant: notification.tenant, destination: notification.destination.clone() };
    Lane { queue, priority: notification.priority }
}

fn lost(row: &Row, by: LostBy) -> Option<Lost> {
    let holder = row.holder.as_ref()?;
    let is_lost = match by {
        LostBy::Deadline(instant) => holder.until <= instant,
        LostBy::OtherThan(boot) => holder.owner != boot,
    };
    let lease = Lease { id: row.notification.id, fence: row.fence, until: holder.until };
    is_lost.then(|| Lost { lease, notification: row.notification.clone(), delivery: row.delivery() })
}
