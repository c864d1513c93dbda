//! Following notifications.

use async_trait::async_trait;
use tidings_core::delivery::Event;
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::notification::{Record, Summary};
use tidings_core::ports::History;
use tidings_core::ports::history::{Cancellation, Page, Query};
use tidings_core::time::Timestamp;

use super::FakeStore;
use super::rows::{Row, Tables};

#[async_trait]
impl History for FakeStore {
    async fn record(&self, tenant: TenantId, id: MessageId) -> Result<Option<Record>, StoreError> {
        self.read(|tables| tables.record(tenant, id))
    }

    async fn list(&self, tenant: TenantId, query: Query) -> Result<Page, StoreError> {
        self.read(|tables| tables.list(tenant, &query))
    }

    async fn cancel(
        &self,
        tenant: TenantId,
        id: MessageId,
        now: Timestamp,
    ) -> Result<Option<Cancellation>, StoreError> {
        self.write(|tables| {
            let ended = tables.end(tenant, id, Event::Cancelled, now)?;
            Some(ended.map_or_else(Cancellation::from, |()| Cancellation::Cancelled))
        })
    }
}

impl Tables {
    fn list(&self, tenant: TenantId, query: &Query) -> Page {
        let newest_first = self.notifications.values().rev();
        let found = newest_first.filter(|row| row.notification.tenant == tenant && fits(row, query));
        let items: Vec<Summary> = found.take(query.limit).map(Row::summary).collect();
        let is_full = items.len() >= query.limit;
        let next = items.last().filter(|_| is_full).map(|summary| summary.id);
        Page { items, next }
    }
}

fn fits(row: &Row, query: &Query) -> bool {
    let notification = &row.notification;
    let Some(user) = notification.user else {
        return false;
    };
    query.user.is_none_or(|wanted| wanted == user)
        && query.channel.as_ref().is_none_or(|wanted| *wanted == notification.channel)
        && query.category.as_ref().is_none_or(|wanted| *wanted == notification.category)
        && query.status.is_none_or(|wanted| wanted == row.state.status())
        && query.from.is_none_or(|from| notification.accepted_at >= from)
        && query.until.is_none_or(|until| notification.accepted_at < until)
        && query.before.is_none_or(|before| notification.id < before)
}
