//! What has to hold for everything that this crate reads from clients, the bodies of notifications aside (those are read
//! by the core). Compiled for tests and for the targets in `fuzz/` only.
//!
//! Each function takes bytes from outside and panics when a property does not hold.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use uuid::Uuid;

use tidings_core::draft::parse_object;
use tidings_core::error::{ErrorCode, Problem};
use tidings_core::ports::streams::ReceiptFor;
use tidings_core::services::follow::MAX_PAGE;
use tidings_core::services::redrive::MAX_BULK;
use tidings_core::time::Timestamp;

use crate::auth::{LoginRequest, RegisterRequest};
use crate::context::{CORRELATION_ID, TRACEPARENT, Traced};
use crate::dead_letters::query::BulkRequest;
use crate::error::wants_problem_details;
use crate::inbox::{InboxQuery, ReceiptRequest};
use crate::token::{Claims, Keys};
use crate::{body, caller, cursor, dead_letters, idempotency, notifications};

/// 2027-01-15T08:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new(b"a secret that is written down nowhere else", false));

/// Query strings: whatever is asked for, a page is bounded, and a cursor is one that was issued.
pub fn query(bytes: &[u8]) {
    let Some(uri) = std::str::from_utf8(bytes).ok().and_then(|text| format!("/list?{text}").parse::<Uri>().ok()) else {
        return;
    };
    match notifications::query::read(&uri) {
        Ok(query) => {
            assert!((1..=MAX_PAGE).contains(&query.limit));
            assert_eq!(query.before.map(cursor::encode).map(|text| cursor::decode(&text)), query.before.map(Ok));
        }
        Err(problem) => check_problem(&problem),
    }
    match dead_letters::query::read(&uri) {
        Ok(query) => assert!((1..=MAX_PAGE).contains(&query.limit)),
        Err(problem) => check_problem(&problem),
    }
    if let Err(problem) = InboxQuery::read(&uri) {
        check_problem(&problem);
    }
}

/// Cursors: one that is taken is written as it was sent.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match cursor::decode(text) {
        Ok(id) => assert_eq!(cursor::encode(id), text),
        Err(problem) => assert_eq!(problem.code, ErrorCode::INVALID_CURSOR),
    }
}

/// Tokens: none is valid that was not signed with the secret, and none that was changed afterwards.
pub fn token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(KEYS.verify(&text, NOW).is_err(), "a forged token was taken");
    let claims = Claims {
        user_id: bytes.first_chunk().map(|bits| Uuid::from_bytes(*bits)),
        username: Some(text.chars().take(200).collect()),
        tenant: None,
        scope: Some(text.chars().rev().take(20).collect()),
        iat: Some(NOW.as_seconds()),
        exp: Some(NOW.as_seconds() + 60),
    };
    let token = KEYS.issue(&claims).expect("claims are strings and numbers");
    assert_eq!(KEYS.verify(&token, NOW), Ok(claims), "an issued token reads back");
    assert!(KEYS.verify(&changed(&token, bytes), NOW).is_err(), "a changed token was taken");
}

/// The token with one character replaced, at a place that the bytes choose.
fn changed(token: &str, bytes: &[u8]) -> String {
    let sum: usize = bytes.iter().map(|byte| usize::from(*byte)).sum();
    let place = sum % token.len();
    let other = |c: char| if c == 'A' { 'B' } else { 'A' };
    token.chars().enumerate().map(|(index, c)| if index == place { other(c) } else { c }).collect()
}

/// Headers, one in a line: what is taken from them is well formed.
pub fn request_headers(bytes: &[u8]) {
    let headers = headers(bytes);
    if body::check_kind(&headers).is_ok() {
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        assert!(kind.trim().to_ascii_lowercase().starts_with("application/json"), "{kind:?}");
        assert!(headers.get_all("content-type").iter().count() == 1);
    }
    if let Err(problem) = body::check_declared_length(&headers, 1024) {
        assert_eq!(problem.code, ErrorCode::BODY_TOO_LARGE);
    }
    if let Some(token) = caller::bearer(&headers) {
        assert!(!token.is_empty() && !token.starts_with(' ') && !token.ends_with(' '));
    }
    if let Err(problem) = idempotency::key(&headers) {
        assert_eq!(problem.code, ErrorCode::INVALID_IDEMPOTENCY_KEY);
    }
    assert!(!wants_problem_details(&headers) || headers.contains_key("accept"));
    check_context(&headers);
}

/// The context is well formed whatever was sent, and is taken as it is when it is sent again.
fn check_context(headers: &HeaderMap) {
    let context = Traced::of(headers).0;
    let id = &context.correlation_id;
    assert!((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    let traceparent = context.traceparent.clone().expect("one is made where there is none");
    let mut again = HeaderMap::new();
    for (name, value) in [(CORRELATION_ID, id), (TRACEPARENT, &traceparent)] {
        again.insert(name, HeaderValue::from_str(value).expect("it is visible ASCII"));
    }
    assert_eq!(Traced::of(&again).0, context);
}

fn headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(50) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}

/// The bodies of administrative requests: what is accepted is within its limits.
pub fn objects(bytes: &[u8]) {
    match parse_object::<BulkRequest>(bytes).and_then(BulkRequest::into_query) {
        Ok(query) => assert!((1..=MAX_BULK).contains(&query.limit) && query.review_status.is_some()),
        Err(problem) => check_problem(&problem),
    }
    match parse_object::<ReceiptRequest>(bytes).and_then(ReceiptRequest::into_selection) {
        Ok(ReceiptFor::UpTo(number)) => assert!(i64::try_from(number).is_ok()),
        Ok(ReceiptFor::Numbers(numbers)) => {
            assert!(numbers.len() <= 1000 && numbers.iter().all(|number| i64::try_from(*number).is_ok()));
        }
        Err(problem) => check_problem(&problem),
    }
    if let Err(problem) = parse_object::<RegisterRequest>(bytes) {
        check_problem(&problem);
    }
    if let Err(problem) = parse_object::<LoginRequest>(bytes) {
        check_problem(&problem);
    }
}

fn check_problem(problem: &Problem) {
    assert_eq!(problem.code.status, 400, "{problem}");
    assert!(!problem.message.is_empty());
}

#[cfg(test)]
mod tests {
    use tidings_testkit::mutation::hammer;

    #[test]
    fn query_strings() {
        hammer("query", super::query);
    }

    #[test]
    fn cursors() {
        hammer("cursor", super::cursor);
    }

    #[test]
    fn tokens() {
        hammer("token", super::token);
    }

    #[test]
    fn headers() {
        hammer("request_headers", super::request_headers);
    }

    #[test]
    fn objects() {
        hammer("objects", super::objects);
    }
}
