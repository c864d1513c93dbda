//! Reading bodies: how much, of what kind, for how long.
//!
//! A body is refused by its headers before a byte of it is read, and while it is read as soon as it is too long or comes too
//! slowly. What the bytes mean is not decided here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::time::{Instant, timeout, timeout_at};

use tidings_core::error::{ErrorCode, Problem};

use crate::api::Api;
use crate::error::Failure;

/// How long a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long nothing of a body may arrive; also the time over which its pace is judged.
const WINDOW: Duration = Duration::from_secs(10);

/// The fewest bytes that have to arrive in a window: 1 KiB a second.
const LEAST_IN_WINDOW: usize = 10 * 1024;

/// The bytes of a JSON body.
#[derive(Debug)]
pub(crate) struct JsonText(pub(crate) Bytes);

/// The bytes of the JSON body of a batch, which may be larger.
#[derive(Debug)]
pub(crate) struct BatchText(pub(crate) Bytes);

/// The bytes of a JSON body that may be left out; then they are those of an empty object.
#[derive(Debug)]
pub(crate) struct OptionalText(pub(crate) Bytes);

impl FromRequest<Arc<Api>> for JsonText {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Failure> {
        Ok(Self(read(request, api.config.max_body_bytes).await?))
    }
}

/// The largest body of somebody who has not proved anything yet.
const MAX_CREDENTIALS: usize = 4 * 1024;

/// The bytes of the JSON body of a login or registration: small, because anybody may send it.
pub(crate) struct CredentialsText(pub(crate) Bytes);

impl FromRequest<Arc<Api>> for CredentialsText {
    type Rejection = Failure;

    async fn from_request(request: Request, _api: &Arc<Api>) -> Result<Self, Failure> {
        Ok(Self(read(request, MAX_CREDENTIALS).await?))
    }
}

impl FromRequest<Arc<Api>> for BatchText {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Failure> {
        Ok(Self(read(request, api.config.max_batch_body_bytes).await?))
    }
}

impl FromRequest<Arc<Api>> for OptionalText {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Failure> {
        if request.body().is_end_stream() {
            return Ok(Self(Bytes::from_static(b"{}")));
        }
        Ok(Self(read(request, api.config.max_body_bytes).await?))
    }
}

async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    check_kind(request.headers())?;
    check_declared_length(request.headers(), limit)?;
    timeout(DEADLINE, collect(request.into_body(), limit))
        .await
        .unwrap_or_else(|_elapsed| Err(Problem::plain(ErrorCode::REQUEST_TIMEOUT)))
}

/// JSON, in UTF-8, as it is. Compressed bodies are refused: the size of what comes out is not known before.
pub(crate) fn check_kind(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain =
        headers.get_all(CONTENT_ENCODING).iter().all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !is_plain {
        return Err(unsupported("Send the body without `Content-Encoding`"));
    }
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    match (kinds.next().map(|kind| kind.to_str()), kinds.next()) {
        (Some(Ok(kind)), None) if is_json(kind) => Ok(()),
        _ => Err(unsupported("Send the body as `Content-Type: application/json`")),
    }
}

fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let is_utf8 = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) && parts.all(is_utf8)
}

pub(crate) fn check_declared_length(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let declared: Option<u64> = declared.and_then(|length| length.parse().ok());
    if declared.is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large(limit));
    }
    Ok(())
}

/// The bytes of a body. One that arrives in one piece, as nearly all do, is not copied.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut pace = Pace::default();
    while let Some(frame) = pace.next(&mut body).await? {
        let frame = frame.map_err(|error| Problem::new(ErrorCode::INVALID_JSON, broken(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        pace.count(data.len());
        if first.len().max(whole.len()) + data.len() > limit {
            return Err(too_large(limit));
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// How fast a body arrives.
#[derive(Default)]
struct Pace {
    /// When the current window ends. The first begins with the first look.
    ends: Option<Instant>,
    in_window: usize,
}

impl Pace {
    fn count(&mut self, bytes: usize) {
        self.in_window = self.in_window.saturating_add(bytes);
    }

    /// The next piece of a body, unless it comes too slowly.
    async fn next(&mut self, body: &mut Body) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, Problem> {
        loop {
            let ends = *self.ends.get_or_insert_with(|| Instant::now() + WINDOW);
            if let Ok(frame) = timeout_at(ends, body.frame()).await {
                return Ok(frame);
            }
            if self.in_window < LEAST_IN_WINDOW {
                return Err(Problem::plain(ErrorCode::REQUEST_TIMEOUT));
            }
            *self = Self::default();
        }
    }
}

fn broken(error: &axum::Error) -> String {
    format!("The body could not be read: {error}")
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ErrorCode::BODY_TOO_LARGE, format!("The body is larger than the {limit} bytes that are accepted here"))
}

fn unsupported(message: &str) -> Problem {
    Problem::new(ErrorCode::UNSUPPORTED_MEDIA_TYPE, message)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http::HeaderValue;
    use tokio::time::{Sleep, sleep};

    use super::*;

    /// A body that arrives in pieces.
    struct Pieces(VecDeque<&'static [u8]>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let piece = self.0.pop_front();
            Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn json_in_utf8_is_taken_and_nothing_else() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(check_kind(&headers(&[("content-type", good)])).is_ok(), "{good}");
        }
        for bad in [
            "text/plain",
            "application/json; charset=latin1",
            "application/json; version=2",
            "application/jsonp",
            "application/cloudevents+json",
            "",
        ] {
            let problem = check_kind(&headers(&[("content-type", bad)])).unwrap_err();
            assert_eq!(problem.code, ErrorCode::UNSUPPORTED_MEDIA_TYPE, "{bad}");
        }
        assert!(check_kind(&HeaderMap::new()).is_err());
        let twice = headers(&[("content-type", "application/json"), ("content-type", "text/plain")]);
        assert!(check_kind(&twice).is_err());
    }

    #[test]
    fn compressed_bodies_are_refused() {
        for (encoding, taken) in [("gzip", false), ("br", false), ("identity", true), ("identity, gzip", false)] {
            let headers = headers(&[("content-type", "application/json"), ("content-encoding", encoding)]);
            assert_eq!(check_kind(&headers).is_ok(), taken, "{encoding}");
        }
    }

    #[test]
    fn a_length_that_is_declared_too_large_is_refused_at_once() {
        for (length, taken) in [("10", true), ("11", false), ("99999999999999999999", true), ("0", true)] {
            let checked = check_declared_length(&headers(&[("content-length", length)]), 10);
            assert_eq!(checked.is_ok(), taken, "{length}");
        }
    }

    async fn sent_in_pieces(pieces: &[&'static [u8]], limit: usize) -> Result<Bytes, Problem> {
        collect(Body::new(Pieces(pieces.iter().copied().collect())), limit).await
    }

    #[tokio::test]
    async fn pieces_are_put_together() {
        assert_eq!(sent_in_pieces(&[], 10).await.unwrap(), "");
        assert_eq!(sent_in_pieces(&[b"{}"], 10).await.unwrap(), "{}");
        assert_eq!(sent_in_pieces(&[b"{", b"\"a\"", b":1}"], 10).await.unwrap(), "{\"a\":1}");
    }

    #[tokio::test]
    async fn a_body_that_grows_too_large_is_refused_while_it_is_read() {
        let problem = sent_in_pieces(&[b"12345", b"12345", b"1"], 10).await.unwrap_err();
        assert_eq!(problem.code, ErrorCode::BODY_TOO_LARGE);
        assert!(sent_in_pieces(&[b"12345", b"12345"], 10).await.is_ok());
    }

    /// A body that drips: a piece, a pause, and so on without end.
    struct Drip {
        piece: &'static [u8],
        pause: Duration,
        waiting: Pin<Box<Sleep>>,
    }

    impl Drip {
        fn new(piece: &'static [u8], pause: Duration) -> Self {
            Self { piece, pause, waiting: Box::pin(sleep(pause)) }
        }
    }

    impl HttpBody for Drip {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.waiting.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let next = Instant::now() + self.pause;
            self.waiting.as_mut().reset(next);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.piece)))))
        }
    }

    async fn given_up_on(body: Drip) -> (ErrorCode, u64) {
        let began = Instant::now();
        let request = Request::builder().header(CONTENT_TYPE, "application/json").body(Body::new(body)).unwrap();
        let problem = read(request, 64 * 1024 * 1024).await.unwrap_err();
        (problem.code, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Drip::new(b"x", Duration::from_hours(1));
        assert_eq!(given_up_on(never).await, (ErrorCode::REQUEST_TIMEOUT, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up() {
        let drip = Drip::new(b"x", Duration::from_millis(300));
        assert_eq!(given_up_on(drip).await, (ErrorCode::REQUEST_TIMEOUT, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_at_a_fair_pace_has_until_the_deadline() {
        let fair = Drip::new(&[b'x'; 2048], Duration::from_millis(1_300));
        assert_eq!(given_up_on(fair).await, (ErrorCode::REQUEST_TIMEOUT, 30));
    }
}
