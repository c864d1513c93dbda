//! What a channel is.

use tidings_core::delivery::Verdict;
use tidings_core::error::{ErrorCode, Problem};
use tidings_core::notification::Destination;
use tidings_core::ports::sender::{Dispatch, Reach, Report};
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;

use crate::payload::Payload;
use crate::wire::{Answer, Failure, Outgoing};

/// A way to reach people, as a translator without I/O.
pub(crate) trait Channel: Send + Sync {
    /// The name that callers write in `type`.
    fn name(&self) -> &'static str;

    /// How it reaches people.
    fn reach(&self) -> Reach {
        Reach::Remote
    }

    /// Checks a payload, and says which queue its attempts go through.
    ///
    /// It MUST refuse what `build` could not send for a reason that will not change, and MUST NOT panic on any payload.
    fn address(&self, payload: &Payload, contacts: &Contacts) -> Result<Destination, Problem>;

    /// Makes the request of one attempt. The payload is checked again: rules and contacts may have changed since it was
    /// accepted. The error is the attempt's result.
    fn build(&self, dispatch: &Dispatch<'_>) -> Result<Outgoing, Report>;

    /// Judges what came back.
    fn read(&self, answer: Answer, now: Timestamp) -> Report;
}

/// The payload of a stored notification.
pub(crate) fn stored_payload(dispatch: &Dispatch<'_>, provider: &'static str) -> Result<Payload, Report> {
    serde_json::from_str(&dispatch.notification.content.payload).map_err(|error| {
        Report::new(provider, Verdict::Reject).saying(format!("the stored payload cannot be read: {error}"))
    })
}

/// The result of an attempt whose payload does not pass any more.
pub(crate) fn refused(provider: &'static str, problem: &Problem) -> Report {
    if problem.code == ErrorCode::DESTINATION_NOT_ALLOWED {
        return Failure::Forbidden.report(provider);
    }
    Report::new(provider, Verdict::Reject).saying(problem.message.as_str())
}

/// For a channel that no provider was configured for; `settings` names what is missing.
pub(crate) fn not_configured(channel: &str, settings: &str) -> Problem {
    let message =
        format!("The channel `{channel}` is not configured on this installation; the operator has to set {settings}");
    Problem::new(ErrorCode::CHANNEL_NOT_CONFIGURED, message)
}
