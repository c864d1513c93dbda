//! Who is served next: weighted fair queueing, first between tenants, then between the priorities of a tenant, then
//! between its destinations. Tenants come first, so that nobody gains on others by calling everything critical.
//!
//! Each level keeps a virtual time per party: being served moves it forward by the inverse of the party's weight, and the
//! party with the smallest virtual time goes first (stride scheduling; Waldspurger and Weihl, 1995). A party that had
//! nothing to do starts at the present virtual time, so that idling saves up no credit.

use std::collections::HashMap;
use std::hash::Hash;

use crate::id::TenantId;
use crate::notification::{Destination, Priority};

/// A queue: what one tenant sends to one destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Whose.
    pub tenant: TenantId,
    /// Where to.
    pub destination: Destination,
}

/// The part of a queue that has one priority. Lanes are what claims are made on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The queue.
    pub queue: QueueKey,
    /// The priority.
    pub priority: Priority,
}

/// The share of a priority while all are busy: 8 : 4 : 2 : 1.
const fn stride(priority: Priority) -> u64 {
    match priority {
        Priority::Critical => 1,
        Priority::High => 2,
        Priority::Normal => 4,
        Priority::Low => 8,
    }
}

/// The virtual times of one level.
#[derive(Debug)]
struct Turns<K> {
    times: HashMap<K, u64>,
    present: u64,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { times: HashMap::new(), present: 0 }
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    fn time(&self, party: &K) -> u64 {
        self.times.get(party).copied().unwrap_or(0).max(self.present)
    }

    fn serve(&mut self, party: &K, stride: u64) {
        self.present = self.time(party);
        self.times.insert(party.clone(), self.present + stride);
    }

    /// Forgets parties whose virtual time has passed: they would start at the present anyway.
    fn forget_the_past(&mut self) {
        let present = self.present;
        self.times.retain(|_, time| *time > present);
    }
}

/// Remembers who was served, between one plan and the next.
#[derive(Debug, Default)]
pub struct Fairness {
    tenants: Turns<TenantId>,
    /// By tenant: what happens between the lanes of one must not move those of another.
    within: HashMap<TenantId, Within>,
}

/// The turns within one tenant.
#[derive(Debug, Default)]
struct Within {
    priorities: Turns<Priority>,
    queues: Turns<QueueKey>,
}

/// A lane with due jobs, and how many of them may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The lane.
    pub lane: Lane,
    /// How many jobs of its *queue* may start now (bulkhead and breaker); the lanes of a queue share it.
    pub room: usize,
    /// How many jobs are known to be due, if the store says; otherwise as many as there is room.
    pub due: usize,
}

impl Fairness {
    /// Shares `slots` among the candidates. Returns how many jobs to claim from each lane, in the order of service.
    pub fn plan(&mut self, candidates: &[Candidate], slots: usize) -> Vec<(Lane, usize)> {
        let mut room: HashMap<&QueueKey, usize> = HashMap::new();
        for candidate in candidates {
            room.insert(&candidate.lane.queue, candidate.room);
        }
        let mut due: Vec<usize> = candidates.iter().map(|candidate| candidate.due).collect();
        let mut plan: Vec<(Lane, usize)> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for _ in 0..slots {
            let open = |index: &usize, due: &[usize]| {
                due[*index] > 0 && room.get(&candidates[*index].lane.queue).is_some_and(|room| *room > 0)
            };
            let Some(chosen) = (0..candidates.len())
                .filter(|index| open(index, &due))
                .min_by_key(|index| self.turn(&candidates[*index].lane))
            else {
                break;
            };
            let lane = &candidates[chosen].lane;
            self.serve(lane);
            due[chosen] -= 1;
            if let Some(room) = room.get_mut(&lane.queue) {
                *room -= 1;
            }
            let place = *places.entry(chosen).or_insert_with(|| {
                plan.push((lane.clone(), 0));
                plan.len() - 1
            });
            plan[place].1 += 1;
        }
        self.tenants.forget_the_past();
        self.within.retain(|_, within| {
            within.priorities.forget_the_past();
            within.queues.forget_the_past();
            !(within.priorities.times.is_empty() && within.queues.times.is_empty())
        });
        plan
    }

    fn turn(&self, lane: &Lane) -> (u64, u64, u64, Priority) {
        let within = self.within.get(&lane.queue.tenant);
        (
            self.tenants.time(&lane.queue.tenant),
            within.map_or(0, |within| within.priorities.time(&lane.priority)),
            within.map_or(0, |within| within.queues.time(&lane.queue)),
            lane.priority,
        )
    }

    fn serve(&mut self, lane: &Lane) {
        self.tenants.serve(&lane.queue.tenant, 1);
        let within = self.within.entry(lane.queue.tenant).or_default();
        within.priorities.serve(&lane.priority, stride(lane.priority));
        within.queues.serve(&lane.queue, 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lane(tenant: i64, destination: &str, priority: Priority) -> Lane {
        let queue =
            QueueKey { tenant: TenantId::from_integer(tenant), destination: Destination::new("webhook", destination) };
        Lane { queue, priority }
    }

    fn busy(lane: Lane) -> Candidate {
        Candidate { lane, room: 1000, due: 1000 }
    }

    fn served(plan: &[(Lane, usize)], lane: &Lane) -> usize {
        plan.iter().find(|(planned, _)| planned == lane).map_or(0, |(_, count)| *count)
    }

    #[test]
    fn a_loud_tenant_gets_no_more_than_its_share() {
        let quiet = lane(2, "z", Priority::Normal);
        let mut candidates: Vec<Candidate> =
            (0..9).map(|n| busy(lane(1, &format!("d{n}"), Priority::Normal))).collect();
        candidates.push(busy(quiet.clone()));
        let plan = Fairness::default().plan(&candidates, 20);
        assert_eq!(served(&plan, &quiet), 10);
    }

    #[test]
    fn urgent_lanes_go_first_and_none_starves() {
        let lanes: Vec<Lane> = Priority::ALL.into_iter().map(|priority| lane(1, "d", priority)).collect();
        let candidates: Vec<Candidate> = lanes.iter().cloned().map(busy).collect();
        let plan = Fairness::default().plan(&candidates, 150);
        let shares: Vec<usize> = lanes.iter().map(|lane| served(&plan, lane)).collect();
        assert_eq!(plan[0].0.priority, Priority::Critical);
        assert!(shares.windows(2).all(|pair| pair[0] > pair[1]), "{shares:?}");
        assert!(shares[3] >= 9, "{shares:?}");
    }

    #[test]
    fn a_second_busy_tenant_changes_nothing_between_the_lanes_of_the_first() {
        let ours = [lane(1, "a", Priority::Critical), lane(1, "b", Priority::Low)];
        let hosts = [lane(3, "c", Priority::Normal), lane(3, "d", Priority::Normal)];
        let all = ours.iter().chain(&hosts).cloned().chain([lane(2, "z", Priority::Normal)]);
        let candidates: Vec<Candidate> = all.map(busy).collect();
        let mut fairness = Fairness::default();
        let mut shares: HashMap<Lane, usize> = HashMap::new();
        for _ in 0..90 {
            for (lane, count) in fairness.plan(&candidates, 3) {
                *shares.entry(lane).or_default() += count;
            }
        }
        assert_eq!((shares[&ours[0]], shares[&ours[1]]), (80, 10));
        assert_eq!((shares[&hosts[0]], shares[&hosts[1]]), (45, 45));
    }

    #[test]
    fn turns_go_on_where_the_last_plan_ended() {
        let mut fairness = Fairness::default();
        let lanes = [lane(1, "a", Priority::Normal), lane(2, "b", Priority::Normal)];
        let candidates: Vec<Candidate> = lanes.iter().cloned().map(busy).collect();
        let firsts: Vec<Lane> = (0..4).map(|_| fairness.plan(&candidates, 1)[0].0.clone()).collect();
        assert_eq!(firsts[0], firsts[2]);
        assert_eq!(firsts[1], firsts[3]);
        assert_ne!(firsts[0], firsts[1]);
    }

    proptest! {
        #[test]
        fn plans_fill_the_slots_within_the_room(
            parties in prop::collection::btree_set((1_i64..4, 0_u8..4, 0_u8..4), 1..20),
            room in 0_usize..5, due in 0_usize..5, slots in 0_usize..60,
        ) {
            let candidates: Vec<Candidate> = parties.iter().map(|(tenant, destination, priority)| Candidate {
                lane: lane(*tenant, &destination.to_string(), Priority::from_lane(*priority).unwrap()), room, due,
            }).collect();
            let plan = Fairness::default().plan(&candidates, slots);
            let mut per_queue: HashMap<QueueKey, usize> = HashMap::new();
            let mut lanes_of: HashMap<QueueKey, usize> = HashMap::new();
            for candidate in &candidates {
                *lanes_of.entry(candidate.lane.queue.clone()).or_default() += 1;
            }
            for (lane, count) in &plan {
                prop_assert!(*count <= due);
                *per_queue.entry(lane.queue.clone()).or_default() += count;
            }
            prop_assert!(per_queue.values().all(|count| *count <= room));
            let possible: usize = lanes_of.values().map(|lanes| (lanes * due).min(room)).sum();
            prop_assert_eq!(plan.iter().map(|(_, count)| count).sum::<usize>(), slots.min(possible));
        }
    }
}
