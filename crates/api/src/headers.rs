//! The headers that every answer carries.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};

use tidings_core::notification::TraceContext;

use crate::context::{CORRELATION_ID, TRACEPARENT};

/// What a browser may do with an answer that is no page: nothing.
const CONTENT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What a page of ours may do: load its own script and style, talk to its own server, and nothing else.
pub(crate) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; \
     require-trusted-types-for 'script'";

static OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
static RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Completes the headers of an answer. What a handler has set stays.
pub(crate) fn finish(headers: &mut HeaderMap, context: &TraceContext) {
    headers.reserve(8);
    set_default(headers, CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    set_default(headers, CACHE_CONTROL, "no-store");
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(&OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(&RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    set_text(headers, CORRELATION_ID, Some(&context.correlation_id));
    set_text(headers, TRACEPARENT, context.traceparent.as_deref());
}

fn set_default(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}

fn set_text(headers: &mut HeaderMap, name: &'static str, value: Option<&str>) {
    if let Some(value) = value.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_guarded_and_says_what_it_belongs_to() {
        let mut headers = HeaderMap::new();
        let context = TraceContext { correlation_id: "abc".to_owned(), traceparent: Some("00-1-2-00".to_owned()) };
        finish(&mut headers, &context);
        assert_eq!(headers[CONTENT_SECURITY_POLICY], CONTENT_POLICY);
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(headers[CORRELATION_ID], "abc");
        assert_eq!(headers[TRACEPARENT], "00-1-2-00");
        assert!(!headers.contains_key("server") && !headers.contains_key("x-powered-by"));
    }

    #[test]
    fn what_a_handler_has_set_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        finish(&mut headers, &TraceContext::default());
        assert_eq!(headers[CONTENT_SECURITY_POLICY], PAGE_POLICY);
    }
}
