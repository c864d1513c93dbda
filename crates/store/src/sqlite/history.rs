//! Following notifications.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Rows, params};
use tidings_core::delivery::{Delivery, Event, State, step};
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::notification::{Content, Record, Summary};
use tidings_core::ports::History;
use tidings_core::ports::history::{Cancellation, Page, Query};
use tidings_core::retry::Policies;
use tidings_core::routing::RoutingKey;
use tidings_core::time::Timestamp;

use super::chunks;
use super::error::sort;
use super::jobs::{current_lease, unqueue, write_transition};
use super::open::SqliteStore;
use super::rows::{self, SUMMARY};
use super::writer::Tx;

/// The most rows that one page looks at.
const LOOK_AT: usize = 20_000;
/// The most chunks that one page of a user walks.
const CHUNKS: usize = 1_000;

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
    let mut search = Search::new(tenant, query);
    match query.user {
        Some(user) => search.walk_user(&transaction, user)?,
        None => search.walk_tenant(&transaction)?,
    }
    let items = search.found.into_iter().map(|summary| with_lease(&transaction, summary));
    Ok(Page { items: items.collect::<rusqlite::Result<Vec<Summary>>>()?, next: search.next })
}

/// A walk from new to old over rows in the order of an index. What the index does not decide is decided row by row, so
/// that the work is bounded by the rows looked at, not by those that match.
struct Search<'a> {
    tenant: TenantId,
    query: &'a Query,
    /// Ids at or after this one.
    from: i64,
    /// Ids before this one.
    below: i64,
    looked_at: usize,
    found: Vec<Summary>,
    next: Option<MessageId>,
}

impl<'a> Search<'a> {
    fn new(tenant: TenantId, query: &'a Query) -> Self {
        let until = query.until.map(MessageId::floor);
        let below = [query.before, until].into_iter().flatten().min().map_or(i64::MAX, MessageId::as_integer);
        let from = query.from.map_or(0, |from| MessageId::floor(from).as_integer());
        Self { tenant, query, from, below, looked_at: 0, found: Vec::new(), next: None }
    }

    fn walk_tenant(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        // The default tenant usually has the installation to itself: for it the table is the index.
        let (source, condition) = if self.tenant == TenantId::DEFAULT {
            ("NOT INDEXED", "?1 NOTNULL")
        } else {
            ("INDEXED BY notifications_by_tenant", "n.tenant_id <> 1 AND n.tenant_id = ?1")
        };
        let sql = format!(
            "SELECT {SUMMARY}, n.tenant_id FROM notifications n {source} WHERE {condition} AND n.id < ?2 AND n.id >= ?3 ORDER BY n.id DESC"
        );
        let mut select = connection.prepare_cached(&sql)?;
        let mut rows = select.query(params![self.tenant.as_integer(), self.below, self.from])?;
        self.look_through(&mut rows).map(drop)
    }

    fn walk_user(&mut self, connection: &Connection, user: UserId) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT {SUMMARY}, n.tenant_id FROM notifications n INDEXED BY notifications_by_user
             WHERE n.chunk = ?1 AND n.tenant_id = ?2 AND n.user_id = ?3 AND n.id < ?4 AND n.id >= ?5 ORDER BY n.id DESC"
        );
        let mut select = connection.prepare_cached(&sql)?;
        let mut chunk = chunks::at_most(connection, self.below.saturating_sub(1))?;
        let mut left = CHUNKS;
        while let Some(start) = chunk {
            let bound = params![start, self.tenant.as_integer(), *user.0.as_bytes(), self.below, self.from];
            if self.look_through(&mut select.query(bound)?)? || start <= self.from {
                return Ok(());
            }
            left -= 1;
            if left == 0 {
                self.next = MessageId::from_integer(start);
                return Ok(());
            }
            chunk = chunks::before(connection, start)?;
        }
        Ok(())
    }

    /// Looks at rows until the page is full or enough have been looked at; `true` when the walk is over.
    fn look_through(&mut self, rows: &mut Rows<'_>) -> rusqlite::Result<bool> {
        while let Some(row) = rows.next()? {
            let summary = rows::summary(row)?;
            let (id, tenant) = (summary.id, TenantId::from_integer(row.get(17)?));
            self.looked_at += 1;
            if tenant == self.tenant && is_wanted(self.query, &summary) {
                self.found.push(summary);
            }
            if self.found.len() >= self.query.limit || self.looked_at >= LOOK_AT {
                self.next = Some(id);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What no index decides. What Tidings itself sends has no user and is not listed.
fn is_wanted(query: &Query, summary: &Summary) -> bool {
    summary.user.is_some()
        && query.channel.as_ref().is_none_or(|channel| *channel == summary.channel)
        && query.category.as_ref().is_none_or(|category| *category == summary.category)
        && query.status.is_none_or(|status| status == summary.state.status())
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
