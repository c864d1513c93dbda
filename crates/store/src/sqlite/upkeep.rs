//! Retention, erasure, and the state of the store.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::delivery::{Delivery, Event, State, step};
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::journal::{Entry, Event as JournalEvent};
use tidings_core::ports::Upkeep;
use tidings_core::ports::history::Cancellation;
use tidings_core::ports::upkeep::{Stats, Swept};
use tidings_core::retention::{Due, Facts, Policy, Span};
use tidings_core::retry::Policies;
use tidings_core::time::Timestamp;

use super::chunks;
use super::error::sort;
use super::history::end_waiting;
use super::jobs::{current_lease, end_lease, write_transition};
use super::open::{DATABASE, SqliteStore};
use super::rows;
use super::streams;
use super::writer::Tx;

/// Queues without work that one sweep forgets.
const QUEUES_PER_SWEEP: i64 = 1_000;

#[async_trait]
impl Upkeep for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.writer.health()?;
        let ask = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM tenants WHERE id = 1", [], |row| row.get::<_, i64>(0))
        };
        self.inner.readers.run_reserved(move |connection| ask(connection).map(drop).map_err(|error| sort(&error))).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let ([queued, leased, dead_letters_pending], oldest_due) = {
            let lanes = self.inner.lanes.lock();
            (lanes.counts(), lanes.oldest())
        };
        let waiting_writes = self.inner.writer.waiting();
        let size_bytes = size(&self.inner.data_dir);
        self.read(move |connection| {
            let oldest_dead_letter = oldest_dead_letter(connection).map_err(|error| sort(&error))?;
            Ok(Stats {
                queued,
                leased,
                oldest_due,
                dead_letters_pending,
                oldest_dead_letter,
                size_bytes,
                waiting_writes,
            })
        })
        .await
    }

    async fn sweep(&self, policy: &Policy, span: Span, now: Timestamp, batch: usize) -> Result<Swept, StoreError> {
        let policy = policy.clone();
        let look = self
            .read(move |connection| look(connection, &policy, span, now, batch).map_err(|error| sort(&error)))
            .await?;
        let reaches_horizon = span.upto.is_none() && look.next.is_none();
        if look.candidates.is_empty() && !reaches_horizon {
            return Ok(Swept { next: look.next, due_at: look.due_at, ..Swept::default() });
        }
        let policies = self.inner.policies.clone();
        let swept = move |tx: &mut Tx<'_>| {
            let swept = sweep(tx, &look, &policies, now)?;
            if reaches_horizon {
                forget_idle_queues(tx)?;
            }
            Ok(swept)
        };
        self.inner.writer.write(batch, swept).await
    }

    async fn forget_keys(&self, now: Timestamp, batch: usize) -> Result<usize, StoreError> {
        self.inner
            .writer
            .write(batch / 4, move |tx| Ok(tx.memory.keys.forget_expired(tx.connection, now, batch)?))
            .await
    }

    async fn pending_erasures(&self, limit: usize) -> Result<Vec<(TenantId, UserId)>, StoreError> {
        self.read(move |connection| pending_erasures(connection, limit).map_err(|error| sort(&error))).await
    }

    async fn erase(&self, tenant: TenantId, user: UserId, now: Timestamp, batch: usize) -> Result<bool, StoreError> {
        let policies = self.inner.policies.clone();
        self.inner.writer.write(batch, move |tx| Ok(erase(tx, tenant, user, &policies, now, batch)?)).await
    }
}

/// When the oldest dead letter died that nobody has decided about: the first of an index.
fn oldest_dead_letter(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let mut select = connection
        .prepare_cached("SELECT died_at FROM dead_letters WHERE review_status = 'pending' ORDER BY died_at LIMIT 1")?;
    select.query_row([], |row| rows::instant(row, 0)).optional()
}

/// The bytes of the database and its log.
fn size(data_dir: &Path) -> u64 {
    let size_of =
        |suffix: &str| std::fs::metadata(data_dir.join(format!("{DATABASE}{suffix}"))).map_or(0, |file| file.len());
    size_of("") + size_of("-wal")
}

/// What retention wants done about one notification.
struct Candidate {
    id: MessageId,
    tenant: TenantId,
    due: Due,
}

/// What a step of retention has seen.
struct Look {
    candidates: Vec<Candidate>,
    next: Option<MessageId>,
    /// The earliest instant at which something can be due of what is kept.
    due_at: Option<Timestamp>,
}

/// Looks at up to `batch` notifications.
fn look(connection: &Connection, policy: &Policy, span: Span, now: Timestamp, batch: usize) -> rusqlite::Result<Look> {
    let mut select = connection.prepare_cached(
        "SELECT n.id, n.tenant_id, n.state, n.accepted_at, n.due_at, n.finished_at, n.read_at, l.id FROM notifications n
         LEFT JOIN leases l ON l.id = n.id WHERE n.id > ?1 AND n.id <= ?2 ORDER BY n.id LIMIT ?3",
    )?;
    let after = span.after.map_or(-1, MessageId::as_integer);
    let upto = span.last(policy, now).as_integer();
    let mut rows = select.query(params![after, upto, i64::try_from(batch).unwrap_or(i64::MAX)])?;
    let mut look = Look { candidates: Vec::new(), next: None, due_at: None };
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        let id = rows::message_id(row, 0)?;
        let is_leased = row.get::<_, Option<i64>>(7)?.is_some();
        let facts = Facts {
            state: if is_leased { State::Sending } else { rows::state(row, 2)? },
            accepted_at: rows::instant(row, 3)?,
            due_at: rows::instant(row, 4)?,
            finished_at: rows::optional_instant(row, 5)?,
            read_at: rows::optional_instant(row, 6)?,
        };
        match policy.judge(&facts, now) {
            Due::Keep => look.due_at = Some(earlier(look.due_at, policy.earliest(&facts, now))),
            due => look.candidates.push(Candidate { id, tenant: TenantId::from_integer(row.get(1)?), due }),
        }
        (seen, look.next) = (seen + 1, Some(id));
    }
    if seen < batch {
        look.next = None;
    }
    Ok(look)
}

fn earlier(one: Option<Timestamp>, other: Timestamp) -> Timestamp {
    one.map_or(other, |one| one.min(other))
}

fn sweep(tx: &mut Tx<'_>, look: &Look, policies: &Policies, now: Timestamp) -> rusqlite::Result<Swept> {
    let mut swept = Swept { next: look.next, due_at: look.due_at, ..Swept::default() };
    for candidate in &look.candidates {
        if candidate.due == Due::Expire {
            let ended = end_waiting(tx, candidate.tenant, candidate.id, Event::Expired, policies, now)?;
            swept.expired += usize::from(ended == Some(Cancellation::Cancelled));
            // Expired it is kept on, and so it is if somebody has claimed it since: the next pass sees for how long.
            swept.due_at = Some(earlier(swept.due_at, now));
        } else {
            delete(tx, candidate.id)?;
            swept.deleted += 1;
        }
    }
    Ok(swept)
}

/// Deletes a notification that has ended, with all that belongs to it.
fn delete(tx: &mut Tx<'_>, id: MessageId) -> rusqlite::Result<()> {
    let integer = id.as_integer();
    leave_inbox(tx, integer)?;
    for sql in [
        "DELETE FROM contents WHERE id = ?1",
        "DELETE FROM journal WHERE id = ?1",
        "DELETE FROM notifications WHERE id = ?1",
    ] {
        tx.connection.prepare_cached(sql)?.execute(params![integer])?;
    }
    let mut letter =
        tx.connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1 RETURNING review_status = 'pending'")?;
    let was_undecided: Option<bool> = letter.query_row(params![integer], |row| row.get(0)).optional()?;
    if was_undecided == Some(true) {
        tx.changes.decided();
    }
    Ok(())
}

/// Takes a notification out of the inbox that it is in. Its number is not given again.
fn leave_inbox(tx: &Tx<'_>, id: i64) -> rusqlite::Result<()> {
    let mut select = tx.connection.prepare_cached(
        "SELECT tenant_id, user_id, inbox_number FROM notifications WHERE id = ?1 AND inbox_number NOTNULL",
    )?;
    let place =
        select.query_row(params![id], |row| Ok((row.get(0)?, rows::user_id(row, 1)?, row.get(2)?))).optional()?;
    let Some((tenant, Some(user), number)) = place else {
        return Ok(());
    };
    let number: i64 = number;
    let Some((stream, _)) = streams::find(tx.connection, TenantId::from_integer(tenant), user)? else {
        return Ok(());
    };
    let mut remove = tx
        .connection
        .prepare_cached("DELETE FROM entries WHERE stream_id = ?1 AND number = ?2 RETURNING read_at ISNULL")?;
    let was_unread: Option<bool> = remove.query_row(params![stream, number], |row| row.get(0)).optional()?;
    if was_unread == Some(true) {
        tx.connection
            .prepare_cached("UPDATE streams SET unread = max(unread - 1, 0) WHERE id = ?1")?
            .execute(params![stream])?;
    }
    Ok(())
}

/// Names of queues that nothing goes through any more. Otherwise every host that was ever sent to would stay.
fn forget_idle_queues(tx: &mut Tx<'_>) -> rusqlite::Result<()> {
    let mut delete = tx.connection.prepare_cached(
        "DELETE FROM queues WHERE id IN (SELECT q.id FROM queues q
            WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.queue_id = q.id) AND q.id NOT IN (SELECT queue_id FROM leases) LIMIT ?1)",
    )?;
    if delete.execute(params![QUEUES_PER_SWEEP])? > 0 {
        tx.memory.queues.clear();
    }
    Ok(())
}

fn pending_erasures(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<(TenantId, UserId)>> {
    let mut select =
        connection.prepare_cached("SELECT tenant_id, user_id FROM erasures ORDER BY requested_at LIMIT ?1")?;
    let mut rows = select.query(params![i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut pending = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(user) = rows::user_id(row, 1)? {
            pending.push((TenantId::from_integer(row.get(0)?), user));
        }
    }
    Ok(pending)
}

fn erase(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    user: UserId,
    policies: &Policies,
    now: Timestamp,
    batch: usize,
) -> rusqlite::Result<bool> {
    let (tenant_key, user_key) = (tenant.as_integer(), *user.0.as_bytes());
    let mut progress =
        tx.connection.prepare_cached("SELECT upto FROM erasures WHERE tenant_id = ?1 AND user_id = ?2")?;
    let Some(upto) = progress.query_row(params![tenant_key, user_key], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(true);
    };
    let ids = ids_of_user(tx.connection, tenant, user, upto, batch)?;
    for id in &ids {
        erase_one(tx, tenant, *id, policies, now)?;
    }
    if let Some(last) = ids.last().filter(|_| ids.len() == batch) {
        let mut update =
            tx.connection.prepare_cached("UPDATE erasures SET upto = ?3 WHERE tenant_id = ?1 AND user_id = ?2")?;
        update.execute(params![tenant_key, user_key, last.as_integer()])?;
        return Ok(false);
    }
    if let Some((stream, _)) = streams::find(tx.connection, tenant, user)? {
        let mut delete = tx.connection.prepare_cached(
            "DELETE FROM entries WHERE stream_id = ?1 AND number <= (SELECT min(number) + ?2 FROM entries WHERE stream_id = ?1)",
        )?;
        delete.execute(params![stream, i64::try_from(batch).unwrap_or(i64::MAX)])?;
        let mut rest = tx.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM entries WHERE stream_id = ?1)")?;
        if rest.query_row(params![stream], |row| row.get(0))? {
            return Ok(false);
        }
        tx.connection.prepare_cached("DELETE FROM streams WHERE id = ?1")?.execute(params![stream])?;
    }
    tx.connection
        .prepare_cached("DELETE FROM erasures WHERE tenant_id = ?1 AND user_id = ?2")?
        .execute(params![tenant_key, user_key])?;
    Ok(true)
}

/// The notifications of a user after an id, oldest first.
fn ids_of_user(
    connection: &Connection,
    tenant: TenantId,
    user: UserId,
    after: i64,
    most: usize,
) -> rusqlite::Result<Vec<MessageId>> {
    let mut select = connection.prepare_cached(
        "SELECT id FROM notifications INDEXED BY notifications_by_user
         WHERE chunk = ?1 AND tenant_id = ?2 AND user_id = ?3 AND id > ?4 ORDER BY id LIMIT ?5",
    )?;
    let mut ids = Vec::new();
    let mut chunk =
        chunks::at_most(connection, after)?.map_or_else(|| chunks::after(connection, -1), |chunk| Ok(Some(chunk)))?;
    while let Some(start) = chunk {
        let rest = i64::try_from(most - ids.len()).unwrap_or(i64::MAX);
        let bound = params![start, tenant.as_integer(), *user.0.as_bytes(), after, rest];
        for id in select.query_map(bound, |row| rows::message_id(row, 0))? {
            ids.push(id?);
        }
        if ids.len() >= most {
            break;
        }
        chunk = chunks::after(connection, start)?;
    }
    Ok(ids)
}

/// Ends what still waits or is being sent, deletes what was told and what providers said about it.
fn erase_one(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    id: MessageId,
    policies: &Policies,
    now: Timestamp,
) -> rusqlite::Result<()> {
    match current_lease(tx.connection, id)? {
        // The worker's own settlement will find its lease gone.
        Some((lease, counters)) => {
            let delivery = Delivery {
                state: State::Sending,
                attempts: counters.attempts,
                lost_leases: counters.lost_leases,
                expires_at: None,
            };
            if let Ok(transition) = step(&delivery, Event::RecipientGone, &policies.default, now, 0.0) {
                end_lease(tx, lease)?;
                write_transition(tx, id.as_integer(), &transition, None)?;
            }
        }
        None => {
            end_waiting(tx, tenant, id, Event::Cancelled, policies, now)?;
        }
    }
    let integer = id.as_integer();
    for sql in [
        "DELETE FROM contents WHERE id = ?1",
        "UPDATE journal SET detail = NULL, attempt = json_remove(attempt, '$.message') WHERE id = ?1",
        "UPDATE notifications SET error = CASE WHEN error ISNULL THEN NULL ELSE 'Erased' END, inbox_number = NULL WHERE id = ?1",
        "UPDATE dead_letters SET next_redrive_at = NULL WHERE id = ?1",
    ] {
        tx.connection.prepare_cached(sql)?.execute(params![integer])?;
    }
    rows::append_entry(tx.connection, integer, &Entry::new(now, JournalEvent::Erased))
}
