//! The delivery state machine: the only place where the status of a notification changes.
//!
//! ```text
//! queued --claim--> sending --delivered--> delivered
//!   ^                  |----rejected, retries used up, crash suspect--> dead
//!   |                  |----expired--> expired
//!   |                  |----recipient gone--> cancelled
//!   '--retry, release, lease lost---'
//! queued --cancel--> cancelled
//! ```
//!
//! [`step`] is a pure function from a delivery and an event to a [`Transition`]. Stores apply transitions; they invent
//! none. `Sending` is a lease in the store: no process can be in it longer than its lease.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::journal::{Attempt, Entry, Event as JournalEvent, Outcome};
use crate::retry::{Guarantee, Policy};
use crate::time::Timestamp;

/// After this many claims that ended without a word, the notification is suspected of crashing its worker.
pub const CRASH_SUSPECT_AFTER: u32 = 3;

/// The last chance of such a notification is due within this time, at random. Whatever was in flight together would
/// otherwise be tried together again, and one that brings its worker down would take its neighbours with it.
pub const LAST_CHANCE_WITHIN: Duration = Duration::from_secs(10);

/// The longest error text that is kept (the seed's column has 500 characters).
pub const MAX_ERROR_CHARS: usize = 500;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waiting for its (next) attempt.
    Queued,
    /// Leased by a worker.
    Sending,
    /// Taken by the provider. Terminal.
    Delivered,
    /// Refused for good or out of attempts; a dead letter. Terminal.
    Dead,
    /// Not worth telling any more. Terminal.
    Expired,
    /// Called back, or its user is gone. Terminal.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Sending, Self::Delivered, Self::Dead, Self::Expired, Self::Cancelled];

    /// Whether no transition leaves this state.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending)
    }

    /// The status in the words of the seed: `pending`, `processed` or `failed`.
    pub const fn status(self) -> Status {
        match self {
            Self::Queued | Self::Sending => Status::Pending,
            Self::Delivered => Status::Processed,
            Self::Dead | Self::Expired | Self::Cancelled => Status::Failed,
        }
    }

    /// The word used in the store, the API and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The status that clients of the seed know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not at its end yet.
    Pending,
    /// Delivered.
    Processed,
    /// Ended without being delivered.
    Failed,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Processed, Self::Failed];

    /// The word used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processed => "processed",
            Self::Failed => "failed",
        }
    }
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider took it.
    Delivered,
    /// The provider certainly did not take it, but may next time.
    Retry {
        /// How long the provider asks us to wait.
        after: Option<Duration>,
    },
    /// The provider refuses it for good.
    Reject,
    /// The provider may or may not have taken it: a time-out or a cut after the request was sent.
    Unknown,
}

impl Verdict {
    /// The outcome that the journal records.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Delivered => Outcome::Delivered,
            Self::Retry { .. } => Outcome::Failed,
            Self::Reject => Outcome::Rejected,
            Self::Unknown => Outcome::Unknown,
        }
    }

    /// Whether this speaks for the health of the destination. A refusal does: somebody answered.
    pub const fn is_healthy(&self) -> bool {
        matches!(self, Self::Delivered | Self::Reject)
    }
}

/// What has to be known of a delivery to decide its next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it stands.
    pub state: State,
    /// Attempts started, the running one included.
    pub attempts: u32,
    /// Claims that ended without a word.
    pub lost_leases: u32,
    /// When it stops being worth telling.
    pub expires_at: Option<Timestamp>,
}

impl Delivery {
    /// Whether it has stopped being worth telling.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The provider of attempts that append to an inbox.
pub const INBOX: &str = "inbox";

/// What can happen to a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An attempt ended.
    Attempted {
        /// What it came to.
        verdict: Verdict,
        /// The attempt, for the journal.
        attempt: Attempt,
    },
    /// The worker found that it has expired.
    Expired,
    /// The worker found that its user is gone.
    RecipientGone,
    /// The worker hands it back unsent.
    Released,
    /// The lease ran out, or its process is known to be dead.
    LeaseLost,
    /// Somebody calls it back.
    Cancelled,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where it goes.
    pub next: Next,
    /// Attempts to record; a release gives its attempt back.
    pub attempts: u32,
    /// Lost leases to record.
    pub lost_leases: u32,
    /// The error to show.
    pub error: Option<String>,
    /// What the journal says; a release leaves no trace.
    pub entry: Option<Entry>,
}

/// Where a delivery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Back to the queue.
    Queue {
        /// When the next attempt is due.
        due_at: Timestamp,
    },
    /// To its end. The state is terminal.
    End(State),
}

impl Next {
    /// The state after the transition.
    pub const fn state(self) -> State {
        match self {
            Self::Queue { .. } => State::Queued,
            Self::End(state) => state,
        }
    }
}

/// The event does not apply to a delivery in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {} cannot take this step", .state.as_str())]
pub struct Refused {
    /// The state it is in.
    pub state: State,
}

/// Decides the next step. `jitter` is uniform in `[0, 1)`.
pub fn step(
    delivery: &Delivery,
    event: Event,
    policy: &Policy,
    now: Timestamp,
    jitter: f64,
) -> Result<Transition, Refused> {
    let decision = Decision { delivery, policy, now, jitter };
    match (delivery.state, event) {
        (State::Sending, Event::Attempted { verdict, attempt }) => Ok(decision.attempted(&verdict, attempt)),
        (State::Queued | State::Sending, Event::Expired) => {
            Ok(decision.ended(State::Expired, JournalEvent::Expired, "Expired before it could be sent"))
        }
        (State::Sending, Event::RecipientGone) => {
            Ok(decision.ended(State::Cancelled, JournalEvent::Cancelled, "The user was deleted"))
        }
        (State::Sending, Event::Released) => Ok(decision.released()),
        (State::Sending, Event::LeaseLost) => Ok(decision.lease_lost()),
        (State::Queued, Event::Cancelled) => Ok(decision.ended(State::Cancelled, JournalEvent::Cancelled, "Cancelled")),
        (state, _) => Err(Refused { state }),
    }
}

/// The delivery of a notification to an inbox that takes it at once: the transaction that stores it is the attempt.
pub fn appended(now: Timestamp) -> Transition {
    let attempt = Attempt {
        number: 1,
        provider: INBOX.to_owned(),
        started_at: now,
        duration_ms: 0,
        outcome: Verdict::Delivered.outcome(),
        code: None,
        message: None,
        provider_id: None,
    };
    let delivery = Delivery { state: State::Sending, attempts: 1, lost_leases: 0, expires_at: None };
    let decision = Decision { delivery: &delivery, policy: &Policy::default(), now, jitter: 0.0 };
    decision.attempted(&Verdict::Delivered, attempt)
}

struct Decision<'a> {
    delivery: &'a Delivery,
    policy: &'a Policy,
    now: Timestamp,
    jitter: f64,
}

impl Decision<'_> {
    fn attempted(&self, verdict: &Verdict, attempt: Attempt) -> Transition {
        let said = attempt.message.clone().or_else(|| attempt.code.clone());
        let at_most_once = self.policy.guarantee == Guarantee::AtMostOnce;
        match verdict {
            Verdict::Delivered => self.end(State::Delivered, JournalEvent::Delivered, None, Some(attempt)),
            Verdict::Reject => {
                self.end(State::Dead, JournalEvent::Dead, said.or_else(|| text("Refused")), Some(attempt))
            }
            Verdict::Unknown if at_most_once => {
                let error = text("The outcome is unknown and the category allows one attempt at most");
                self.end(State::Dead, JournalEvent::Dead, error, Some(attempt))
            }
            Verdict::Unknown => self.retry(None, said, attempt),
            Verdict::Retry { after } => self.retry(*after, said, attempt),
        }
    }

    fn retry(&self, after: Option<Duration>, said: Option<String>, attempt: Attempt) -> Transition {
        let error = said.or_else(|| text("Failed"));
        let Some(delay) = self.policy.delay(self.judged_attempts(), after, self.jitter) else {
            return self.end(State::Dead, JournalEvent::Dead, error, Some(attempt));
        };
        let due_at = self.now + delay;
        if self.delivery.is_expired(due_at) {
            return self.end(State::Expired, JournalEvent::Expired, error, Some(attempt));
        }
        let entry = Entry {
            at: self.now,
            event: JournalEvent::RetryScheduled,
            attempt: Some(attempt),
            detail: Some(format!("Due {due_at}")),
        };
        self.transition(Next::Queue { due_at }, error, Some(entry))
    }

    /// Attempts that came to a verdict. One that ended with its worker uses up no retry: [`CRASH_SUSPECT_AFTER`] bounds those.
    fn judged_attempts(&self) -> u32 {
        self.delivery.attempts.saturating_sub(self.delivery.lost_leases)
    }

    fn lease_lost(&self) -> Transition {
        let lost_leases = self.delivery.lost_leases + 1;
        let entry = Entry::new(self.now, JournalEvent::LeaseLost)
            .with_detail(format!("The worker went away during attempt {}", self.delivery.attempts));
        let is_last_chance = lost_leases + 1 >= CRASH_SUSPECT_AFTER;
        let wait =
            if is_last_chance { LAST_CHANCE_WITHIN.mul_f64(self.jitter.clamp(0.0, 1.0)) } else { Duration::ZERO };
        let requeued = self.transition(Next::Queue { due_at: self.now + wait }, None, Some(entry));
        let ended = |error: &str| self.end(State::Dead, JournalEvent::Dead, text(error), None);
        let transition = if self.policy.guarantee == Guarantee::AtMostOnce {
            ended("The worker went away during the only attempt that the category allows")
        } else if lost_leases >= CRASH_SUSPECT_AFTER {
            ended("Crash suspect: its workers went away again and again")
        } else {
            requeued
        };
        Transition { lost_leases, ..transition }
    }

    /// Unsent: the attempt does not count, and the journal does not grow with every restart.
    fn released(&self) -> Transition {
        let attempts = self.delivery.attempts.saturating_sub(1);
        Transition { attempts, ..self.transition(Next::Queue { due_at: self.now }, None, None) }
    }

    /// The end of a delivery whose last claim, if any, sent nothing.
    fn ended(&self, state: State, event: JournalEvent, error: &str) -> Transition {
        let unsent = u32::from(self.delivery.state == State::Sending);
        let attempts = self.delivery.attempts.saturating_sub(unsent);
        Transition { attempts, ..self.end(state, event, text(error), None) }
    }

    fn end(&self, state: State, event: JournalEvent, error: Option<String>, attempt: Option<Attempt>) -> Transition {
        let error = error.map(|error| shorten(&error));
        let entry = Entry { at: self.now, event, attempt, detail: error.clone() };
        self.transition(Next::End(state), error, Some(entry))
    }

    fn transition(&self, next: Next, error: Option<String>, entry: Option<Entry>) -> Transition {
        Transition {
            next,
            attempts: self.delivery.attempts,
            lost_leases: self.delivery.lost_leases,
            error: error.map(|error| shorten(&error)),
            entry,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "reads well where an error is optional")]
fn text(error: &str) -> Option<String> {
    Some(error.to_owned())
}

/// Cuts a text to what is kept of an error.
pub fn shorten(error: &str) -> String {
    error.chars().take(MAX_ERROR_CHARS).collect()
}

#[cfg(test)]
mod tests;
