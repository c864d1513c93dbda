//! What is answered to a request.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::request::CaughtRequest;
use super::twilio;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAnswer {
    /// A whole response. Its length is added unless it names one of its own.
    Status {
        /// The status.
        code: u16,
        /// Its headers.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// Another answer, later.
    Delayed {
        /// How much later.
        by: Duration,
        /// The answer.
        answer: Box<Self>,
    },
    /// Nothing, until the client gives up.
    Hang,
    /// `200`, and then a body that never ends, a few bytes every tenth of a second.
    Drip {
        /// How many at a time.
        bytes_per_tick: usize,
    },
    /// `200` with a body of this length.
    Huge {
        /// How long.
        bytes: u64,
    },
    /// The whole request is read and caught, then the connection is reset.
    CloseAfterBody,
    /// The connection is reset as soon as a request arrives, which is not read and not caught.
    CloseBeforeReading,
}

impl HttpAnswer {
    /// A response without headers and body.
    pub const fn status(code: u16) -> Self {
        Self::Status { code, headers: Vec::new(), body: Vec::new() }
    }

    /// A response with a body of JSON.
    pub fn json(code: u16, body: &serde_json::Value) -> Self {
        Self::Status {
            code,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// The response with one more header. Answers that are no responses stay as they are.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// The response with a body. Answers that are no responses stay as they are.
    #[must_use]
    pub fn with_body(mut self, new_body: impl Into<Vec<u8>>) -> Self {
        if let Self::Status { body, .. } = &mut self {
            *body = new_body.into();
        }
        self
    }

    /// The same answer, later.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self::Delayed { by, answer: Box::new(self) }
    }
}

/// The answer that the path of a request asks for.
pub(crate) fn by_path(request: &CaughtRequest) -> HttpAnswer {
    let path = request.path_only();
    if path == "/hang" {
        return HttpAnswer::Hang;
    }
    if let Some(code) = path.strip_prefix("/status/") {
        return by_code(code);
    }
    if request.method == Method::POST && twilio::is_messages(path) {
        return twilio::answer(request);
    }
    HttpAnswer::json(200, &json!({ "ok": true }))
}

fn by_code(code: &str) -> HttpAnswer {
    match code.parse::<u16>() {
        Ok(code @ 200..=599) => HttpAnswer::json(code, &json!({ "status": code })),
        _ => HttpAnswer::json(400, &json!({ "error": "a status is a number from 200 to 599" })),
    }
}
