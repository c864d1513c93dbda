//! A model of lease and fence, explored to the last state: one delivery, two workers, a reaper, crashes at every point, and
//! leases that end while their holder is only slow. It shows that no delivery reaches two ends; without the check of the
//! fence the same search finds how one does.
//!
//! The decisions are not taken from `delivery`: this is what the store and its workers promise each other, with nothing
//! else around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the worlds of one search have in common.
#[derive(Clone, Copy)]
struct Rules {
    /// Whether the store compares the fence of a settlement with that of the lease.
    checks_fence: bool,
    /// Whether the provider takes what it has seen before for the same.
    honours_key: bool,
}

/// How many times something may go wrong: enough for each worker to be in the way of the other, and finite.
const CRASHES: u8 = 2;
const EXPIRIES: u8 = 3;

/// A delivery in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Queued,
    Leased,
    Ended,
}

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worker {
    Idle,
    /// It has claimed under this fence.
    Claimed(u8),
    /// It has sent, and not settled.
    Sent(u8),
}

/// Everything that there is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    row: Row,
    fence: u8,
    workers: [Worker; 2],
    /// How often the delivery came to its end.
    ends: u8,
    /// How often the provider did something.
    effects: u8,
    /// Claims whose result was never settled.
    lost: u8,
    crashes: u8,
    expiries: u8,
    /// Settlements that were refused.
    stale: u8,
}

const START: World = World {
    row: Row::Queued,
    fence: 0,
    workers: [Worker::Idle; 2],
    ends: 0,
    effects: 0,
    lost: 0,
    crashes: 0,
    expiries: 0,
    stale: 0,
};

impl World {
    /// Everything that can happen next, each with its name.
    fn steps(self, rules: Rules) -> Vec<(String, Self)> {
        let mut steps = Vec::new();
        for place in 0..self.workers.len() {
            self.worker_steps(place, rules, &mut steps);
        }
        if self.row == Row::Leased {
            self.reaper_steps(&mut steps);
        }
        steps
    }

    fn worker_steps(self, place: usize, rules: Rules, steps: &mut Vec<(String, Self)>) {
        let mut step = |what: &str, next: Self| steps.push((format!("worker {place} {what}"), next));
        match self.workers[place] {
            Worker::Idle if self.row == Row::Queued => {
                let fence = self.fence + 1;
                step("claims", Self { row: Row::Leased, fence, ..self }.with(place, Worker::Claimed(fence)));
            }
            Worker::Idle => {}
            Worker::Claimed(fence) => {
                let is_new = !rules.honours_key || self.effects == 0;
                let sent = Self { effects: self.effects + u8::from(is_new), ..self };
                step("sends", sent.with(place, Worker::Sent(fence)));
                if self.crashes < CRASHES {
                    let crashed = Self { crashes: self.crashes + 1, lost: self.lost + 1, ..self };
                    step("crashes before it sends", crashed.with(place, Worker::Idle));
                }
            }
            Worker::Sent(fence) => {
                let is_held = self.row == Row::Leased && self.fence == fence;
                let settled = if is_held || !rules.checks_fence {
                    Self { row: Row::Ended, ends: self.ends + 1, ..self }
                } else {
                    Self { stale: self.stale + 1, lost: self.lost + 1, ..self }
                };
                step("settles", settled.with(place, Worker::Idle));
                if self.crashes < CRASHES {
                    let crashed = Self { crashes: self.crashes + 1, lost: self.lost + 1, ..self };
                    step("crashes before it settles", crashed.with(place, Worker::Idle));
                }
            }
        }
    }

    /// A lease ends because its holder is gone, or although it is not.
    fn reaper_steps(self, steps: &mut Vec<(String, Self)>) {
        let is_at_work = |worker: &Worker| match worker {
            Worker::Idle => false,
            Worker::Claimed(fence) | Worker::Sent(fence) => *fence == self.fence,
        };
        if !self.workers.iter().any(is_at_work) {
            steps.push((
                "the reaper takes back a lease that nobody holds".to_owned(),
                Self { row: Row::Queued, ..self },
            ));
        } else if self.expiries < EXPIRIES {
            let expired = Self { row: Row::Queued, expiries: self.expiries + 1, ..self };
            steps.push(("the lease ends while its holder is at work".to_owned(), expired));
        }
    }

    fn with(mut self, place: usize, worker: Worker) -> Self {
        self.workers[place] = worker;
        self
    }

    /// Whether nothing is under way.
    fn is_at_rest(self) -> bool {
        self.row == Row::Ended && self.workers == [Worker::Idle; 2]
    }
}

/// All worlds that can be reached, each with the step that led to it first and the world before that.
struct Explored {
    reached: BTreeMap<World, Option<(World, String)>>,
    /// Worlds in which nothing can happen any more.
    last: Vec<World>,
}

impl Explored {
    /// Breadth first, so that the way to a world is a shortest one.
    fn from_start(rules: Rules) -> Self {
        let mut reached = BTreeMap::from([(START, None)]);
        let mut waiting = VecDeque::from([START]);
        let mut last = Vec::new();
        while let Some(world) = waiting.pop_front() {
            let steps = world.steps(rules);
            if steps.is_empty() {
                last.push(world);
            }
            for (what, next) in steps {
                // What has gone wrong is already seen; how often it goes on does not matter.
                if next.ends <= 2 && !reached.contains_key(&next) {
                    reached.insert(next, Some((world, what)));
                    waiting.push_back(next);
                }
            }
        }
        Self { reached, last }
    }

    fn find(&self, fits: impl Fn(&World) -> bool) -> Option<World> {
        self.reached.keys().copied().find(|world| fits(world))
    }

    /// The steps that lead to a world.
    fn way_to(&self, mut world: World) -> Vec<&str> {
        let mut way = Vec::new();
        while let Some(Some((before, what))) = self.reached.get(&world) {
            way.push(what.as_str());
            world = *before;
        }
        way.reverse();
        way
    }

    /// Fails with the way to the first world that does not hold.
    fn check(&self, law: &str, holds: impl Fn(&World) -> bool) {
        let broken = self.find(|world| !holds(world));
        assert!(broken.is_none(), "{law}: {broken:?} after {:#?}", broken.map(|world| self.way_to(world)));
    }
}

#[test]
fn no_delivery_ends_twice() {
    for honours_key in [true, false] {
        let explored = Explored::from_start(Rules { checks_fence: true, honours_key });
        explored.check("one end", |world| world.ends <= 1);
        explored.check("an end is an end", |world| (world.ends == 1) == (world.row == Row::Ended));
        // The search has been where it matters.
        assert!(explored.find(|world| world.stale > 0).is_some(), "no settlement came too late");
        assert!(explored.find(|world| world.crashes == CRASHES && world.ends == 1).is_some());
        assert!(explored.reached.len() > 500, "only {} states", explored.reached.len());
    }
}

#[test]
fn without_the_fence_a_delivery_ends_twice() {
    let explored = Explored::from_start(Rules { checks_fence: false, honours_key: true });
    let twice = explored.find(|world| world.ends > 1).expect("the search finds what the fence is for");
    let way = explored.way_to(twice);
    assert!(way.contains(&"the lease ends while its holder is at work"), "{way:#?}");
}

#[test]
fn every_delivery_comes_to_its_end() {
    for honours_key in [true, false] {
        let explored = Explored::from_start(Rules { checks_fence: true, honours_key });
        assert!(!explored.last.is_empty());
        let stuck = explored.last.iter().copied().find(|world| !world.is_at_rest());
        assert_eq!(stuck, None, "{:#?}", stuck.map(|world| explored.way_to(world)));
        // From everywhere there is a way to the end: nothing goes round in a circle for ever.
        let can_end = backwards_from_rest(&explored, Rules { checks_fence: true, honours_key });
        explored.check("a way to the end", |world| can_end.contains(world));
    }
}

#[test]
fn a_provider_that_honours_keys_does_it_once_and_others_once_for_each_lost_claim_more() {
    let keyed = Explored::from_start(Rules { checks_fence: true, honours_key: true });
    keyed.check("one effect", |world| world.effects <= 1);
    let plain = Explored::from_start(Rules { checks_fence: true, honours_key: false });
    let under_way = |world: &World| world.workers.iter().filter(|at| **at != Worker::Idle).count();
    plain.check("no more effects than claims", |world| {
        usize::from(world.effects) <= usize::from(world.ends + world.lost) + under_way(world)
    });
    assert!(
        plain.find(|world| world.effects > 1).is_some(),
        "a repetition has to be possible for this to say anything"
    );
}

/// All worlds from which one at rest can be reached.
fn backwards_from_rest(explored: &Explored, rules: Rules) -> BTreeSet<World> {
    let mut before: BTreeMap<World, Vec<World>> = BTreeMap::new();
    for world in explored.reached.keys() {
        for (_, next) in world.steps(rules) {
            before.entry(next).or_default().push(*world);
        }
    }
    let mut found = BTreeSet::new();
    let mut waiting: Vec<World> = explored.reached.keys().copied().filter(|world| world.is_at_rest()).collect();
    while let Some(world) = waiting.pop() {
        if found.insert(world) {
            waiting.extend(before.get(&world).into_iter().flatten());
        }
    }
    found
}
