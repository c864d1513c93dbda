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
        self.inner.writer.write(1, move |tx| Ok(acknowledge(tx, (tenant, user), receipt, &of, now)?)).await
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
    let Some(user) = user else { return Ok(None) };
    let mut advance = tx.connection.prepare_cached(
        "INSERT INTO streams (tenant_id, name, last, unread) VALUES (?1, ?2, 1, 1)
         ON CONFLICT (tenant_id, name) DO UPDATE SET last = last + 1, unread = unread + 1 RETURNING id, last",
    )?;
    let (stream, number): (i64, i64) =
        advance.query_row(params![tenant, inbox_name(user)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut insert = tx
        .connection
        .prepare_cached("INSERT INTO entries (stream_id, number, notification_id, at) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![stream, number, id.as_integer(), at.as_millis()])?;
    Ok(Some(number))
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
    let from = i64::try_from(from).unwrap_or(i64::MAX);
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

fn acknowledge(
    tx: &Tx<'_>,
    (tenant, user): (TenantId, UserId),
    receipt: Receipt,
    of: &ReceiptFor,
    now: Timestamp,
) -> rusqlite::Result<InboxHead> {
    let Some((stream, _)) = find(tx.connection, tenant, user)? else {
        return Ok(InboxHead::default());
    };
    let mut delivered = tx.connection.prepare_cached(
        "UPDATE entries SET delivered_at = ?3 WHERE stream_id = ?1 AND number BETWEEN ?2 AND ?4 AND delivered_at IS NULL",
    )?;
    let mut read = tx.connection.prepare_cached(
        "UPDATE entries SET read_at = ?3 WHERE stream_id = ?1 AND number BETWEEN ?2 AND ?4 AND read_at IS NULL RETURNING notification_id",
    )?;
    let mut first_reads: Vec<i64> = Vec::new();
    for (from, to) in ranges(of) {
        let bound = params![stream, from, now.as_millis(), to];
        delivered.execute(bound)?;
        if receipt == Receipt::Read {
            let ids = read.query_map(bound, |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
            first_reads.extend(ids);
        }
    }
    let count = i64::try_from(first_reads.len()).unwrap_or(i64::MAX);
    for id in first_reads {
        tx.connection
            .prepare_cached("UPDATE notifications SET read_at = ?2 WHERE id = ?1")?
            .execute(params![id, now.as_millis()])?;
        rows::append_entry(tx.connection, id, &Entry::new(now, Event::Read))?;
    }
    let mut update = tx
        .connection
        .prepare_cached("UPDATE streams SET unread = max(unread - ?2, 0) WHERE id = ?1 RETURNING last, unread")?;
    update.query_row(params![stream, count], |row| Ok(InboxHead { last: row.get(0)?, unread: row.get(1)? }))
}

fn ranges(of: &ReceiptFor) -> Vec<(i64, i64)> {
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match of {
        ReceiptFor::UpTo(number) => vec![(1, integer(*number))],
        ReceiptFor::Numbers(numbers) => numbers.iter().map(|number| (integer(*number), integer(*number))).collect(),
    }
}
