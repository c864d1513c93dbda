//! From the bytes of a request to a draft that cannot be wrong in itself.
//!
//! Everything that can be judged without the world is judged here: syntax, types, sizes. The world (does the user exist,
//! is the channel configured, what time is it) is asked by [`services::submit`](crate::services::submit).

mod object;

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::{ErrorCode, FieldError, Problem};
use crate::id::UserId;
use crate::idempotency::{Fingerprint, IdempotencyKey};
use crate::notification::{DEFAULT_CATEGORY, Priority, SYSTEM_CATEGORY};
use crate::routing::is_word;
use crate::time::Timestamp;

pub use object::parse_object;

/// How deep a body may nest.
pub const MAX_DEPTH: usize = 64;
/// How many keys and array items a body may have, all objects and arrays together.
pub const MAX_MEMBERS: usize = 10_000;
/// How many notifications a batch may have.
pub const MAX_BATCH: usize = 1000;
/// The longest `ttlSeconds`: one year.
pub const MAX_TTL_SECONDS: u64 = 366 * 86_400;

const REQUIRED: &str = "Missing required fields: targetUserId, type, payload";

/// A notification as somebody asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Who is told.
    pub target_user: UserId,
    /// The channel, not yet known to exist.
    pub channel: String,
    /// What is told.
    pub payload: Map<String, Value>,
    /// The same, as received.
    pub payload_text: String,
    /// The category.
    pub category: String,
    /// The lane.
    pub priority: Priority,
    /// Not before this instant.
    pub send_at: Option<Timestamp>,
    /// Not after it.
    pub expiry: Option<Expiry>,
    /// The key in the body.
    pub key: Option<IdempotencyKey>,
    /// What the caller wants to get back.
    pub metadata: Option<String>,
    /// The fingerprint of the text it was read from.
    pub fingerprint: Fingerprint,
}

/// When a draft stops being worth sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At an instant.
    At(Timestamp),
    /// So long after it was to be sent first.
    After(Duration),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow, default)]
    target_user_id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    category: Option<&'a RawValue>,
    #[serde(borrow, default)]
    priority: Option<&'a RawValue>,
    #[serde(borrow, default)]
    send_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ttl_seconds: Option<&'a RawValue>,
    #[serde(borrow, default)]
    idempotency_key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BatchFields<'a> {
    #[serde(borrow, default)]
    notifications: Option<Vec<&'a RawValue>>,
}

/// Reads the body of a single request.
pub fn parse(body: &[u8]) -> Result<Draft, Problem> {
    parse_text(checked_text(body)?)
}

/// Reads the body of a batch: `{"notifications": [...]}`. Each item is judged by itself.
pub fn parse_batch(body: &[u8]) -> Result<Vec<Result<Draft, Problem>>, Problem> {
    let text = checked_text(body)?;
    require_object(text)?;
    let batch: BatchFields<'_> = serde_json::from_str(text).map_err(|error| not_a_batch(&error))?;
    let items = batch
        .notifications
        .filter(|items| !items.is_empty())
        .ok_or_else(|| Problem::new(ErrorCode::MISSING_FIELDS, "Missing required fields: notifications"))?;
    if items.len() > MAX_BATCH {
        let message = format!("has {} items; a batch takes at most {MAX_BATCH}", items.len());
        return Err(Problem::field(ErrorCode::INVALID_FIELD, "notifications", message));
    }
    Ok(items.into_iter().map(|item| parse_text(item.get())).collect())
}

/// Checks that a body is UTF-8 and within the limits of depth and size, before it is parsed.
fn checked_text(body: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Problem::new(ErrorCode::INVALID_JSON, format!("The body is not UTF-8: invalid at byte {}", error.valid_up_to()))
    })?;
    check_shape(text)?;
    Ok(text)
}

/// Counts depth and members in one pass over the bytes; syntax is left to the parser.
fn check_shape(text: &str) -> Result<(), Problem> {
    let (mut depth, mut members) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            (in_string, escaped) = match byte {
                _ if escaped => (true, false),
                b'\\' => (true, true),
                b'"' => (false, false),
                _ => (true, false),
            };
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' => members += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Problem::new(
                ErrorCode::JSON_TOO_COMPLEX,
                format!("The body nests deeper than {MAX_DEPTH} levels"),
            ));
        }
    }
    // A member of an object counts twice, for its colon and its comma; items of a batch bring about twenty each.
    if members > 2 * MAX_MEMBERS + 64 * MAX_BATCH {
        return Err(Problem::new(ErrorCode::JSON_TOO_COMPLEX, "The body has too many keys"));
    }
    Ok(())
}

fn require_object(text: &str) -> Result<(), Problem> {
    match text.trim_start().bytes().next() {
        Some(b'{') => Ok(()),
        None => Err(Problem::new(ErrorCode::INVALID_JSON, "The body is empty; send a JSON object")),
        Some(_) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Err(Problem::new(ErrorCode::INVALID_FIELD, "The body must be a JSON object")),
            Err(error) => Err(malformed(&error)),
        },
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(ErrorCode::INVALID_JSON, format!("The body is not valid JSON: {error}"))
}

/// The list is the only field that is looked at, so it is the one that does not fit.
fn not_a_batch(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        return Problem::field(ErrorCode::INVALID_FIELD, "notifications", "must be a list, and be given once");
    }
    malformed(error)
}

/// The error of a text that is not JSON in full, with its position in the whole of it: what is wrong in the middle of a
/// payload was found by looking at the payload alone.
fn located(text: &str) -> Option<serde_json::Error> {
    serde_json::from_str::<Value>(text).err()
}

fn parse_text(text: &str) -> Result<Draft, Problem> {
    require_object(text)?;
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    let (Some(target_user), Some(channel), Some(payload)) =
        (present(fields.target_user_id), present(fields.channel), present(fields.payload))
    else {
        return Err(Problem::new(ErrorCode::MISSING_FIELDS, REQUIRED));
    };
    let payload_map: Map<String, Value> = object(payload).map_err(|why| match why {
        NotAnObject::Other => Problem::new(ErrorCode::PAYLOAD_NOT_OBJECT, "Payload must be a JSON object"),
        NotAnObject::Malformed(error) => malformed(&located(text).unwrap_or(error)),
    })?;
    count_members(&payload_map)?;
    let mut errors = Vec::new();
    let draft = Draft {
        target_user: UserId(read(&mut errors, "targetUserId", Some(target_user), user_id).unwrap_or_default()),
        channel: read(&mut errors, "type", Some(channel), channel_name).unwrap_or_default(),
        payload: payload_map,
        payload_text: payload.get().to_owned(),
        category: read(&mut errors, "category", fields.category, category)
            .unwrap_or_else(|| DEFAULT_CATEGORY.to_owned()),
        priority: read(&mut errors, "priority", fields.priority, priority).unwrap_or_default(),
        send_at: read(&mut errors, "sendAt", fields.send_at, instant),
        expiry: expiry(&mut errors, fields.expires_at, fields.ttl_seconds),
        key: read(&mut errors, "idempotencyKey", fields.idempotency_key, key),
        metadata: read(&mut errors, "metadata", fields.metadata, metadata),
        fingerprint: Fingerprint::of(text.as_bytes()),
    };
    if errors.is_empty() { Ok(draft) } else { Err(Problem::fields(ErrorCode::INVALID_FIELD, errors)) }
}

/// The seed's notion of a missing field: absent, or falsy in JavaScript.
fn present(field: Option<&RawValue>) -> Option<&RawValue> {
    field.filter(|value| !matches!(value.get(), "null" | "\"\"" | "false" | "0"))
}

enum NotAnObject {
    Other,
    Malformed(serde_json::Error),
}

fn object(value: &RawValue) -> Result<Map<String, Value>, NotAnObject> {
    if !value.get().starts_with('{') {
        return Err(NotAnObject::Other);
    }
    serde_json::from_str(value.get()).map_err(NotAnObject::Malformed)
}

fn count_members(payload: &Map<String, Value>) -> Result<(), Problem> {
    fn members(value: &Value) -> usize {
        match value {
            Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
            Value::Array(items) => items.len() + items.iter().map(members).sum::<usize>(),
            _ => 0,
        }
    }
    if payload.len() + payload.values().map(members).sum::<usize>() > MAX_MEMBERS {
        return Err(Problem::new(
            ErrorCode::JSON_TOO_COMPLEX,
            format!("The payload has more than {MAX_MEMBERS} keys and items"),
        ));
    }
    Ok(())
}

/// Reads one field, or notes what is wrong with it.
fn read<T>(
    errors: &mut Vec<FieldError>,
    name: &str,
    field: Option<&RawValue>,
    parse: impl FnOnce(&RawValue) -> Result<T, String>,
) -> Option<T> {
    let value = field.filter(|value| value.get() != "null")?;
    parse(value).map_err(|message| errors.push(FieldError::new(name, message))).ok()
}

fn string(value: &RawValue) -> Result<String, String> {
    serde_json::from_str(value.get()).map_err(|_not_a_string| "must be a string".to_owned())
}

fn user_id(value: &RawValue) -> Result<Uuid, String> {
    let text = string(value).map_err(|_not_a_string| "must be a UUID in a string".to_owned())?;
    Uuid::try_parse(&text).map_err(|_not_a_uuid| "must be a UUID".to_owned())
}

fn channel_name(value: &RawValue) -> Result<String, String> {
    string(value).and_then(
        |text| {
            if text.len() <= 50 { Ok(text) } else { Err("must have at most 50 characters".to_owned()) }
        },
    )
}

fn category(value: &RawValue) -> Result<String, String> {
    let text = string(value)?;
    if text == SYSTEM_CATEGORY {
        return Err("is reserved".to_owned());
    }
    if is_word(&text) { Ok(text) } else { Err("must be 1 to 64 letters, digits, - or _".to_owned()) }
}

fn priority(value: &RawValue) -> Result<Priority, String> {
    let text = string(value).unwrap_or_default();
    text.parse().map_err(|()| "must be one of: critical, high, normal, low".to_owned())
}

fn instant(value: &RawValue) -> Result<Timestamp, String> {
    Timestamp::parse(&string(value)?).map_err(|error| format!("is {error}"))
}

fn expiry(errors: &mut Vec<FieldError>, at: Option<&RawValue>, ttl: Option<&RawValue>) -> Option<Expiry> {
    let at = read(errors, "expiresAt", at, instant);
    let ttl = read(errors, "ttlSeconds", ttl, ttl_seconds);
    if at.is_some() && ttl.is_some() {
        errors.push(FieldError::new("ttlSeconds", "cannot stand beside expiresAt; send one of them"));
    }
    at.map(Expiry::At).or_else(|| ttl.map(Expiry::After))
}

fn ttl_seconds(value: &RawValue) -> Result<Duration, String> {
    let seconds: Option<u64> = serde_json::from_str(value.get()).ok();
    seconds
        .filter(|seconds| (1..=MAX_TTL_SECONDS).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("must be a whole number from 1 to {MAX_TTL_SECONDS}"))
}

fn key(value: &RawValue) -> Result<IdempotencyKey, String> {
    IdempotencyKey::new(&string(value)?).map_err(|problem| problem.message)
}

fn metadata(value: &RawValue) -> Result<String, String> {
    match object(value) {
        Ok(_) => Ok(value.get().to_owned()),
        Err(NotAnObject::Other) => Err("must be a JSON object".to_owned()),
        Err(NotAnObject::Malformed(error)) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
