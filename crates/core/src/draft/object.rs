//! The bodies of all other requests: an object of known fields, and what is wrong with it, field by field.

use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::{checked_text, malformed, require_object};
use crate::error::{ErrorCode, FieldError, Problem};

/// The longest name of a field that is given back.
const MAX_NAME_CHARS: usize = 100;

/// Reads a JSON object of an administrative request into `T`, with the limits of every other body.
pub fn parse_object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let text = checked_text(body)?;
    require_object(text)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| complaint(text, error.path(), error.inner()))?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// What to tell about an error of the library, which speaks to programmers.
fn complaint(text: &str, path: &Path, error: &serde_json::Error) -> Problem {
    // The library takes a value of the wrong type for broken JSON where a word from a list is wanted.
    if !error.is_data() && serde_json::from_str::<Value>(text).is_err() {
        return malformed(error);
    }
    let full = error.to_string();
    let said = full.rsplit_once(" at line ").map_or(full.as_str(), |(said, _place)| said);
    let place = name(path);
    if let Some(field) = named(said, "missing field `", &place) {
        let message = format!("Missing required fields: {field}");
        let errors = vec![FieldError::new(field, "is required")];
        return Problem { errors, ..Problem::new(ErrorCode::MISSING_FIELDS, message) };
    }
    if let Some(field) = named(said, "duplicate field `", &place) {
        return Problem::field(ErrorCode::INVALID_FIELD, field, "is given more than once");
    }
    let message = explain(said);
    if place.is_empty() {
        return Problem::new(ErrorCode::INVALID_FIELD, format!("The body {message}"));
    }
    Problem::field(ErrorCode::INVALID_FIELD, place, message)
}

/// The field that the library names in its words, where it looked at the object as a whole.
fn named(said: &str, beginning: &str, place: &str) -> Option<String> {
    let field = said.strip_prefix(beginning)?.strip_suffix('`')?;
    Some(if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") })
}

/// The path of a field as `numbers[3]` or `payload.to`.
fn name(path: &Path) -> String {
    let mut name = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } => {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(key);
            }
            Segment::Seq { index } => name.extend(["[", &index.to_string(), "]"]),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    name.chars().take(MAX_NAME_CHARS).collect()
}

/// What is wrong with a field, without the value that it has: that may be a secret.
fn explain(said: &str) -> String {
    let expected = said.rsplit_once(", expected ").map(|(_found, expected)| expected);
    match expected {
        Some(known) if said.starts_with("unknown field") => {
            format!("is not known here; known are: {}", known.trim_start_matches("one of ").replace('`', ""))
        }
        Some(words) if said.starts_with("unknown variant") => {
            format!("must be one of: {}", words.trim_start_matches("one of ").replace('`', "").replace(" or ", ", "))
        }
        Some(expected) => format!("must be {}", in_words(expected)),
        None if said.starts_with("UUID parsing failed") => "must be a UUID in a string".to_owned(),
        None if said.starts_with("not ") => format!("is {said}"),
        None => "has the wrong type or a value out of range".to_owned(),
    }
}

/// What the library expects, in the words of those who send it.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if expected.starts_with("struct ") => "an object",
        _ if expected.contains("UUID") => "a UUID in a string",
        _ => expected,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::time::Timestamp;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
        Green,
        Blue,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only what is wrong with it is looked at")]
    struct Thing {
        user_name: String,
        count: Option<u32>,
        change: Option<i64>,
        sure: Option<bool>,
        id: Option<Uuid>,
        at: Option<Timestamp>,
        colour: Option<Colour>,
        numbers: Option<Vec<u64>>,
        named: Option<BTreeMap<String, bool>>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only what is wrong with it is looked at")]
    struct Inner {
        to: String,
    }

    fn complaint_about(body: &str) -> (ErrorCode, String, String) {
        let problem = parse_object::<Thing>(body.as_bytes()).unwrap_err();
        let error = problem.errors.first().cloned().unwrap_or_else(|| FieldError::new("", problem.message.as_str()));
        (problem.code, error.field, error.message)
    }

    #[test]
    fn a_good_object_is_read() {
        let thing: Thing = parse_object(br#"{"userName":"ada","colour":"green","numbers":[1,2]}"#).unwrap();
        assert_eq!((thing.user_name.as_str(), thing.numbers), ("ada", Some(vec![1, 2])));
    }

    #[test]
    fn the_field_at_fault_is_named_in_words_for_its_sender() {
        for (rest, field, message) in [
            (
                r#""colours":1"#,
                "colours",
                "is not known here; known are: userName, count, change, sure, id, at, colour, numbers, named, inner",
            ),
            (r#""userName":"eve""#, "userName", "is given more than once"),
            (r#""count":"5""#, "count", "must be a whole number that is not negative"),
            (r#""count":-1"#, "count", "must be a whole number that is not negative"),
            (r#""change":1.5"#, "change", "must be a whole number"),
            (r#""sure":"yes""#, "sure", "must be true or false"),
            (r#""id":"7""#, "id", "must be a UUID in a string"),
            (r#""id":7"#, "id", "must be a UUID in a string"),
            (r#""at":"tomorrow""#, "at", "is not an RFC 3339 time such as 2026-01-31T09:30:00Z"),
            (r#""at":7"#, "at", "must be a string"),
            (r#""colour":"pink""#, "colour", "must be one of: red, green, blue"),
            (r#""colour":7"#, "colour", "has the wrong type or a value out of range"),
            (r#""numbers":7"#, "numbers", "must be a list"),
            (r#""numbers":[1,2,"x"]"#, "numbers[2]", "must be a whole number that is not negative"),
            (r#""named":{"a":true,"b":1}"#, "named.b", "must be true or false"),
            (r#""inner":{"to":1}"#, "inner.to", "must be a string"),
        ] {
            let body = format!(r#"{{"userName":"ada",{rest}}}"#);
            let expected = (ErrorCode::INVALID_FIELD, field.to_owned(), message.to_owned());
            assert_eq!(complaint_about(&body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let problem = parse_object::<Thing>(b"{}").unwrap_err();
        assert_eq!(problem.code, ErrorCode::MISSING_FIELDS);
        assert_eq!(problem.message, "Missing required fields: userName");
        assert_eq!(problem.errors, [FieldError::new("userName", "is required")]);
        let (code, field, _) = complaint_about(r#"{"userName":"ada","inner":{}}"#);
        assert_eq!((code, field.as_str()), (ErrorCode::MISSING_FIELDS, "inner.to"));
    }

    #[test]
    fn a_value_is_not_given_back() {
        for body in [r#"{"userName":"ada","count":"hunter2, expected u64"}"#, r#"{"userName":"ada","id":"hunter2"}"#] {
            assert!(!complaint_about(body).2.contains("hunter2"), "{body}");
        }
    }

    #[test]
    fn broken_json_stays_broken_json() {
        for body in [r#"{"userName":"ada""#, r#"{"userName":}"#, r#"{"userName":"ada"} {}"#, r#"{"colour":re}"#] {
            let problem = parse_object::<Thing>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code, ErrorCode::INVALID_JSON, "{body}");
        }
    }
}
