//! From a problem of the domain to the answer that a client sees.
//!
//! A handler that fails leaves its [`Failure`] with the response; the middleware, which knows what the client accepts,
//! writes the body. So there is one place where the shape of errors is decided.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use tidings_core::error::{ErrorCode, FieldError, Problem, StoreError};

use crate::openapi::bodies::FieldProblem;

/// What a 500 says: whatever happened inside is for the log.
const INTERNAL_MESSAGE: &str = "Failed to process notification";

/// What every failure of a token says, whichever it was.
const UNAUTHORIZED_MESSAGE: &str = "Missing or invalid authorization token";

const PROBLEM_JSON: &str = "application/problem+json";

/// Why a handler did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure(pub(crate) Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(Problem::from(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = status(self.0.code).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Why one of several things was not done, inside an answer about all of them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemProblem {
    /// The stable code.
    #[schema(value_type = String)]
    code: ErrorCode,
    /// What is wrong.
    message: String,
    /// The fields at fault, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<FieldProblem>)]
    errors: Vec<FieldError>,
}

impl From<Problem> for ItemProblem {
    fn from(problem: Problem) -> Self {
        Self { message: visible_message(&problem).to_owned(), code: problem.code, errors: problem.errors }
    }
}

/// The refusal of a token.
pub(crate) fn unauthorized() -> Failure {
    Failure(Problem::new(ErrorCode::UNAUTHORIZED, UNAUTHORIZED_MESSAGE))
}

/// The refusal of what does not exist, or might as well not.
pub(crate) fn not_found() -> Failure {
    Failure(Problem::not_found())
}

/// The refusal of a token that lacks scopes.
pub(crate) fn forbidden(message: &str) -> Failure {
    Failure(Problem::new(ErrorCode::FORBIDDEN, message))
}

/// The answer to something that only a bug or a broken machine can cause; `detail` goes to the log.
pub(crate) fn internal(what: &str, detail: &dyn std::fmt::Display) -> Problem {
    tracing::error!(error = %detail, "{what}");
    Problem::plain(ErrorCode::INTERNAL)
}

/// The HTTP status of a code.
pub(crate) fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The words that HTTP has for the status of a code.
pub(crate) fn reason(code: ErrorCode) -> &'static str {
    status(code).canonical_reason().unwrap_or("Error")
}

/// Whether a client asks for problem details (RFC 9457) instead of the seed's body.
pub(crate) fn wants_problem_details(headers: &HeaderMap) -> bool {
    let is_refused = |parameter: &str| matches!(parameter.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
    headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |range| {
            let mut parts = range.split(';');
            let kind = parts.next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case(PROBLEM_JSON) && !parts.any(is_refused)
        },
    )
}

/// How an error is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    /// The two fields of the seed, and what has been added to them.
    Seed,
    /// Problem details about a request to this path.
    ProblemDetails {
        /// The path.
        instance: &'a str,
    },
}

/// The seed's body. `errors` appears only where fields are at fault.
#[derive(Serialize)]
struct SeedBody<'a> {
    error: &'a str,
    message: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    errors: &'a [FieldError],
    instance: &'a str,
}

/// The whole answer to a failed request.
pub(crate) fn render(problem: &Problem, form: Form<'_>) -> Response {
    let code = problem.code;
    let message = visible_message(problem);
    let (content_type, body) = match form {
        Form::Seed => ("application/json", seed_body(problem, message)),
        Form::ProblemDetails { instance } => (PROBLEM_JSON, problem_body(problem, message, instance)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status(code);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if code.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if code == ErrorCode::REQUEST_TIMEOUT {
        // What is left of the body may still come, and would pass for the next request.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(seconds) = retry_after(problem) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// In how many seconds the same request may be answered otherwise. It can only be too late, never too early.
fn retry_after(problem: &Problem) -> Option<u64> {
    let known = problem.retry_after.map(|pause| pause.as_secs() + u64::from(pause.subsec_nanos() > 0));
    known.or_else(|| matches!(problem.code.status, 429 | 503 | 507).then_some(1))
}

fn visible_message(problem: &Problem) -> &str {
    if problem.code == ErrorCode::INTERNAL { INTERNAL_MESSAGE } else { &problem.message }
}

fn seed_body(problem: &Problem, message: &str) -> Vec<u8> {
    json(&SeedBody { error: reason(problem.code), message, code: problem.code.code, errors: &problem.errors })
}

fn problem_body(problem: &Problem, message: &str, instance: &str) -> Vec<u8> {
    json(&ProblemBody {
        kind: format!("/docs/errors#{}", problem.code),
        title: problem.code.meaning,
        status: problem.code.status,
        detail: message,
        code: problem.code.code,
        errors: &problem.errors,
        instance,
    })
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings, numbers and lists of them are always JSON")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_body_is_that_of_the_seed_with_a_code() {
        let response = render(&unauthorized().0, Form::Seed);
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(
            text(response).await,
            r#"{"error":"Unauthorized","message":"Missing or invalid authorization token","code":"unauthorized"}"#
        );
    }

    #[tokio::test]
    async fn fields_at_fault_are_listed() {
        let problem = Problem::field(ErrorCode::INVALID_FIELD, "limit", "must be smaller");
        assert_eq!(
            text(render(&problem, Form::Seed)).await,
            r#"{"error":"Bad Request","message":"limit: must be smaller","code":"invalid_field","errors":[{"field":"limit","message":"must be smaller"}]}"#
        );
    }

    #[tokio::test]
    async fn an_internal_error_says_nothing_about_the_inside() {
        let problem = Problem::new(ErrorCode::INTERNAL, "table notifications is corrupt at page 7");
        let response = render(&problem, Form::Seed);
        assert_eq!(response.status(), 500);
        assert_eq!(
            text(response).await,
            r#"{"error":"Internal Server Error","message":"Failed to process notification","code":"internal"}"#
        );
    }

    #[test]
    fn a_pause_is_told_in_whole_seconds() {
        let told = |problem: &Problem| {
            let response = render(problem, Form::Seed);
            response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned())
        };
        let busy = || Problem::plain(ErrorCode::OVERLOADED);
        assert_eq!(told(&busy()).as_deref(), Some("1"));
        assert_eq!(told(&busy().after(Duration::from_secs(4))).as_deref(), Some("4"));
        assert_eq!(told(&busy().after(Duration::from_millis(4_001))).as_deref(), Some("5"));
        assert_eq!(told(&Problem::plain(ErrorCode::NOT_FOUND)), None);
    }

    #[tokio::test]
    async fn problem_details_carry_the_same() {
        let problem = Problem::plain(ErrorCode::STORE_UNAVAILABLE);
        let response = render(&problem, Form::ProblemDetails { instance: "/api/users" });
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "/docs/errors#store_unavailable",
                "title": ErrorCode::STORE_UNAVAILABLE.meaning,
                "status": 503,
                "detail": ErrorCode::STORE_UNAVAILABLE.meaning,
                "code": "store_unavailable",
                "errors": [],
                "instance": "/api/users",
            })
        );
    }

    #[test]
    fn problem_details_are_for_those_who_ask() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            wants_problem_details(&headers)
        };
        assert!(wants("application/problem+json"));
        assert!(wants("application/json;q=0.5, Application/Problem+JSON; q=0.9"));
        for other in ["*/*", "application/json", "application/*", "application/problem+json;q=0", ""] {
            assert!(!wants(other), "{other}");
        }
        assert!(!wants_problem_details(&HeaderMap::new()));
    }

    #[test]
    fn every_code_has_an_http_status() {
        for code in ErrorCode::ALL {
            assert!(status(*code).canonical_reason().is_some(), "{code}");
        }
    }
}
