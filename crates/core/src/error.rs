//! Every error that a client can see: its stable code, its HTTP status, and what to do about it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A stable, never reused code for something that a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    /// The code itself, in `snake_case`.
    pub code: &'static str,
    /// The HTTP status that goes with it.
    pub status: u16,
    /// One sentence: what is wrong.
    pub meaning: &'static str,
    /// One sentence: what the caller does next.
    pub remedy: &'static str,
}

macro_rules! error_codes {
    ($($name:ident $code:literal $status:literal $meaning:literal $remedy:literal)*) => {
        impl ErrorCode {
            $(#[doc = $meaning] pub const $name: Self = Self { code: $code, status: $status, meaning: $meaning, remedy: $remedy };)*
            /// The whole catalogue, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

error_codes! {
    MISSING_FIELDS "missing_fields" 400 "A required field is absent, null or empty." "Send all fields that the message names."
    PAYLOAD_NOT_OBJECT "payload_not_object" 400 "`payload` is not a JSON object." "Send an object, even an empty one where the channel allows it."
    INVALID_JSON "invalid_json" 400 "The body is not JSON (RFC 8259) in UTF-8." "Mend the JSON at the position that the message names."
    JSON_TOO_COMPLEX "json_too_complex" 400 "The body nests deeper or has more keys than is accepted." "Flatten the payload, or store the large part elsewhere and send a link."
    INVALID_FIELD "invalid_field" 400 "A field has the wrong type or a value out of range." "Correct the fields listed in `errors`."
    UNKNOWN_TYPE "unknown_type" 400 "`type` names no channel of this installation." "Use one of the types that the message lists."
    INVALID_PAYLOAD "invalid_payload" 400 "The payload does not fit its channel." "Correct the fields listed in `errors`."
    DESTINATION_NOT_ALLOWED "destination_not_allowed" 400 "The URL points somewhere that this installation does not send to." "Use a public http or https address, or ask the operator to allow the network."
    EXPIRES_IN_PAST "expires_in_past" 400 "The notification would expire before it could be sent." "Send a later `expiresAt` or a longer `ttlSeconds`."
    SEND_AT_OUT_OF_RANGE "send_at_out_of_range" 400 "`sendAt` lies more than 366 days ahead." "Choose an earlier time."
    INVALID_IDEMPOTENCY_KEY "invalid_idempotency_key" 400 "The idempotency key is empty, too long, or has control characters." "Use 1 to 255 visible characters, for example a UUID."
    INVALID_CURSOR "invalid_cursor" 400 "The cursor was not issued by this API." "Pass the `nextCursor` of the page before, or none."
    UNAUTHORIZED "unauthorized" 401 "The bearer token is missing, malformed, expired or not signed by this installation." "Get a new token from `POST /api/auth/login` or `tidings token`."
    INVALID_CREDENTIALS "invalid_credentials" 401 "The user name or the password is wrong." "Check both; the answer does not tell which."
    FORBIDDEN "forbidden" 403 "The token is valid but lacks the scope for this operation." "Use a token with the scope that the message names."
    NOT_FOUND "not_found" 404 "There is no such thing, or it is not yours." "Check the path and the id."
    METHOD_NOT_ALLOWED "method_not_allowed" 405 "The path exists, but not with this method." "Use a method of the `Allow` header."
    REQUEST_TIMEOUT "request_timeout" 408 "The body did not arrive in time." "Send the request again, over a better connection."
    NOT_CANCELLABLE "not_cancellable" 409 "The notification is being sent or has reached its end." "Nothing to do: its state says what happened."
    USER_EXISTS "user_exists" 409 "The id, user name or e-mail address is taken." "Choose another, or update the existing user."
    DEAD_LETTER_CLOSED "dead_letter_closed" 409 "The dead letter was already redriven or discarded, or its content was erased." "Nothing to do."
    BODY_TOO_LARGE "body_too_large" 413 "The body exceeds the size limit." "Send less, or in several requests."
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" 415 "The body is not declared as `application/json`, or is compressed." "Send `Content-Type: application/json` and no `Content-Encoding`."
    IDEMPOTENCY_MISMATCH "idempotency_mismatch" 422 "The idempotency key was used before with another body." "Use a new key for a new notification."
    UNKNOWN_USER "unknown_user" 422 "`targetUserId` names no user." "Create the user with `POST /api/users` first."
    CHANNEL_NOT_CONFIGURED "channel_not_configured" 422 "The channel exists, but this installation has no provider for it." "Ask the operator to configure the provider that the message names."
    RATE_LIMITED "rate_limited" 429 "Too many requests of this kind." "Wait as long as `Retry-After` says."
    INTERNAL "internal" 500 "Something failed that should not." "Try again; tell the operator the correlation id if it persists."
    OVERLOADED "overloaded" 503 "More is arriving than can be stored." "Try again after `Retry-After`."
    STORE_UNAVAILABLE "store_unavailable" 503 "The store failed, and whether the request was stored is not known: repeat it with the same idempotency key." "Repeat the request after `Retry-After` with the same idempotency key; it is not done twice."
    SHUTTING_DOWN "shutting_down" 503 "The server is stopping." "Try again; another replica or the restarted server answers."
    STORAGE_FULL "storage_full" 507 "The disk is full; nothing was accepted." "The operator has to free disk space."
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code)
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The path of the field in the request, such as `payload.to`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl FieldError {
    /// A complaint about `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Problem {
    /// The stable code.
    pub code: ErrorCode,
    /// What was wrong, where, and what to do; free of secrets.
    pub message: String,
    /// The fields at fault, where there are any.
    pub errors: Vec<FieldError>,
    /// When the same request may be answered otherwise, where that is known. Told in whole seconds.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with its own message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), errors: Vec::new(), retry_after: None }
    }

    /// A problem whose message is the meaning of its code.
    pub fn plain(code: ErrorCode) -> Self {
        Self::new(code, code.meaning)
    }

    /// What does not exist, and what is somebody else's: the same words, so that nobody learns which.
    pub fn not_found() -> Self {
        Self::plain(ErrorCode::NOT_FOUND)
    }

    /// A problem that lists the fields at fault.
    pub fn fields(code: ErrorCode, errors: Vec<FieldError>) -> Self {
        let message = match errors.as_slice() {
            [] => code.meaning.to_owned(),
            [only] => format!("{}: {}", only.field, only.message),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.field, first.message, rest.len()),
        };
        Self { code, message, errors, retry_after: None }
    }

    /// A problem with a single field.
    pub fn field(code: ErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(code, vec![FieldError::new(field, message)])
    }

    /// The same problem, with the time after which to try again.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self { retry_after: Some(pause), ..self }
    }
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A passing failure: the same call may succeed later. Whether this one has stored anything is not known, for a
    /// commit that failed may be on the disk all the same. It has stored all or nothing, and whoever repeats it has to be
    /// ready to find it done.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// More work is waiting than the store takes on: nothing was stored.
    #[error("the store is overloaded")]
    Overloaded,
    /// No room is left on the disk: nothing was stored.
    #[error("no space is left for the store")]
    Full,
    /// The store has been closed because the process is stopping.
    #[error("the store is closed")]
    Closed,
    /// What was read cannot be: a bug or a damaged file. The text names the row.
    #[error("the store is inconsistent: {0}")]
    Inconsistent(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Overloaded | Self::Full => true,
            Self::Closed | Self::Inconsistent(_) => false,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::plain(match error {
            StoreError::Unavailable(_) => ErrorCode::STORE_UNAVAILABLE,
            StoreError::Overloaded => ErrorCode::OVERLOADED,
            StoreError::Full => ErrorCode::STORAGE_FULL,
            StoreError::Closed => ErrorCode::SHUTTING_DOWN,
            StoreError::Inconsistent(_) => return Self::new(ErrorCode::INTERNAL, "Failed to process notification"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_complete() {
        let mut seen = HashSet::new();
        for entry in ErrorCode::ALL {
            assert!(seen.insert(entry.code), "{} appears twice", entry.code);
            assert!((400..=599).contains(&entry.status), "{entry}");
            assert!(entry.meaning.ends_with('.') && entry.remedy.ends_with('.'), "{entry}");
        }
    }
}
