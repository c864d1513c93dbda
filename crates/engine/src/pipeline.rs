//! The steps of one claimed job, from the claim to the settlement. All of them are in [`Pipeline::run`] and
//! [`Pipeline::steps`].

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{Event, INBOX, Next, Refused, State, Transition, Verdict, shorten};
use tidings_core::journal::{Attempt, Entry};
use tidings_core::ports::jobs::{Job, Settlement};
use tidings_core::ports::sender::{Dispatch, Reach, Report};
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, info, warn};

use crate::config::Shared;
use crate::decisions::Decisions;
use crate::leases::Held;
use crate::tasks::{Panicked, caught};

/// An attempt that is noticed to have ended so long after its time was up says that this process was paused.
const STANDSTILL: Duration = Duration::from_secs(1);

/// Takes jobs through their steps.
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    decisions: Arc<Decisions>,
}

/// What came of a job.
pub(crate) struct Done {
    pub(crate) settlement: Settlement,
    pub(crate) course: Course,
}

/// How far a job came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// An attempt was made. It may tell how its destination is doing.
    Attempted { healthy: Option<bool> },
    /// None was made.
    Unsent(Why),
}

/// Why no attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Expired,
    RecipientGone,
    /// We are stopping, or the lease may end before the attempt does.
    HandedBack,
    /// Nobody could say whether there is a recipient.
    StoreFailed,
}

/// An attempt that was made.
struct Attempted {
    verdict: Verdict,
    attempt: Attempt,
    healthy: Option<bool>,
}

/// When an attempt began: by the clock, to be told, and by one that never jumps, to be measured from.
struct Beginning {
    at: Timestamp,
    instant: Instant,
}

impl Pipeline {
    pub(crate) fn new(shared: Arc<Shared>, decisions: Arc<Decisions>) -> Self {
        Self { shared, decisions }
    }

    /// Takes a job from its claim to its settlement, which the caller has to make durable.
    pub(crate) async fn run(&self, job: &Job, held: &Held, reach: Reach) -> Result<Done, Refused> {
        let (event, course) = match self.steps(job, held, reach).await {
            Ok(Attempted { verdict, attempt, healthy }) => {
                (Event::Attempted { verdict, attempt }, Course::Attempted { healthy })
            }
            Err(why) => (why.event(), Course::Unsent(why)),
        };
        let settlement = self.decisions.settle(job, event, reach)?;
        tell(job, &settlement.transition);
        Ok(Done { settlement, course })
    }

    /// The steps up to the attempt; the first one that says why not ends them.
    async fn steps(&self, job: &Job, held: &Held, reach: Reach) -> Result<Attempted, Why> {
        self.refuse_expired(job)?;
        let contacts = self.find_recipient(job).await?;
        // The look-up may have taken its time.
        self.refuse_expired(job)?;
        Ok(match reach {
            Reach::Inbox => self.append(job),
            Reach::Remote => {
                self.refuse_short_lease(job, held)?;
                self.send(job, &contacts).await
            }
        })
    }

    /// The settlement of a job that is not even looked at.
    pub(crate) fn hand_back(&self, job: &Job, reach: Reach) -> Result<Done, Refused> {
        let settlement = self.decisions.settle(job, Event::Released, reach)?;
        Ok(Done { settlement, course: Course::Unsent(Why::HandedBack) })
    }

    fn refuse_expired(&self, job: &Job) -> Result<(), Why> {
        if job.delivery.is_expired(self.shared.now()) { Err(Why::Expired) } else { Ok(()) }
    }

    async fn find_recipient(&self, job: &Job) -> Result<Contacts, Why> {
        let Some(user) = job.notification.user else {
            return Ok(Contacts::default());
        };
        match self.shared.ports.catalog.user(job.notification.tenant, user).await {
            Ok(Some(user)) => Ok(user.contacts),
            Ok(None) => Err(Why::RecipientGone),
            Err(error) => {
                let id = job.lease.id;
                warn!(messageId = %id, "The recipient of {id} could not be looked up, so it is handed back: {error}");
                Err(Why::StoreFailed)
            }
        }
    }

    /// No attempt begins that the lease might not outlast: somebody else could be making the next one by then.
    fn refuse_short_lease(&self, job: &Job, held: &Held) -> Result<(), Why> {
        let needed = self.shared.config.attempt_timeout;
        let by_clock = job.lease.until.since(self.shared.now());
        let too_short = by_clock < needed || held.remaining() < needed;
        if too_short || self.shared.stop.is_cancelled() { Err(Why::HandedBack) } else { Ok(()) }
    }

    /// The settling transaction appends it; nothing can fail before that.
    fn append(&self, job: &Job) -> Attempted {
        self.conclude(job, &self.begin(), Report::new(INBOX, Verdict::Delivered), None)
    }

    async fn send(&self, job: &Job, contacts: &Contacts) -> Attempted {
        let ports = &self.shared.ports;
        let limit = self.shared.config.attempt_timeout;
        let beginning = self.begin();
        let dispatch =
            Dispatch { notification: &job.notification, contacts, attempt: job.delivery.attempts, now: beginning.at };
        let destination = job.notification.destination.as_str();
        let send = async {
            tidings_faultpoints::point_for("engine.before-send", destination);
            ports.sender.send(dispatch).await
        };
        let sent = timeout(limit, caught(send)).await;
        tidings_faultpoints::point_for("engine.after-send", destination);
        let (report, healthy) = match sent {
            Ok(Ok(report)) => {
                let healthy = report.verdict.is_healthy();
                (report, Some(healthy))
            }
            Ok(Err(Panicked)) => {
                let (id, channel) = (job.lease.id, &job.notification.channel);
                error!(messageId = %id, "type" = channel, "The provider module panicked while sending {id}");
                // A fault of ours says nothing about the destination.
                (self.cut_short(job, "the provider module panicked"), None)
            }
            Err(_elapsed) => {
                let message = format!("no answer within {}", in_words(limit));
                (self.cut_short(job, &message), Some(false))
            }
        };
        // The process itself stood still, as a laptop does with its lid closed: no fault of the destination.
        let stood_still = beginning.instant.elapsed() > limit + STANDSTILL;
        self.conclude(job, &beginning, report, healthy.filter(|healthy| *healthy || !stood_still))
    }

    /// The report of an attempt that gave none: the provider may have got it.
    fn cut_short(&self, job: &Job, message: &str) -> Report {
        let channels = self.shared.ports.sender.channels();
        let channel = channels.into_iter().find(|name| *name == job.notification.channel);
        Report::new(channel.unwrap_or("unknown"), Verdict::Unknown).saying(message)
    }

    fn begin(&self) -> Beginning {
        Beginning { at: self.shared.now(), instant: Instant::now() }
    }

    fn conclude(&self, job: &Job, beginning: &Beginning, report: Report, healthy: Option<bool>) -> Attempted {
        let attempt = Attempt {
            number: job.delivery.attempts,
            provider: report.provider.to_owned(),
            started_at: beginning.at,
            duration_ms: u64::try_from(beginning.instant.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome: report.verdict.outcome(),
            code: report.code,
            message: report.message.as_deref().map(shorten),
            provider_id: report.provider_id,
        };
        self.shared.metrics.attempted(&job.notification.channel, &attempt);
        Attempted { verdict: report.verdict, attempt, healthy }
    }
}

impl Why {
    fn event(self) -> Event {
        match self {
            Self::Expired => Event::Expired,
            Self::RecipientGone => Event::RecipientGone,
            Self::HandedBack | Self::StoreFailed => Event::Released,
        }
    }
}

fn in_words(limit: Duration) -> String {
    if limit.subsec_nanos() == 0 { format!("{} s", limit.as_secs()) } else { format!("{} ms", limit.as_millis()) }
}

/// Writes an event of the log with everything that finds the attempt again.
macro_rules! log_attempt {
    ($level:ident, $job:expr, $attempt:expr, $($message:tt)+) => {
        tracing::$level!(
            messageId = %$job.lease.id,
            userId = $job.notification.user.map(tracing::field::display),
            "type" = $job.notification.channel,
            tenant = $job.notification.tenant.as_integer(),
            correlationId = $job.notification.context.correlation_id,
            traceparent = $job.notification.context.traceparent.as_deref(),
            attempt = $attempt.number,
            provider = $attempt.provider,
            outcome = $attempt.outcome.as_str(),
            code = $attempt.code,
            // Without a code nobody answered: the words are our own.
            reason = if $attempt.code.is_none() { $attempt.message.as_deref() } else { None },
            durationMs = $attempt.duration_ms,
            $($message)+
        )
    };
}

/// Logs what became of a job. What providers say stays in the journal: it may quote addresses.
fn tell(job: &Job, transition: &Transition) {
    let id = job.lease.id;
    let Some(Entry { attempt: Some(attempt), .. }) = &transition.entry else {
        return tell_unsent(job, transition);
    };
    let (number, provider) = (attempt.number, &attempt.provider);
    match transition.next {
        Next::End(State::Delivered) => log_attempt!(info, job, attempt, "Delivered {id} by {provider}"),
        Next::End(State::Dead) => {
            log_attempt!(warn, job, attempt, "{id} is a dead letter after attempt {number} by {provider}");
        }
        Next::End(state) => {
            let state = state.as_str();
            log_attempt!(warn, job, attempt, "{id} is {state} after attempt {number} by {provider}");
        }
        Next::Queue { due_at } => {
            log_attempt!(warn, job, attempt, "Attempt {number} by {provider} failed; {id} is due again {due_at}");
        }
    }
}

fn tell_unsent(job: &Job, transition: &Transition) {
    let (id, channel) = (job.lease.id, &job.notification.channel);
    match transition.next {
        Next::End(state) => {
            let (state, correlation) = (state.as_str(), &job.notification.context.correlation_id);
            info!(messageId = %id, "type" = channel, correlationId = correlation, "{id} is {state}; it was not sent");
        }
        Next::Queue { .. } => debug!(messageId = %id, "type" = channel, "{id} is handed back unsent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_in_the_unit_that_fits() {
        assert_eq!(in_words(Duration::from_secs(30)), "30 s");
        assert_eq!(in_words(Duration::from_millis(1500)), "1500 ms");
    }
}
