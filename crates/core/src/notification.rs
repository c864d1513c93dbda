//! A notification: one thing told to one user on one channel.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::delivery::State;
use crate::id::{MessageId, TenantId, UserId};
use crate::journal::Entry;
use crate::routing::RoutingKey;
use crate::time::Timestamp;

/// The category of notifications that name none.
pub const DEFAULT_CATEGORY: &str = "transactional";

/// The category of what Tidings itself sends: alerts and operational events. Not open to callers.
pub const SYSTEM_CATEGORY: &str = "tidings-system";

/// How urgent a notification is. Lanes are served by weight, so a lower lane is slowed by a higher one but never starved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// One-time codes, alarms.
    Critical,
    /// Somebody is waiting.
    High,
    /// The usual.
    #[default]
    Normal,
    /// Digests, marketing.
    Low,
}

impl Priority {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The lane as stored: 0 is the most urgent.
    pub const fn lane(self) -> u8 {
        match self {
            Self::Critical => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }

    /// The priority of a stored lane.
    pub fn from_lane(lane: u8) -> Option<Self> {
        Self::ALL.get(usize::from(lane)).copied()
    }

    /// The word used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl FromStr for Priority {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text).ok_or(())
    }
}

/// What attempts of one queue have in common: `email:smtp`, `webhook:https://example.com:443`. Circuit breakers,
/// bulkheads and fairness work by destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Destination(String);

impl Destination {
    /// The destination `<channel>:<target>`.
    pub fn new(channel: &str, target: &str) -> Self {
        Self(format!("{channel}:{target}"))
    }

    /// A destination as it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text that stores and metrics use.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What ties the steps of one notification together in logs and traces, from the caller to the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `X-Correlation-Id`: given by the caller or made by us.
    pub correlation_id: String,
    /// `traceparent` of W3C Trace Context: the caller's, or the beginning of a new trace.
    pub traceparent: Option<String>,
}

/// What is told. Kept apart from the record of the delivery, because it is erased with its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The payload: the text of a JSON object, as received.
    pub payload: String,
    /// `metadata` of the caller: the text of a JSON object, given back as received.
    pub metadata: Option<String>,
}

/// A notification to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNotification {
    /// Its identity.
    pub id: MessageId,
    /// The request that asked for it; the id of its first notification.
    pub request: MessageId,
    /// Whose.
    pub tenant: TenantId,
    /// Who is told; `None` for what Tidings itself sends to its operators.
    pub user: Option<UserId>,
    /// The channel, such as `email`.
    pub channel: String,
    /// The category, such as `transactional`.
    pub category: String,
    /// The lane.
    pub priority: Priority,
    /// The queue that its attempts go through.
    pub destination: Destination,
    /// What is told.
    pub content: Content,
    /// Correlation and trace.
    pub context: TraceContext,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When the first attempt is due.
    pub due_at: Timestamp,
    /// When it stops being worth telling.
    pub expires_at: Option<Timestamp>,
    /// The dead letter that this notification sends anew.
    pub redrive_of: Option<MessageId>,
    /// How often its chain of dead letters has been redriven.
    pub redrives: u32,
}

impl NewNotification {
    /// The routing key.
    pub fn routing_key(&self) -> RoutingKey {
        RoutingKey::new(&self.channel, &self.category)
    }
}

/// A notification as read back, without its content and journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its identity.
    pub id: MessageId,
    /// The request that asked for it.
    pub request: MessageId,
    /// Who is told.
    pub user: Option<UserId>,
    /// The channel.
    pub channel: String,
    /// The category.
    pub category: String,
    /// The lane.
    pub priority: Priority,
    /// Where its delivery stands.
    pub state: State,
    /// Attempts started so far.
    pub attempts: u32,
    /// Correlation and trace.
    pub context: TraceContext,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When the next attempt is due, while it is queued.
    pub due_at: Timestamp,
    /// When it stops being worth telling.
    pub expires_at: Option<Timestamp>,
    /// When it reached its terminal state.
    pub finished_at: Option<Timestamp>,
    /// When its user read it (in-app).
    pub read_at: Option<Timestamp>,
    /// The last error.
    pub error: Option<String>,
    /// The dead letter that it sends anew.
    pub redrive_of: Option<MessageId>,
}

/// A notification with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The delivery.
    pub summary: Summary,
    /// What was told; `None` once erased.
    pub content: Option<Content>,
    /// What happened, oldest first.
    pub journal: Vec<Entry>,
}
