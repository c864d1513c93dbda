//! Reaching people.

use async_trait::async_trait;

use crate::delivery::Verdict;
use crate::error::Problem;
use crate::notification::{Destination, NewNotification};
use crate::user::Contacts;

/// One attempt to be made.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch<'a> {
    /// What to send.
    pub notification: &'a NewNotification,
    /// How its user is reached; empty for what Tidings itself sends.
    pub contacts: &'a Contacts,
    /// The number of the attempt; the first is 1. The idempotency key towards the provider is the message id, and does not change with it.
    pub attempt: u32,
    /// The present, for signatures.
    pub now: crate::time::Timestamp,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who was asked, such as `smtp`.
    pub provider: &'static str,
    /// The judgement.
    pub verdict: Verdict,
    /// The provider's own status, such as `503`.
    pub code: Option<String>,
    /// What the provider or the network said; free of addresses and secrets where we can tell.
    pub message: Option<String>,
    /// The provider's id for what it took.
    pub provider_id: Option<String>,
}

impl Report {
    /// A report with a verdict and nothing more.
    pub const fn new(provider: &'static str, verdict: Verdict) -> Self {
        Self { provider, verdict, code: None, message: None, provider_id: None }
    }

    /// The report with what was said.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

/// How attempts on a channel are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By a provider somewhere else: takes time, can fail.
    Remote,
    /// By the store itself: the notification is appended to its user's inbox in the settling transaction. `send` is never called.
    Inbox,
}

/// All channels of an installation.
#[async_trait]
pub trait Sender: Send + Sync {
    /// The names of the channels, as callers write them in `type`.
    fn channels(&self) -> Vec<&'static str>;

    /// How a channel reaches people; `None` if there is no such channel.
    fn reach(&self, channel: &str) -> Option<Reach>;

    /// Checks a payload before anything is queued, and says which queue its attempts go through. No I/O.
    ///
    /// Errors: `UNKNOWN_TYPE`, `INVALID_PAYLOAD`, `DESTINATION_NOT_ALLOWED`, `CHANNEL_NOT_CONFIGURED`.
    fn address(
        &self,
        channel: &str,
        payload: &serde_json::Map<String, serde_json::Value>,
        contacts: &Contacts,
    ) -> Result<Destination, Problem>;

    /// Makes one attempt. Dropping the future abandons it. It never fails: whatever happens is a verdict.
    async fn send(&self, dispatch: Dispatch<'_>) -> Report;
}
