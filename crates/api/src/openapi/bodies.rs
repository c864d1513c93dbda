//! Bodies that the description shows and no handler reads or writes by their type: drafts are read by the core, errors
//! are written by the middleware.
#![expect(dead_code, reason = "they are read by people and by generators of clients")]

use utoipa::ToSchema;

/// A notification to be sent.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NotificationRequest {
    /// Who is told.
    #[schema(format = Uuid)]
    target_user_id: String,
    /// The channel: `email`, `sms`, `webhook`, `in-app`.
    #[schema(rename = "type")]
    channel: String,
    /// What is told. `email`: `to?`, `subject`, `body`, `htmlContent?`. `sms`: `phoneNumber?`, `message`. `webhook`:
    /// `url?`, `event?`, `data?`, `headers?`. `in-app`: `title`, `message`, `orderId?`, `link?`. Other fields are kept.
    #[schema(value_type = Object)]
    payload: String,
    /// 1 to 64 letters, digits, `-` or `_`; `transactional` unless given.
    category: Option<String>,
    /// `critical`, `high`, `normal` or `low`; `normal` unless given.
    priority: Option<String>,
    /// Not before this instant; at most 366 days ahead.
    #[schema(format = DateTime)]
    send_at: Option<String>,
    /// Not after this instant. Not together with `ttlSeconds`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Not later than so many seconds after it was to be sent.
    ttl_seconds: Option<u64>,
    /// 1 to 255 characters: a repeated request with the same key and body gets the first answer.
    idempotency_key: Option<String>,
    /// Anything that you want to get back.
    #[schema(value_type = Option<Object>)]
    metadata: Option<String>,
}

/// Notifications to be sent.
#[derive(ToSchema)]
pub(crate) struct BatchRequest {
    /// 1 to 1,000 of them.
    #[schema(min_items = 1, max_items = 1000)]
    notifications: Vec<NotificationRequest>,
}

/// An error.
#[derive(ToSchema)]
pub(crate) struct ErrorBody {
    /// The words that HTTP has for the status.
    error: String,
    /// What was wrong, where, and what to do.
    message: String,
    /// The stable code; see `/docs/errors`.
    code: String,
    /// The fields at fault, where there are any.
    errors: Option<Vec<FieldProblem>>,
}

/// An error as problem details (RFC 9457), for those who accept `application/problem+json`.
#[derive(ToSchema)]
pub(crate) struct ProblemDetails {
    /// Where the code is explained.
    #[schema(rename = "type")]
    kind: String,
    /// What the code means.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What was wrong, where, and what to do.
    detail: String,
    /// The stable code.
    code: String,
    /// The fields at fault, where there are any.
    errors: Vec<FieldProblem>,
    /// The path of the request.
    instance: String,
}

/// What is wrong with one field.
#[derive(ToSchema)]
pub(crate) struct FieldProblem {
    /// The path of the field, such as `payload.to`.
    field: String,
    /// What is wrong with it and what would be right.
    message: String,
}
