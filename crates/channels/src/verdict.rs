//! From the answer of an HTTP server to a verdict; the same for every provider that speaks HTTP.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use tidings_core::delivery::Verdict;
use tidings_core::time::Timestamp;

use crate::wire::HttpAnswer;

/// The verdict of an answer.
pub(crate) fn of(answer: &HttpAnswer, now: Timestamp) -> Verdict {
    match answer.status.as_u16() {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry { after: wait(answer, now) },
        _ => Verdict::Reject,
    }
}

/// The answer in words, without anything that the server wrote.
pub(crate) fn describe(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("");
    let hint = if status.is_redirection() { "; redirects are not followed" } else { "" };
    format!("answered {} {reason}", status.as_u16()).trim_end().to_owned() + hint
}

fn wait(answer: &HttpAnswer, now: Timestamp) -> Option<Duration> {
    let value = answer.headers.get(RETRY_AFTER)?.to_str().ok()?;
    retry_after(value, now)
}

/// What more digits than fit stand for: 136 years.
const MANY_SECONDS: u64 = 0xffff_ffff;

/// `Retry-After` of RFC 9110, section 10.2.3: seconds or a date.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long", not "nothing".
        return Some(Duration::from_secs(value.parse().unwrap_or(MANY_SECONDS)));
    }
    http_date(value).map(|date| date.since(now))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: the one form of an HTTP date that servers may write.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_weekday, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (time, zone) = (parts.next()?, parts.next()?);
    if zone != "GMT" || parts.next().is_some() {
        return None;
    }
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    // 1994-11-06T08:49:07Z
    const NOW: Timestamp = Timestamp::from_millis(784_111_747_000);

    fn answer(status: u16, retry_after: Option<&str>) -> HttpAnswer {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        HttpAnswer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() }
    }

    #[test]
    fn statuses_have_their_verdicts() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(&answer(status, None), NOW), Verdict::Delivered, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(of(&answer(status, None), NOW), Verdict::Retry { after: None }, "{status}");
        }
        for status in [101, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 409, 410, 413, 418, 451, 600] {
            assert_eq!(of(&answer(status, None), NOW), Verdict::Reject, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let seconds = |value| retry_after(value, NOW).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(seconds("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(u64::from(u32::MAX)));
        for nonsense in [
            "",
            "-1",
            "+5",
            "1.5",
            "soon",
            "1e3",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 8:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
        ] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_throttled_answer_carries_its_wait() {
        let verdict = of(&answer(429, Some("7")), NOW);
        assert_eq!(verdict, Verdict::Retry { after: Some(Duration::from_secs(7)) });
    }

    #[test]
    fn redirects_are_explained() {
        assert_eq!(
            describe(StatusCode::MOVED_PERMANENTLY),
            "answered 301 Moved Permanently; redirects are not followed"
        );
        assert_eq!(describe(StatusCode::SERVICE_UNAVAILABLE), "answered 503 Service Unavailable");
        assert_eq!(describe(StatusCode::from_u16(599).unwrap()), "answered 599");
    }

    proptest! {
        #[test]
        fn no_retry_after_panics(value in any::<String>(), millis in any::<i64>()) {
            retry_after(&value, Timestamp::from_millis(millis));
        }
    }
}
