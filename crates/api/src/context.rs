//! What ties a request to everything that follows from it: `X-Correlation-Id` and W3C Trace Context.
//!
//! Both are taken from the caller if they are well formed, and made otherwise. Neither can carry anything into a log or
//! a header that its syntax does not allow.

use std::cell::LazyCell;
use std::future::{Future, ready};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use uuid::Uuid;

use tidings_core::notification::TraceContext;

use crate::error::Failure;

pub(crate) const CORRELATION_ID: &str = "x-correlation-id";
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The longest correlation id that is taken.
const MAX_CORRELATION_ID: usize = 128;

/// The context of the request. The middleware makes it; handlers extract it.
#[derive(Clone, Debug)]
pub(crate) struct Traced(pub(crate) Arc<TraceContext>);

impl Traced {
    /// The context that the headers of a request carry, completed with what they lack.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let correlation_id = single(headers, CORRELATION_ID).filter(|id| is_correlation_id(id));
        let traceparent = single(headers, TRACEPARENT).and_then(parse_traceparent);
        // One random id serves both, so that what we made can be found in logs and traces by the same digits.
        let made = LazyCell::new(Uuid::new_v4);
        Self(Arc::new(TraceContext {
            correlation_id: correlation_id.map_or_else(|| made.to_string(), str::to_owned),
            traceparent: Some(traceparent.unwrap_or_else(|| made_traceparent(*made))),
        }))
    }
}

impl<S> FromRequestParts<S> for Traced {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Failure>> + Send {
        let traced = parts.extensions.get::<Self>().cloned();
        ready(Ok(traced.unwrap_or_else(|| Self::of(&parts.headers))))
    }
}

/// The value of a header that is there exactly once, as text.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

fn is_correlation_id(text: &str) -> bool {
    (1..=MAX_CORRELATION_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads a `traceparent` (W3C Trace Context, section 3.2) and writes it in version 00, the one that we speak. A later
/// version may append fields, which are dropped.
fn parse_traceparent(text: &str) -> Option<String> {
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let may_have_more = version != "00";
    let well_formed = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && is_not_zero(trace)
        && is_not_zero(parent)
        && (may_have_more || fields.next().is_none());
    well_formed.then(|| {
        // Of the flags only `sampled` is known to us; the others must not be sent on by a version that lacks them.
        let is_sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        let flags = if is_sampled { "01" } else { "00" };
        format!("00-{trace}-{parent}-{flags}")
    })
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_not_zero(hex: &str) -> bool {
    hex.bytes().any(|byte| byte != b'0')
}

/// A new root. The second half of a version 4 UUID begins with its variant bits, so the span id is never zero.
fn made_traceparent(made: Uuid) -> String {
    let (_, span) = made.as_u64_pair();
    format!("00-{}-{span:016x}-00", made.simple())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(pairs: &[(&'static str, &str)]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        TraceContext::clone(&Traced::of(&headers).0)
    }

    #[test]
    fn what_the_caller_sends_is_kept() {
        let taken = context(&[(CORRELATION_ID, "order-17/retry:2"), (TRACEPARENT, GOOD)]);
        assert_eq!(taken.correlation_id, "order-17/retry:2");
        assert_eq!(taken.traceparent.as_deref(), Some(GOOD));
    }

    #[test]
    fn what_is_missing_is_made_and_well_formed() {
        let made = context(&[]);
        assert!(Uuid::try_parse(&made.correlation_id).is_ok());
        let traceparent = made.traceparent.unwrap();
        assert_eq!(parse_traceparent(&traceparent).as_deref(), Some(traceparent.as_str()));
        assert_ne!(context(&[]).correlation_id, made.correlation_id);
    }

    #[test]
    fn a_correlation_id_that_could_disturb_a_log_is_replaced() {
        let long = "x".repeat(129);
        for bad in ["", "a b", "a\tb", "é", long.as_str()] {
            assert_ne!(context(&[(CORRELATION_ID, bad)]).correlation_id, bad, "{bad:?}");
        }
        assert_ne!(context(&[(CORRELATION_ID, "a"), (CORRELATION_ID, "b")]).correlation_id, "a");
    }

    #[test]
    fn a_malformed_traceparent_is_replaced() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what-comes";
        assert_eq!(parse_traceparent(later).as_deref(), Some(GOOD));
    }
}
