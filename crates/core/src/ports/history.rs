//! Following notifications.

use async_trait::async_trait;

use crate::delivery::{Refused, State, Status};
use crate::error::StoreError;
use crate::id::{MessageId, TenantId, UserId};
use crate::notification::{Record, Summary};
use crate::time::Timestamp;

/// Which notifications to list. Newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Told to this user.
    pub user: Option<UserId>,
    /// On this channel.
    pub channel: Option<String>,
    /// In this category.
    pub category: Option<String>,
    /// With this status.
    pub status: Option<Status>,
    /// Accepted at or after.
    pub from: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
    /// Older than this one: where the page before ended.
    pub before: Option<MessageId>,
    /// At most this many.
    pub limit: usize,
}

/// A page of notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The notifications, newest first. There may be fewer than asked for although more exist.
    pub items: Vec<Summary>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<MessageId>,
}

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// It will not be sent.
    Cancelled,
    /// It is not waiting any more.
    Refused(State),
}

impl From<Refused> for Cancellation {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.state)
    }
}

/// What happened to notifications.
#[async_trait]
pub trait History: Send + Sync {
    /// One notification of the tenant, with content and journal.
    async fn record(&self, tenant: TenantId, id: MessageId) -> Result<Option<Record>, StoreError>;

    /// A page of notifications of the tenant. The work of one call MUST be bounded, however rare a match is; a page cut
    /// short by the bound has a `next`. What Tidings itself sent (no user) is not listed.
    async fn list(&self, tenant: TenantId, query: Query) -> Result<Page, StoreError>;

    /// Takes a waiting notification out of the queue, with its journal entry. `None` when there is no such notification.
    async fn cancel(&self, tenant: TenantId, id: MessageId, now: Timestamp)
    -> Result<Option<Cancellation>, StoreError>;
}
