//! What goes over the wire and what comes back, as values: the border between channels and transports.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use lettre::Address;
use tidings_core::delivery::Verdict;
use tidings_core::notification::TraceContext;
use tidings_core::ports::sender::Report;
use url::Url;

use crate::outbound::Demand;

/// Something to be sent.
pub(crate) enum Outgoing {
    /// A POST.
    Http(HttpRequest),
    /// An e-mail.
    Mail(Mail),
}

/// A POST.
pub(crate) struct HttpRequest {
    /// Where to.
    pub(crate) url: Url,
    /// All headers but those of the protocol itself.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// Which addresses it may reach.
    pub(crate) route: Route,
}

/// Which addresses a request may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The URL came from outside: its addresses are judged.
    Vetted(Demand),
    /// The URL came from the operator.
    Trusted,
}

/// An e-mail with its envelope.
pub(crate) struct Mail {
    /// Whom bounces go to.
    pub(crate) from: Address,
    /// Who gets it.
    pub(crate) to: Address,
    /// The message as it travels, without dot-stuffing.
    pub(crate) message: Vec<u8>,
}

/// What came back.
pub(crate) enum Answer {
    /// The answer of an HTTP server.
    Http(HttpAnswer),
    /// The reply of a mail server that decides about the mail.
    Mail(MailAnswer),
    /// There was none.
    Failed(Failure),
}

/// The answer of an HTTP server.
pub(crate) struct HttpAnswer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, cut where it was too long or too slow.
    pub(crate) body: Bytes,
}

/// The reply of a mail server.
pub(crate) struct MailAnswer {
    /// The reply code, such as 250.
    pub(crate) code: u16,
    /// What it said.
    pub(crate) text: String,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing that counts was sent.
    NotSent(String),
    /// It was sent, or may have been.
    Lost(String),
    /// It cannot be sent, now or ever.
    Unsendable(String),
    /// The name resolves to an address that is not to be reached. Nothing was sent.
    Forbidden,
}

impl Failure {
    /// The failure as the result of an attempt.
    pub(crate) fn report(self, provider: &'static str) -> Report {
        match self {
            Self::NotSent(reason) => Report::new(provider, Verdict::Retry { after: None }).saying(reason),
            Self::Lost(reason) => Report::new(provider, Verdict::Unknown).saying(reason),
            Self::Unsendable(reason) => Report::new(provider, Verdict::Reject).saying(reason),
            Self::Forbidden => Report::new(provider, Verdict::Reject).saying("destination not allowed"),
        }
    }

    /// For an answer in a protocol that the channel does not speak.
    pub(crate) fn foreign() -> Self {
        Self::Lost("the answer came in another protocol".to_owned())
    }
}

/// Who we are towards HTTP servers.
pub(crate) fn user_agent() -> HeaderValue {
    HeaderValue::from_static(concat!("Tidings/", env!("CARGO_PKG_VERSION")))
}

/// Adds the headers that tie a request to the one that caused it.
pub(crate) fn add_context(headers: &mut HeaderMap, context: &TraceContext) {
    if !context.correlation_id.is_empty()
        && let Ok(value) = HeaderValue::from_str(&context.correlation_id)
    {
        headers.insert("x-correlation-id", value);
    }
    if let Some(Ok(value)) = context.traceparent.as_deref().map(HeaderValue::from_str) {
        headers.insert("traceparent", value);
    }
}
