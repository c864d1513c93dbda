//! From rows to the types of the domain. A row that cannot be read names itself.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row, ToSql, params};
use tidings_core::delivery::{State, Transition};
use tidings_core::fairness::QueueKey;
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::journal::{Entry, Event};
use tidings_core::notification::{Content, NewNotification, Priority, Summary, TraceContext};
use tidings_core::time::Timestamp;
use uuid::Uuid;

use super::lanes::LaneId;
use super::writer::Tx;

/// The columns that [`summary`] reads.
pub(crate) const SUMMARY: &str = "n.id, n.request_id, n.user_id, n.channel, n.category, n.priority, n.state, n.attempts, n.correlation_id, \
     n.traceparent, n.accepted_at, n.due_at, n.expires_at, n.finished_at, n.read_at, n.error, n.redrive_of";

pub(crate) fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    Ok(Summary {
        id: message_id(row, 0)?,
        request: message_id(row, 1)?,
        user: user_id(row, 2)?,
        channel: row.get(3)?,
        category: row.get(4)?,
        priority: priority(row, 5)?,
        state: state(row, 6)?,
        attempts: row.get(7)?,
        context: TraceContext { correlation_id: row.get(8)?, traceparent: row.get(9)? },
        accepted_at: instant(row, 10)?,
        due_at: instant(row, 11)?,
        expires_at: optional_instant(row, 12)?,
        finished_at: optional_instant(row, 13)?,
        read_at: optional_instant(row, 14)?,
        error: row.get(15)?,
        redrive_of: optional_message_id(row, 16)?,
    })
}

/// The columns that [`notification`] reads, to be joined with contents as `c` and queues as `q`.
pub(crate) const NOTIFICATION: &str = "n.id, n.request_id, n.tenant_id, n.user_id, n.channel, n.category, n.priority, q.destination, \
     c.payload, c.metadata, n.correlation_id, n.traceparent, n.accepted_at, n.due_at, n.expires_at, n.redrive_of, n.redrives";

pub(crate) fn notification(row: &Row<'_>) -> rusqlite::Result<NewNotification> {
    let payload: Option<String> = row.get(8)?;
    Ok(NewNotification {
        id: message_id(row, 0)?,
        request: message_id(row, 1)?,
        tenant: TenantId::from_integer(row.get(2)?),
        user: user_id(row, 3)?,
        channel: row.get(4)?,
        category: row.get(5)?,
        priority: priority(row, 6)?,
        destination: tidings_core::notification::Destination::from_stored(row.get(7)?),
        content: Content { payload: payload.unwrap_or_else(|| "{}".to_owned()), metadata: row.get(9)? },
        context: TraceContext { correlation_id: row.get(10)?, traceparent: row.get(11)? },
        accepted_at: instant(row, 12)?,
        due_at: instant(row, 13)?,
        expires_at: optional_instant(row, 14)?,
        redrive_of: optional_message_id(row, 15)?,
        redrives: row.get(16)?,
    })
}

/// Stores a notification with its content, its job and the first entry of its journal.
pub(crate) fn insert(tx: &mut Tx<'_>, notification: &NewNotification) -> rusqlite::Result<()> {
    let lane = record(tx, notification, None)?;
    enqueue(tx, lane, notification.id.as_integer(), notification.due_at, Counters::default())
}

/// The end that a notification has reached when it is stored.
pub(crate) struct Ended<'a> {
    pub(crate) transition: &'a Transition,
    pub(crate) at: Timestamp,
    pub(crate) inbox_number: i64,
}

/// Stores a notification with its content and the first entry of its journal, and with its end if it has reached it. Gives
/// the lane that its job would be in.
pub(crate) fn record(
    tx: &mut Tx<'_>,
    notification: &NewNotification,
    end: Option<&Ended<'_>>,
) -> rusqlite::Result<LaneId> {
    let key = QueueKey { tenant: notification.tenant, destination: notification.destination.clone() };
    let queue = tx.memory.queues.intern(tx.connection, &key)?;
    let id = notification.id.as_integer();
    let chunk = tx.memory.chunks.of(tx.connection, id)?;
    let lane: LaneId = (queue, notification.priority.lane());
    let mut insert = tx.connection.prepare_cached(
        "INSERT INTO notifications (id, request_id, tenant_id, user_id, channel, category, priority, queue_id, correlation_id,
            traceparent, accepted_at, due_at, expires_at, redrive_of, redrives, chunk, state, attempts, entries, finished_at,
            inbox_number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
    )?;
    insert.execute(params![
        id,
        notification.request.as_integer(),
        notification.tenant.as_integer(),
        notification.user.map(|user| *user.0.as_bytes()),
        notification.channel,
        notification.category,
        lane.1,
        queue,
        notification.context.correlation_id,
        notification.context.traceparent,
        notification.accepted_at.as_millis(),
        notification.due_at.as_millis(),
        notification.expires_at.map(Timestamp::as_millis),
        notification.redrive_of.map(MessageId::as_integer),
        notification.redrives,
        chunk,
        end.map_or(State::Queued, |end| end.transition.next.state()).as_str(),
        end.map_or(0, |end| end.transition.attempts),
        end.map_or(1, |_| 2),
        end.map(|end| end.at.as_millis()),
        end.map(|end| end.inbox_number),
    ])?;
    let mut content =
        tx.connection.prepare_cached("INSERT INTO contents (id, payload, metadata) VALUES (?1, ?2, ?3)")?;
    content.execute(params![id, notification.content.payload, notification.content.metadata])?;
    let mut journal =
        tx.connection.prepare_cached("INSERT INTO journal (id, number, at, event) VALUES (?1, 1, ?2, 'accepted')")?;
    journal.execute(params![id, notification.accepted_at.as_millis()])?;
    if let Some(entry) = end.and_then(|end| end.transition.entry.as_ref()) {
        write_entry(tx.connection, id, 2, entry)?;
    }
    Ok(lane)
}

/// What a job remembers of its attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fence: i64,
    pub(crate) attempts: u32,
    pub(crate) lost_leases: u32,
}

/// Puts a job into its lane.
pub(crate) fn enqueue(
    tx: &mut Tx<'_>,
    lane: LaneId,
    id: i64,
    due_at: Timestamp,
    counters: Counters,
) -> rusqlite::Result<()> {
    let mut job = tx.connection.prepare_cached(
        "INSERT INTO jobs (queue_id, priority, due_at, id, fence, attempts, lost_leases) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    job.execute(params![
        lane.0,
        lane.1,
        due_at.as_millis(),
        id,
        counters.fence,
        counters.attempts,
        counters.lost_leases
    ])?;
    tx.changes.queued(lane);
    Ok(())
}

/// Writes the next entry of a journal; `number` is its place.
pub(crate) fn write_entry(connection: &Connection, id: i64, number: i64, entry: &Entry) -> rusqlite::Result<()> {
    let attempt = entry
        .attempt
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO journal (id, number, at, event, attempt, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert.execute(params![id, number, entry.at.as_millis(), entry.event.as_str(), attempt, entry.detail])?;
    Ok(())
}

/// Writes an entry to the journal of a notification whose state it does not change.
pub(crate) fn append_entry(connection: &Connection, id: i64, entry: &Entry) -> rusqlite::Result<()> {
    let mut next =
        connection.prepare_cached("UPDATE notifications SET entries = entries + 1 WHERE id = ?1 RETURNING entries")?;
    let number = next.query_row(params![id], |row| row.get(0))?;
    write_entry(connection, id, number, entry)
}

/// The journal of a notification, oldest first.
pub(crate) fn journal(connection: &Connection, id: i64) -> rusqlite::Result<Vec<Entry>> {
    let mut select =
        connection.prepare_cached("SELECT at, event, attempt, detail FROM journal WHERE id = ?1 ORDER BY number")?;
    let entries = select.query_map(params![id], |row| {
        let word: String = row.get(1)?;
        let event = Event::from_word(&word).ok_or_else(|| unreadable(1, format!("no such event: {word}")))?;
        let attempt: Option<String> = row.get(2)?;
        let attempt = attempt
            .map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|error| unreadable(2, error.to_string()))?;
        Ok(Entry { at: instant(row, 0)?, event, attempt, detail: row.get(3)? })
    })?;
    entries.collect()
}

pub(crate) fn message_id(row: &Row<'_>, column: usize) -> rusqlite::Result<MessageId> {
    optional_message_id(row, column)?.ok_or_else(|| unreadable(column, "an id is missing".to_owned()))
}

pub(crate) fn optional_message_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<MessageId>> {
    let integer: Option<i64> = row.get(column)?;
    integer
        .map(|integer| {
            MessageId::from_integer(integer).ok_or_else(|| unreadable(column, format!("{integer} is not an id")))
        })
        .transpose()
}

pub(crate) fn user_id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<UserId>> {
    let bytes: Option<[u8; 16]> = row.get(column)?;
    Ok(bytes.map(|bytes| UserId(Uuid::from_bytes(bytes))))
}

pub(crate) fn priority(row: &Row<'_>, column: usize) -> rusqlite::Result<Priority> {
    let lane: u8 = row.get(column)?;
    Priority::from_lane(lane).ok_or_else(|| unreadable(column, format!("{lane} is not a priority")))
}

pub(crate) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    let word: String = row.get(column)?;
    State::ALL
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| unreadable(column, format!("{word} is not a state")))
}

pub(crate) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

pub(crate) fn optional_instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

pub(crate) fn unreadable(column: usize, why: String) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

/// Collects the conditions of a query and what is bound to them. Conditions are constants of this program.
#[derive(Default)]
pub(crate) struct Conditions {
    pub(crate) sql: String,
    pub(crate) values: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    /// Adds a condition with one place for a value, written `?`.
    pub(crate) fn and(&mut self, condition: &'static str, value: impl ToSql + 'static) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(Box::new(value));
    }

    /// Adds a condition if there is a value.
    pub(crate) fn and_if(&mut self, condition: &'static str, value: Option<impl ToSql + 'static>) {
        if let Some(value) = value {
            self.and(condition, value);
        }
    }

    /// The values in the order of their places.
    pub(crate) fn bound(&self) -> impl Iterator<Item = &dyn ToSql> {
        self.values.iter().map(AsRef::as_ref)
    }
}
