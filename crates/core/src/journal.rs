//! The journal: what happened to a notification, in order, never rewritten.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
    /// The attempt that caused it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Entry {
    /// An entry without an attempt.
    pub fn new(at: Timestamp, event: Event) -> Self {
        Self { at, event, attempt: None, detail: None }
    }

    /// The entry with a word of explanation.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What can happen to a notification.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Event { $($(#[$doc])* #[serde(rename = $word)] $name,)* }
        impl Event {
            /// All events.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// The word used in the API and in the store.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $word),* } }
        }
    };
}

events! {
    /// Stored durably; the caller was answered 202.
    Accepted = "accepted",
    /// The provider took it.
    Delivered = "delivered",
    /// An attempt failed; another is due.
    RetryScheduled = "retry-scheduled",
    /// The process that held the lease died or stalled; what the provider got is not known.
    LeaseLost = "lease-lost",
    /// It became a dead letter.
    Dead = "dead",
    /// It was not worth telling any more.
    Expired = "expired",
    /// It was called back before it was sent.
    Cancelled = "cancelled",
    /// The dead letter was sent anew; the detail names the new notification.
    Redriven = "redriven",
    /// The dead letter was put aside for good.
    Discarded = "discarded",
    /// Its user read it.
    Read = "read",
    /// Its content was erased.
    Erased = "erased",
}

impl Event {
    /// The event of a stored word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.as_str() == word)
    }
}

/// One try of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The first is 1.
    pub number: u32,
    /// Who was asked, such as `smtp`.
    pub provider: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The provider's own status: an HTTP status, an SMTP reply code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the provider or the network said, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The provider's id for what it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The provider took it.
    Delivered,
    /// The provider did not take it, but may next time.
    Failed,
    /// The provider refused it for good.
    Rejected,
    /// The provider may or may not have taken it.
    Unknown,
}

impl Outcome {
    /// The word used in the API and as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}
