//! Dead letters and their review.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::id::{MessageId, TenantId, UserId};
use crate::notification::{Content, NewNotification, Priority, TraceContext};
use crate::time::Timestamp;

/// Where the review of a dead letter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReviewStatus {
    /// Nobody has decided about it.
    #[default]
    Pending,
    /// Somebody is looking into it.
    Reviewing,
    /// It was sent anew. Final.
    Redriven,
    /// It was put aside. Final.
    Discarded,
}

impl ReviewStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Reviewing, Self::Redriven, Self::Discarded];

    /// Whether it can still be decided about.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Reviewing)
    }

    /// The word used in the API and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Reviewing => "reviewing",
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The notification that died.
    pub id: MessageId,
    /// Whose.
    pub tenant: TenantId,
    /// Who was to be told.
    pub user: Option<UserId>,
    /// The channel.
    pub channel: String,
    /// The category.
    pub category: String,
    /// The lane.
    pub priority: Priority,
    /// Correlation and trace.
    pub context: TraceContext,
    /// What was to be told; `None` once erased.
    pub content: Option<Content>,
    /// Why it died.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it died.
    pub died_at: Timestamp,
    /// Where its review stands.
    pub review_status: ReviewStatus,
    /// A word of the reviewer.
    pub note: Option<String>,
    /// How often its chain was redriven before.
    pub redrives: u32,
    /// When it is redriven by itself, if that is switched on and it has redrives left.
    pub next_redrive_at: Option<Timestamp>,
    /// What it was redriven as.
    pub redriven_as: Option<MessageId>,
}

/// Which dead letters to list. Newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Told to this user.
    pub user: Option<UserId>,
    /// On this channel.
    pub channel: Option<String>,
    /// In this category.
    pub category: Option<String>,
    /// In this state of review.
    pub review_status: Option<ReviewStatus>,
    /// Whose error contains this text.
    pub error_contains: Option<String>,
    /// Died at or after.
    pub from: Option<Timestamp>,
    /// Died before.
    pub until: Option<Timestamp>,
    /// Accepted before this one: where the page before ended.
    pub before: Option<MessageId>,
    /// At most this many.
    pub limit: usize,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The dead letters, newest first. There may be fewer than asked for although more exist.
    pub items: Vec<DeadLetter>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<MessageId>,
}

/// What to do with a dead letter.
#[derive(Clone, Debug)]
pub enum Review {
    /// Write a note and, if given, `Pending` or `Reviewing`.
    Note {
        /// The note.
        note: Option<String>,
        /// The state of review.
        status: Option<ReviewStatus>,
    },
    /// Put it aside for good.
    Discard {
        /// Why.
        note: Option<String>,
    },
    /// Send it anew, as this notification.
    Redrive(Box<NewNotification>),
}

/// What became of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reviewed {
    /// Done; the dead letter afterwards.
    Done(Box<DeadLetter>),
    /// It was already redriven or discarded, or is open but has no content to redrive any more. Nothing was changed.
    Closed(ReviewStatus),
}

/// The dead-letter queue. Created by [`Jobs::settle`](crate::ports::Jobs::settle), emptied by people.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// One dead letter of the tenant.
    async fn dead_letter(&self, tenant: TenantId, id: MessageId) -> Result<Option<DeadLetter>, StoreError>;

    /// A page of dead letters of the tenant; bounded work as in [`History::list`](crate::ports::History::list).
    async fn list_dead_letters(&self, tenant: TenantId, query: DeadLetterQuery) -> Result<DeadLetterPage, StoreError>;

    /// Decides about a dead letter, in one transaction with the journal entry and the notification that a redrive
    /// stores. `None` when there is no such dead letter. Of two concurrent decisions one MUST find it closed.
    async fn review(
        &self,
        tenant: TenantId,
        id: MessageId,
        review: Review,
        now: Timestamp,
    ) -> Result<Option<Reviewed>, StoreError>;

    /// Open dead letters of all tenants that are due to be redriven by themselves, at most `limit`.
    async fn due_redrives(&self, now: Timestamp, limit: usize) -> Result<Vec<DeadLetter>, StoreError>;
}
