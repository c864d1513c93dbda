//! Following notifications.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use tidings_core::delivery::{Delivery, Event, State, Status, step};
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::notification::{Content, Record, Summary};
use tidings_core::ports::History;
use tidings_core::ports::history::{Cancellation, Page, Query};
use tidings_core::retry::Policies;
use tidings_core::routing::RoutingKey;
use tidings_core::time::Timestamp;

use super::error::sort;
use super::jobs::{current_lease, unqueue, write_transition};
use super::open::SqliteStore;
use super::rows::{self, Conditions, SUMMARY};
use super::writer::Tx;

/// The most rows that one page looks at.
const LOOK_AT: i64 = 20_000;

#[async_trait]
impl History for SqliteStore {
    async fn record(&self, tenant: TenantId, id: MessageId) -> Result<Option<Record>, StoreError> {
        self.read(move |connection| record(connection, tenant, id).map_err(|error| sort(&error))).await
    }

    async fn list(&self, tenant: TenantId, query: Query) -> Result<Page, StoreError> {
        self.read(move |connection| list(connection, tenant, &query).map_err(|error| sort(&error))).await
    }

    async fn cancel(
        &self,
        tenant: TenantId,
        id: MessageId,
        now: Timestamp,
    ) -> Result<Option<Cancellation>, StoreError> {
        let policies = self.inner.policies.clone();
        self.inner.writer.write(1, move |tx| Ok(end_waiting(tx, tenant, id, Event::Cancelled, &policies, now)?)).await
    }
}

fn record(connection: &Connection, tenant: TenantId, id: MessageId) -> rusqlite::Result<Option<Record>> {
    let transaction = connection.unchecked_transaction()?;
    let Some(summary) = find(&transaction, tenant, id)? else {
        return Ok(None);
    };
    let mut select = transaction.prepare_cached("SELECT payload, metadata FROM contents WHERE id = ?1")?;
    let content = select
        .query_row(params![id.as_integer()], |row| Ok(Content { payload: row.get(0)?, metadata: row.get(1)? }))
        .optional()?;
    let journal = rows::journal(&transaction, id.as_integer())?;
    Ok(Some(Record { summary, content, journal }))
}

fn find(connection: &Connection, tenant: TenantId, id: MessageId) -> rusqlite::Result<Option<Summary>> {
    let mut select = connection
        .prepare_cached(&format!("SELECT {SUMMARY} FROM notifications n WHERE n.id = ?1 AND n.tenant_id = ?2"))?;
    let summary = select.query_row(params![id.as_integer(), tenant.as_integer()], rows::summary).optional()?;
    summary.map(|summary| with_lease(connection, summary)).transpose()
}

/// A notification is being sent while there is a lease on it; its row learns of it only at the end.
fn with_lease(connection: &Connection, mut summary: Summary) -> rusqlite::Result<Summary> {
    if summary.state == State::Queued
        && let Some((_, counters)) = current_lease(connection, summary.id)?
    {
        summary.state = State::Sending;
        summary.attempts = counters.attempts;
    }
    Ok(summary)
}

fn list(connection: &Connection, tenant: TenantId, query: &Query) -> rusqlite::Result<Page> {
    let transaction = connection.unchecked_transaction()?;
    // The window bounds the rows that are looked at, in the order of an index; what no index serves is applied within.
    let (source, mut window, mut filter) = (source(tenant, query), Conditions::default(), Conditions::default());
    match query.user {
        Some(user) => {
            window.and("tenant_id = ?", tenant.as_integer());
            window.and("user_id = ?", *user.0.as_bytes());
        }
        None if tenant == TenantId::DEFAULT => filter.and("n.tenant_id = ?", tenant.as_integer()),
        None => window.and("tenant_id <> 1 AND tenant_id = ?", tenant.as_integer()),
    }
    filter.sql.push_str(" AND n.user_id NOTNULL");
    window.and_if("id < ?", query.before.map(MessageId::as_integer));
    window.and_if("id < ?", query.until.map(|until| MessageId::floor(until).as_integer()));
    window.and_if("id >= ?", query.from.map(|from| MessageId::floor(from).as_integer()));
    filter.and_if("n.channel = ?", query.channel.clone());
    filter.and_if("n.category = ?", query.category.clone());
    if let Some(status) = query.status {
        filter.sql.push_str(status_condition(status));
    }
    let inner = format!("SELECT * FROM {source} WHERE 1 {} ORDER BY id DESC LIMIT {LOOK_AT}", window.sql);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let sql = format!("SELECT {SUMMARY} FROM ({inner}) n WHERE 1 {} ORDER BY n.id DESC LIMIT {limit}", filter.sql);
    let mut select = transaction.prepare_cached(&sql)?;
    let found = select
        .query_map(params_from_iter(window.bound().chain(filter.bound())), rows::summary)?
        .collect::<rusqlite::Result<Vec<Summary>>>()?;
    let items = found
        .into_iter()
        .map(|summary| with_lease(&transaction, summary))
        .collect::<rusqlite::Result<Vec<Summary>>>()?;
    let next = if items.len() < query.limit {
        let last =
            format!("SELECT id FROM {source} WHERE 1 {} ORDER BY id DESC LIMIT 1 OFFSET {}", window.sql, LOOK_AT - 1);
        let mut end = transaction.prepare_cached(&last)?;
        end.query_row(params_from_iter(window.bound()), |row| rows::message_id(row, 0)).optional()?
    } else {
        items.last().map(|summary| summary.id)
    };
    Ok(Page { items, next })
}

/// The table in the order that bounds the work: by user, by tenant, or by time alone.
const fn source(tenant: TenantId, query: &Query) -> &'static str {
    match (query.user, tenant) {
        (Some(_), _) => "notifications INDEXED BY notifications_by_user",
        (None, TenantId::DEFAULT) => "notifications NOT INDEXED",
        (None, _) => "notifications INDEXED BY notifications_by_tenant",
    }
}

fn status_condition(status: Status) -> &'static str {
    match status {
        Status::Pending => " AND n.state = 'queued'",
        Status::Processed => " AND n.state = 'delivered'",
        Status::Failed => " AND n.state IN ('dead', 'expired', 'cancelled')",
    }
}

/// Ends a notification that waits, by `event`. `None` when there is no such notification.
pub(crate) fn end_waiting(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    id: MessageId,
    event: Event,
    policies: &Policies,
    now: Timestamp,
) -> rusqlite::Result<Option<Cancellation>> {
    let Some(summary) = find(tx.connection, tenant, id)? else {
        return Ok(None);
    };
    let policy = policies.of(&RoutingKey::new(&summary.channel, &summary.category));
    let delivery =
        Delivery { state: summary.state, attempts: summary.attempts, lost_leases: 0, expires_at: summary.expires_at };
    let transition = match step(&delivery, event, policy, now, 0.0) {
        Ok(transition) => transition,
        Err(refused) => return Ok(Some(refused.into())),
    };
    let mut select =
        tx.connection.prepare_cached("SELECT queue_id, priority, due_at FROM notifications WHERE id = ?1")?;
    let (queue, priority, due_at) =
        select.query_row(params![id.as_integer()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if !unqueue(tx, (queue, priority), due_at, id.as_integer())? {
        return Err(rows::unreadable(0, format!("notification {id} is queued but has no job")));
    }
    write_transition(tx, id.as_integer(), &transition, None)?;
    Ok(Some(Cancellation::Cancelled))
}
