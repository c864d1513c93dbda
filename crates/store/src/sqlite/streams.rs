//! Numbered streams: inboxes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::journal::{Entry, Event};
use tidings_core::ports::Streams;
use tidings_core::ports::streams::{InboxEntry, InboxHead, InboxPage, InboxRange, Receipt, ReceiptFor};
use tidings_core::time::Timestamp;

use super::error::sort;
use super::open::SqliteStore;
use super::rows;
use super::writer::Tx;

/// How many entries one transaction acknowledges.
const STEP: u16 = 1_000;

#[async_trait]
impl Streams for SqliteStore {
    async fn read_inbox(
        &self,
        tenant: TenantId,
        user: UserId,
        range: InboxRange,
        limit: usize,
    ) -> Result<InboxPage, StoreError> {
        self.read(move |connection| read(connection, tenant, user, range, limit).map_err(|error| sort(&error))).await
    }

    async fn acknowledge(
        &self,
        tenant: TenantId,
        user: UserId,
        receipt: Receipt,
        of: ReceiptFor,
        now: Timestamp,
    ) -> Result<InboxHead, StoreError> {
        loop {
            let of = of.clone();
            let step = move |tx: &mut Tx<'_>| Ok(acknowledge(tx, (tenant, user), receipt, &of, now)?);
            if let Step::Done(head) = self.inner.writer.write(usize::from(STEP / 4), step).await? {
                return Ok(head);
            }
        }
    }
}

/// The name of the stream that is a user's inbox.
pub(crate) fn inbox_name(user: UserId) -> String {
    format!("inbox:{user}")
}

/// Appends a notification to the inbox of its user. Returns its number; `None` when it has no user.
pub(crate) fn append(tx: &Tx<'_>, id: MessageId, at: Timestamp) -> rusqlite::Result<Option<i64>> {
    let mut owner = tx.connection.prepare_cached("SELECT tenant_id, user_id FROM notifications WHERE id = ?1")?;
    let (tenant, user) =
        owner.query_row(params![id.as_integer()], |row| Ok((row.get::<_, i64>(0)?, rows::user_id(row, 1)?)))?;
    match user {
        Some(user) => append_to(tx, (tenant, user), id, at).map(Some),
        None => Ok(None),
    }
}

/// Appends a notification to the inbox of a user. Returns its number.
pub(crate) fn append_to(
    tx: &Tx<'_>,
    (tenant, user): (i64, UserId),
    id: MessageId,
    at: Timestamp,
) -> rusqlite::Result<i64> {
    let mut advance = tx.connection.prepare_cached(
        "INSERT INTO streams (tenant_id, name, last, unread) VALUES (?1, ?2, 1, 1)
         ON CONFLICT (tenant_id, name) DO UPDATE SET last = last + 1, unread = unread + 1 RETURNING id, last",
    )?;
    let (stream, number): (i64, i64) =
        advance.query_row(params![tenant, inbox_name(user)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    tidings_faultpoints::point("store.in-inbox-append");
    let mut insert = tx
        .connection
        .prepare_cached("INSERT INTO entries (stream_id, number, notification_id, at) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![stream, number, id.as_integer(), at.as_millis()])?;
    Ok(number)
}

/// A stream: its id and its state.
pub(crate) fn find(
    connection: &Connection,
    tenant: TenantId,
    user: UserId,
) -> rusqlite::Result<Option<(i64, InboxHead)>> {
    let mut select =
        connection.prepare_cached("SELECT id, last, unread FROM streams WHERE tenant_id = ?1 AND name = ?2")?;
    select
        .query_row(params![tenant.as_integer(), inbox_name(user)], |row| {
            Ok((row.get(0)?, InboxHead { last: row.get(1)?, unread: row.get(2)? }))
        })
        .optional()
}

fn read(
    connection: &Connection,
    tenant: TenantId,
    user: UserId,
    range: InboxRange,
    limit: usize,
) -> rusqlite::Result<InboxPage> {
    // One transaction, so that the entries and the state of the whole belong together.
    let transaction = connection.unchecked_transaction()?;
    let Some((stream, head)) = find(&transaction, tenant, user)? else {
        return Ok(InboxPage::default());
    };
    let (from, sql) = match range {
        InboxRange::After(number) => (number, "e.number > ?2 ORDER BY e.number"),
        InboxRange::Before(number) => (number, "e.number < ?2 ORDER BY e.number DESC"),
    };
    let sql = format!(
        "SELECT e.number, n.id, n.category, c.payload, e.at, e.delivered_at, e.read_at FROM entries e
         JOIN notifications n ON n.id = e.notification_id LEFT JOIN contents c ON c.id = n.id
         WHERE e.stream_id = ?1 AND {sql} LIMIT ?3"
    );
    let mut select = transaction.prepare_cached(&sql)?;
    let from = integer(from);
    let entries = select.query_map(params![stream, from, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok(InboxEntry {
            number: row.get(0)?,
            id: rows::message_id(row, 1)?,
            category: row.get(2)?,
            payload: row.get::<_, Option<String>>(3)?.unwrap_or_else(|| "{}".to_owned()),
            at: rows::instant(row, 4)?,
            delivered_at: rows::optional_instant(row, 5)?,
            read_at: rows::optional_instant(row, 6)?,
        })
    })?;
    let entries = entries.collect::<rusqlite::Result<Vec<InboxEntry>>>()?;
    Ok(InboxPage { entries, head })
}

/// How far a receipt has come.
enum Step {
    Done(InboxHead),
    /// There are more entries than one transaction may hold up others for.
    More,
}

/// Up to which number everything in a stream has been acknowledged.
#[derive(Clone, Copy)]
struct Floors {
    delivered: i64,
    read: i64,
}

impl Floors {
    fn of(&self, receipt: Receipt) -> i64 {
        match receipt {
            Receipt::Delivered => self.delivered,
            Receipt::Read => self.read,
        }
    }
}

fn acknowledge(
    tx: &Tx<'_>,
    (tenant, user): (TenantId, UserId),
    receipt: Receipt,
    of: &ReceiptFor,
    now: Timestamp,
) -> rusqlite::Result<Step> {
    let Some((stream, head)) = find(tx.connection, tenant, user)? else {
        return Ok(Step::Done(InboxHead::default()));
    };
    let mut read_entries = 0;
    let mut is_done = true;
    match of {
        ReceiptFor::Numbers(numbers) => {
            for number in numbers {
                let number = integer(*number);
                read_entries += acknowledge_range(tx, stream, receipt, (number, number), now)?;
            }
        }
        ReceiptFor::UpTo(number) => {
            let floors = floors(tx.connection, stream)?;
            let to = integer(*number).min(integer(head.last));
            let step = to.min(floors.of(receipt).saturating_add(i64::from(STEP)));
            is_done = step >= to;
            read_entries = acknowledge_range(tx, stream, receipt, (floors.of(receipt) + 1, step), now)?;
            raise_floors(tx.connection, stream, receipt, step)?;
        }
    }
    let mut update = tx
        .connection
        .prepare_cached("UPDATE streams SET unread = max(unread - ?2, 0) WHERE id = ?1 RETURNING last, unread")?;
    let head = update
        .query_row(params![stream, read_entries], |row| Ok(InboxHead { last: row.get(0)?, unread: row.get(1)? }))?;
    Ok(if is_done { Step::Done(head) } else { Step::More })
}

/// Marks the entries from one number to another. Returns how many of them were not read before and are now.
fn acknowledge_range(
    tx: &Tx<'_>,
    stream: i64,
    receipt: Receipt,
    (from, to): (i64, i64),
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let bound = params![stream, from, now.as_millis(), to];
    let mut delivered = tx.connection.prepare_cached(
        "UPDATE entries SET delivered_at = ?3 WHERE stream_id = ?1 AND number BETWEEN ?2 AND ?4 AND delivered_at IS NULL",
    )?;
    delivered.execute(bound)?;
    if receipt == Receipt::Delivered {
        return Ok(0);
    }
    let mut read = tx.connection.prepare_cached(
        "UPDATE entries SET read_at = ?3 WHERE stream_id = ?1 AND number BETWEEN ?2 AND ?4 AND read_at IS NULL RETURNING notification_id",
    )?;
    let first_reads = read.query_map(bound, |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    for id in &first_reads {
        tx.connection
            .prepare_cached("UPDATE notifications SET read_at = ?2 WHERE id = ?1")?
            .execute(params![id, now.as_millis()])?;
        rows::append_entry(tx.connection, *id, &Entry::new(now, Event::Read))?;
    }
    Ok(i64::try_from(first_reads.len()).unwrap_or(i64::MAX))
}

fn floors(connection: &Connection, stream: i64) -> rusqlite::Result<Floors> {
    let mut select = connection.prepare_cached("SELECT delivered_to, read_to FROM streams WHERE id = ?1")?;
    select.query_row(params![stream], |row| Ok(Floors { delivered: row.get(0)?, read: row.get(1)? }))
}

/// Notes that everything up to a number has been acknowledged. What is read is delivered too.
fn raise_floors(connection: &Connection, stream: i64, receipt: Receipt, to: i64) -> rusqlite::Result<()> {
    let sql = match receipt {
        Receipt::Delivered => "UPDATE streams SET delivered_to = max(delivered_to, ?2) WHERE id = ?1",
        Receipt::Read => {
            "UPDATE streams SET delivered_to = max(delivered_to, ?2), read_to = max(read_to, ?2) WHERE id = ?1"
        }
    };
    connection.prepare_cached(sql)?.execute(params![stream, to]).map(drop)
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
