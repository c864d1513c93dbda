//! Where work is due: for each lane with waiting jobs, when its first one is. And how much there is of what is counted.
//!
//! Workers ask this many times a second, so it is held in memory. The writer brings it up to date after each commit and
//! before it answers, from the tables, for the lanes that the commit touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::fairness::{Lane, QueueKey};
use tidings_core::id::{TenantId, UserId};
use tidings_core::notification::{Destination, Priority};
use tidings_core::time::Timestamp;

/// A lane in the words of the tables.
pub(crate) type LaneId = (i64, u8);

/// What has a claim to be seen beside the others: a tenant's channel at one priority.
type Group = (TenantId, String, u8);

/// The first due job of each lane.
#[derive(Default)]
pub(crate) struct Lanes {
    first_due: HashMap<LaneId, Timestamp>,
    by_due: BTreeSet<(Timestamp, LaneId)>,
    /// The same by tenant, channel and priority, so that a cut after so many lanes never leaves one of these out.
    groups: BTreeMap<Group, BTreeSet<(Timestamp, LaneId)>>,
    names: HashMap<i64, QueueKey>,
    queued: i64,
    leased: i64,
    /// Dead letters that nobody has decided about. Counting them takes longer the more there are.
    undecided: i64,
}

/// What a transaction changed.
#[derive(Default)]
pub(crate) struct Changes {
    touched: BTreeSet<LaneId>,
    users: Vec<(TenantId, UserId)>,
    queued: i64,
    leased: i64,
    undecided: i64,
}

impl Changes {
    /// A job went into a lane.
    pub(crate) fn queued(&mut self, lane: LaneId) {
        self.touched.insert(lane);
        self.queued += 1;
    }

    /// A job left a lane.
    pub(crate) fn unqueued(&mut self, lane: LaneId) {
        self.touched.insert(lane);
        self.queued -= 1;
    }

    /// A lease began.
    pub(crate) fn leased(&mut self) {
        self.leased += 1;
    }

    /// A lease ended.
    pub(crate) fn unleased(&mut self) {
        self.leased -= 1;
    }

    /// A dead letter waits for a decision.
    pub(crate) fn undecided(&mut self) {
        self.undecided += 1;
    }

    /// A dead letter waits for a decision no more.
    pub(crate) fn decided(&mut self) {
        self.undecided -= 1;
    }

    /// A user is not as they were.
    pub(crate) fn user_changed(&mut self, tenant: TenantId, user: UserId) {
        self.users.push((tenant, user));
    }

    /// Looks up where the touched lanes stand, inside the transaction.
    pub(crate) fn resolve(self, connection: &Connection) -> rusqlite::Result<Resolved> {
        let mut first = connection.prepare_cached(
            "SELECT due_at FROM jobs WHERE queue_id = ?1 AND priority = ?2 ORDER BY due_at, id LIMIT 1",
        )?;
        let mut lanes = Vec::with_capacity(self.touched.len());
        for lane in self.touched {
            let due: Option<i64> = first.query_row(params![lane.0, lane.1], |row| row.get(0)).optional()?;
            let name = if due.is_some() { Some(name(connection, lane.0)?) } else { None };
            lanes.push((lane, due.map(Timestamp::from_millis).zip(name)));
        }
        Ok(Resolved { users: self.users, lanes, queued: self.queued, leased: self.leased, undecided: self.undecided })
    }
}

/// What a transaction changed, ready to be applied once it is committed.
pub(crate) struct Resolved {
    users: Vec<(TenantId, UserId)>,
    lanes: Vec<(LaneId, Option<(Timestamp, QueueKey)>)>,
    queued: i64,
    leased: i64,
    undecided: i64,
}

impl Resolved {
    /// The users who are not as they were.
    pub(crate) fn users(&self) -> &[(TenantId, UserId)] {
        &self.users
    }
}

impl Lanes {
    /// Reads the tables anew.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let queued = connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))?;
        let leased = connection.query_row("SELECT count(*) FROM leases", [], |row| row.get(0))?;
        let undecided =
            connection
                .query_row("SELECT count(*) FROM dead_letters WHERE review_status = 'pending'", [], |row| row.get(0))?;
        let mut lanes = Self { queued, leased, undecided, ..Self::default() };
        let mut queues = connection.prepare("SELECT id FROM queues")?;
        let ids = queues.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        let mut changes = Changes::default();
        for id in ids {
            changes.touched.extend(Priority::ALL.map(|priority| (id, priority.lane())));
        }
        let resolved = changes.resolve(connection)?;
        lanes.apply(resolved);
        Ok(lanes)
    }

    /// Takes over what a committed transaction changed.
    pub(crate) fn apply(&mut self, resolved: Resolved) {
        for (lane, state) in resolved.lanes {
            if let Some(before) = self.first_due.remove(&lane) {
                self.by_due.remove(&(before, lane));
                self.leave_group(before, lane);
            }
            match state {
                Some((due, name)) => {
                    self.first_due.insert(lane, due);
                    self.by_due.insert((due, lane));
                    self.groups.entry(group(&name, lane)).or_default().insert((due, lane));
                    self.names.insert(lane.0, name);
                }
                None => self.forget_name(lane.0),
            }
        }
        self.queued += resolved.queued;
        self.leased += resolved.leased;
        self.undecided += resolved.undecided;
    }

    /// Up to `limit` lanes that are due, and when the next one becomes due. Groups take turns, each with its longest due
    /// lane first.
    pub(crate) fn due(&self, now: Timestamp, limit: usize) -> (Vec<(LaneId, Lane)>, Option<Timestamp>) {
        let mut turns: Vec<_> =
            self.groups.values().map(|lanes| lanes.iter().take_while(|(at, _)| *at <= now)).collect();
        let mut found = Vec::new();
        while found.len() < limit && !turns.is_empty() {
            turns.retain_mut(|turn| match turn.next() {
                Some((at, lane)) => {
                    found.push((*at, *lane));
                    true
                }
                None => false,
            });
        }
        found.truncate(limit);
        found.sort_unstable();
        let lanes = found.into_iter().filter_map(|(_, lane)| Some((lane, self.lane(lane)?))).collect();
        let later = (Timestamp::from_millis(now.as_millis().saturating_add(1)), (i64::MIN, 0));
        (lanes, self.by_due.range(later..).next().map(|(at, _)| *at))
    }

    /// The earliest due instant of all lanes.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.by_due.first().map(|(at, _)| *at)
    }

    /// Jobs waiting, jobs leased, and dead letters that nobody has decided about.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [self.queued, self.leased, self.undecided].map(|count| u64::try_from(count).unwrap_or(0))
    }

    fn lane(&self, (queue, priority): LaneId) -> Option<Lane> {
        Some(Lane { queue: self.names.get(&queue)?.clone(), priority: Priority::from_lane(priority)? })
    }

    fn leave_group(&mut self, due: Timestamp, lane: LaneId) {
        let Some(group) = self.names.get(&lane.0).map(|name| group(name, lane)) else { return };
        if let Some(lanes) = self.groups.get_mut(&group) {
            lanes.remove(&(due, lane));
            if lanes.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    fn forget_name(&mut self, queue: i64) {
        if !Priority::ALL.into_iter().any(|priority| self.first_due.contains_key(&(queue, priority.lane()))) {
            self.names.remove(&queue);
        }
    }
}

fn group(name: &QueueKey, lane: LaneId) -> Group {
    let destination = name.destination.as_str();
    let channel = destination.split_once(':').map_or(destination, |(channel, _target)| channel);
    (name.tenant, channel.to_owned(), lane.1)
}

/// The name of a queue.
pub(crate) fn name(connection: &Connection, queue: i64) -> rusqlite::Result<QueueKey> {
    let mut select = connection.prepare_cached("SELECT tenant_id, destination FROM queues WHERE id = ?1")?;
    select.query_row(params![queue], |row| {
        Ok(QueueKey { tenant: TenantId::from_integer(row.get(0)?), destination: Destination::from_stored(row.get(1)?) })
    })
}
