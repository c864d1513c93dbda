//! The queue.
//!
//! A job is a row of `jobs` while it waits and a row of `leases` while somebody works on it, never both.

use std::sync::LazyLock;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::delivery::{Delivery, Next, State, Transition};
use tidings_core::error::StoreError;
use tidings_core::fairness::Lane;
use tidings_core::id::MessageId;
use tidings_core::notification::NewNotification;
use tidings_core::ports::Jobs;
use tidings_core::ports::jobs::{Claim, Job, Lease, Lost, LostBy, Ready, Settled, Settlement};
use tidings_core::time::Timestamp;

use super::error::sort;
use super::lanes::LaneId;
use super::open::SqliteStore;
use super::rows::{self, Counters};
use super::streams;
use super::writer::{Failure, Tx};

#[async_trait]
impl Jobs for SqliteStore {
    async fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Result<Ready, StoreError> {
        let (lanes, next_due) = self.inner.lanes.lock().due(now, limit);
        if lanes.is_empty() {
            return Ok(Ready { lanes: Vec::new(), next_due });
        }
        let counted = self
            .read_urgently(move |connection| count_due(connection, lanes, now, depth).map_err(|error| sort(&error)))
            .await?;
        Ok(Ready { lanes: counted, next_due })
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Job>, StoreError> {
        let weight = claim.lanes.iter().map(|(_, count)| count).sum();
        self.inner.writer.write(weight, move |tx| Ok(claim_lanes(tx, &claim)?)).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        let weight = settlements.len();
        let settle = move |tx: &mut Tx<'_>| {
            settlements.iter().map(|settlement| settle_one(tx, settlement)).collect::<Result<_, Failure>>()
        };
        self.inner.writer.write(weight, settle).await
    }

    async fn lost(&self, by: LostBy, after: Option<MessageId>, limit: usize) -> Result<Vec<Lost>, StoreError> {
        self.read(move |connection| lost(connection, by, after, limit).map_err(|error| sort(&error))).await
    }
}

fn count_due(
    connection: &Connection,
    lanes: Vec<(LaneId, Lane)>,
    now: Timestamp,
    depth: usize,
) -> rusqlite::Result<Vec<(Lane, usize)>> {
    let mut count = connection.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE queue_id = ?1 AND priority = ?2 AND due_at <= ?3 LIMIT ?4)",
    )?;
    let depth = i64::try_from(depth).unwrap_or(i64::MAX);
    let mut counted = Vec::with_capacity(lanes.len());
    for ((queue, priority), lane) in lanes {
        let due: i64 = count.query_row(params![queue, priority, now.as_millis(), depth], |row| row.get(0))?;
        // A lane that was emptied since is no news to anybody.
        if due > 0 {
            counted.push((lane, usize::try_from(due).unwrap_or(usize::MAX)));
        }
    }
    Ok(counted)
}

fn claim_lanes(tx: &mut Tx<'_>, claim: &Claim) -> rusqlite::Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for (lane, count) in &claim.lanes {
        if let Some(queue) = tx.memory.queues.find(tx.connection, &lane.queue)? {
            claim_lane(tx, claim, (queue, lane.priority.lane()), *count, &mut jobs)?;
        }
    }
    Ok(jobs)
}

fn claim_lane(tx: &mut Tx<'_>, claim: &Claim, lane: LaneId, count: usize, jobs: &mut Vec<Job>) -> rusqlite::Result<()> {
    let mut select = tx.connection.prepare_cached(
        "SELECT due_at, id, fence, attempts, lost_leases FROM jobs
         WHERE queue_id = ?1 AND priority = ?2 AND due_at <= ?3 ORDER BY due_at, id LIMIT ?4",
    )?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let due = select
        .query_map(params![lane.0, lane.1, claim.now.as_millis(), count], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                Counters { fence: row.get(2)?, attempts: row.get(3)?, lost_leases: row.get(4)? },
            ))
        })?
        .collect::<rusqlite::Result<Vec<(i64, i64, Counters)>>>()?;
    let until = claim.now + claim.lease;
    for (due_at, id, before) in due {
        unqueue(tx, lane, due_at, id)?;
        let counters = Counters { fence: before.fence + 1, attempts: before.attempts + 1, ..before };
        let mut insert = tx.connection.prepare_cached(
            "INSERT INTO leases (id, fence, owner, until, queue_id, priority, attempts, lost_leases) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let owner = *claim.owner.0.as_bytes();
        insert.execute(params![
            id,
            counters.fence,
            owner,
            until.as_millis(),
            lane.0,
            lane.1,
            counters.attempts,
            counters.lost_leases
        ])?;
        tx.changes.leased();
        // One damaged row must not hold up the rest of its lane: its job stays leased, and the log tells of it.
        let Some(notification) = legible(id, read_notification(tx.connection, id, lane.0))? else { continue };
        jobs.push(Job {
            lease: Lease { id: notification.id, fence: counters.fence, until },
            delivery: in_flight(&notification, counters),
            notification,
        });
    }
    Ok(())
}

fn read_notification(connection: &Connection, id: i64, queue: i64) -> rusqlite::Result<NewNotification> {
    // Built once: it is on the path of every claim.
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {} FROM notifications n JOIN queues q ON q.id = ?2 LEFT JOIN contents c ON c.id = n.id WHERE n.id = ?1",
            rows::NOTIFICATION
        )
    });
    connection.prepare_cached(&SQL)?.query_row(params![id, queue], rows::notification)
}

/// What was read, or `None` if the row itself is at fault.
fn legible<T>(id: i64, read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.sqlite_error_code().is_none() => {
            tracing::error!("The row {id} of notifications cannot be read, and its job is left alone: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn in_flight(notification: &NewNotification, counters: Counters) -> Delivery {
    Delivery {
        state: State::Sending,
        attempts: counters.attempts,
        lost_leases: counters.lost_leases,
        expires_at: notification.expires_at,
    }
}

/// Takes a job out of its lane; `false` when it is not there.
pub(crate) fn unqueue(tx: &mut Tx<'_>, lane: LaneId, due_at: i64, id: i64) -> rusqlite::Result<bool> {
    let mut delete = tx
        .connection
        .prepare_cached("DELETE FROM jobs WHERE queue_id = ?1 AND priority = ?2 AND due_at = ?3 AND id = ?4")?;
    let found = delete.execute(params![lane.0, lane.1, due_at, id])? == 1;
    if found {
        tx.changes.unqueued(lane);
    }
    Ok(found)
}

fn settle_one(tx: &mut Tx<'_>, settlement: &Settlement) -> Result<Settled, Failure> {
    let Some(lane) = end_lease(tx, settlement.lease)? else {
        return Ok(Settled::Stale);
    };
    let id = settlement.lease.id.as_integer();
    let fence = settlement.lease.fence;
    if let Next::Queue { due_at } = settlement.transition.next {
        let counters = Counters {
            fence,
            attempts: settlement.transition.attempts,
            lost_leases: settlement.transition.lost_leases,
        };
        rows::enqueue(tx, lane, id, due_at, counters)?;
    }
    let inbox_number =
        if settlement.to_inbox { streams::append(tx, settlement.lease.id, at(&settlement.transition))? } else { None };
    write_transition(tx, id, &settlement.transition, inbox_number)?;
    if settlement.transition.next == Next::End(State::Cancelled) {
        // Its user is gone, and may have been erased while it was under way.
        tx.connection.prepare_cached("DELETE FROM contents WHERE id = ?1")?.execute(params![id])?;
    }
    if settlement.transition.next == Next::End(State::Dead) {
        let mut insert = tx.connection.prepare_cached(
            "INSERT INTO dead_letters (id, tenant_id, died_at, next_redrive_at) SELECT id, tenant_id, ?2, ?3 FROM notifications WHERE id = ?1",
        )?;
        insert.execute(params![
            id,
            at(&settlement.transition).as_millis(),
            settlement.redrive_at.map(Timestamp::as_millis)
        ])?;
        tx.changes.undecided();
    }
    if let Some(follow_up) = &settlement.follow_up {
        rows::insert(tx, follow_up)?;
    }
    Ok(Settled::Done)
}

/// Ends the lease with this fence, if it is the current one. Returns the lane of the job.
pub(crate) fn end_lease(tx: &mut Tx<'_>, lease: Lease) -> rusqlite::Result<Option<LaneId>> {
    let mut delete =
        tx.connection.prepare_cached("DELETE FROM leases WHERE id = ?1 AND fence = ?2 RETURNING queue_id, priority")?;
    let lane = delete
        .query_row(params![lease.id.as_integer(), lease.fence], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if lane.is_some() {
        tx.changes.unleased();
    }
    Ok(lane)
}

/// Brings the record of a notification in line with a transition and writes its journal entry.
pub(crate) fn write_transition(
    tx: &Tx<'_>,
    id: i64,
    transition: &Transition,
    inbox_number: Option<i64>,
) -> rusqlite::Result<()> {
    let (due_at, finished_at) = match transition.next {
        Next::Queue { due_at } => (Some(due_at.as_millis()), None),
        Next::End(_) => (None, Some(at(transition).as_millis())),
    };
    let mut update = tx.connection.prepare_cached(
        "UPDATE notifications SET state = ?2, attempts = ?3, due_at = coalesce(?4, due_at), finished_at = ?5,
            error = CASE WHEN ?2 = 'delivered' THEN NULL ELSE coalesce(?6, error) END, inbox_number = ?7, entries = entries + ?8
         WHERE id = ?1 RETURNING entries",
    )?;
    let state = transition.next.state().as_str();
    let entries = i64::from(transition.entry.is_some());
    let number = update.query_row(
        params![id, state, transition.attempts, due_at, finished_at, transition.error, inbox_number, entries],
        |row| row.get(0),
    )?;
    match &transition.entry {
        Some(entry) => rows::write_entry(tx.connection, id, number, entry),
        None => Ok(()),
    }
}

/// When a transition was decided. A release is silent and changes nothing that has a time.
fn at(transition: &Transition) -> Timestamp {
    transition.entry.as_ref().map_or(Timestamp::EPOCH, |entry| entry.at)
}

fn lost(connection: &Connection, by: LostBy, after: Option<MessageId>, limit: usize) -> rusqlite::Result<Vec<Lost>> {
    let condition = match by {
        LostBy::Deadline(_) => "l.until <= ?1",
        LostBy::OtherThan(_) => "l.owner <> ?1",
    };
    let sql = format!(
        "SELECT {}, l.fence, l.until, l.attempts, l.lost_leases FROM leases l JOIN notifications n ON n.id = l.id
         JOIN queues q ON q.id = l.queue_id LEFT JOIN contents c ON c.id = NULL WHERE {condition} AND l.id > ?2 ORDER BY l.id",
        rows::NOTIFICATION
    );
    let bound: Box<dyn rusqlite::ToSql> = match by {
        LostBy::Deadline(instant) => Box::new(instant.as_millis()),
        LostBy::OtherThan(boot) => Box::new(*boot.0.as_bytes()),
    };
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params![bound, after.map_or(-1, MessageId::as_integer)])?;
    let mut lost = Vec::new();
    // No LIMIT: those that cannot be read count for nothing, or a page of them would look like the last one.
    while lost.len() < limit
        && let Some(row) = rows.next()?
    {
        let Some(notification) = legible(row.get(0)?, rows::notification(row))? else { continue };
        let counters = Counters { fence: row.get(17)?, attempts: row.get(19)?, lost_leases: row.get(20)? };
        let lease = Lease { id: notification.id, fence: counters.fence, until: rows::instant(row, 18)? };
        lost.push(Lost { lease, delivery: in_flight(&notification, counters), notification });
    }
    Ok(lost)
}

/// The lease on a notification, if somebody works on it: the lease and the attempts counted with it.
pub(crate) fn current_lease(connection: &Connection, id: MessageId) -> rusqlite::Result<Option<(Lease, Counters)>> {
    let mut select =
        connection.prepare_cached("SELECT fence, until, attempts, lost_leases FROM leases WHERE id = ?1")?;
    select
        .query_row(params![id.as_integer()], |row| {
            let counters = Counters { fence: row.get(0)?, attempts: row.get(2)?, lost_leases: row.get(3)? };
            Ok((Lease { id, fence: counters.fence, until: rows::instant(row, 1)? }, counters))
        })
        .optional()
}
