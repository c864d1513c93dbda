//! The headers that a payload may add to its webhook.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::payload::{Fields, Payload};

/// How many there may be.
const MAX_COUNT: usize = 20;

/// How many bytes names and values may have together.
const MAX_BYTES: usize = 4096;

/// Headers that belong to the connection, to the body, to the signature or to tracing.
const RESERVED: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-correlation-id",
];

/// Reserved whatever follows.
const RESERVED_PREFIXES: [&str; 2] = ["webhook-", "proxy-"];

/// Reads `payload.headers`.
pub(super) fn read(fields: &mut Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(members) = fields.object("headers") else { return headers };
    if let Some(complaint) = too_much(members) {
        fields.complain("headers", complaint);
        return headers;
    }
    for (name, value) in members {
        match header(name, value.as_str()) {
            Ok((name, value)) => {
                headers.insert(name, value);
            }
            Err(complaint) => fields.complain(&path(name), complaint),
        }
    }
    headers
}

fn too_much(members: &Payload) -> Option<String> {
    if members.len() > MAX_COUNT {
        return Some(format!("has {} headers; at most {MAX_COUNT} are allowed", members.len()));
    }
    let bytes: usize = members.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    (bytes > MAX_BYTES).then(|| format!("has {bytes} bytes; at most {MAX_BYTES} are allowed"))
}

fn header(name: &str, value: Option<&str>) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_invalid| "is not the name of a header")?;
    if RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix)) {
        return Err("is reserved and cannot be set");
    }
    let value = value.ok_or("must be a string")?;
    match HeaderValue::from_str(value) {
        Ok(header) if value.is_ascii() => Ok((name, header)),
        _ => Err("must have visible ASCII characters, spaces and tabs only"),
    }
}

/// The path of a header in the payload; an impossible name is not repeated.
fn path(name: &str) -> String {
    if HeaderName::from_bytes(name.as_bytes()).is_ok() { format!("headers.{name}") } else { "headers".to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tidings_core::error::Problem;

    use super::*;

    fn headers(value: Value) -> Result<HeaderMap, Problem> {
        let payload = json!({"headers": value}).as_object().cloned().unwrap();
        let mut fields = Fields::of(&payload);
        let headers = read(&mut fields);
        fields.finish(Some(headers))
    }

    #[test]
    fn harmless_headers_pass() {
        let read = headers(json!({"X-Team": "orders", "Authorization": "Bearer abc", "accept": "*/*"})).unwrap();
        assert_eq!(
            (read.len(), &read["x-team"], &read["authorization"]),
            (3, &HeaderValue::from_static("orders"), &HeaderValue::from_static("Bearer abc"))
        );
    }

    #[test]
    fn reserved_names_are_refused_however_they_are_written() {
        for name in [
            "host",
            "Host",
            "CONTENT-LENGTH",
            "content-type",
            "Transfer-Encoding",
            "connection",
            "webhook-id",
            "Webhook-Signature",
            "webhook-anything",
            "proxy-authorization",
            "traceparent",
        ] {
            let problem = headers(json!({(name): "x"})).unwrap_err();
            assert_eq!(problem.message, format!("payload.headers.{name}: is reserved and cannot be set"));
        }
    }

    #[test]
    fn nothing_can_be_smuggled_in() {
        for value in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\u{2028}", "ä", "\u{7f}"] {
            assert!(headers(json!({"X-Name": value})).is_err(), "{value:?}");
        }
        for name in ["", "a b", "a:b", "a\r\nb", "a\0", "ä", "a\nhost"] {
            let problem = headers(json!({(name): "x"})).unwrap_err();
            assert_eq!(problem.message, "payload.headers: is not the name of a header", "{name:?}");
        }
        assert!(headers(json!({"X-Name": 1})).is_err());
        assert!(headers(json!(["X-Name"])).is_err());
    }

    #[test]
    fn there_are_limits() {
        let many = |count: usize| (0..count).map(|n| (format!("x-{n}"), json!("v"))).collect::<Payload>();
        assert!(headers(Value::Object(many(20))).is_ok());
        assert!(headers(Value::Object(many(21))).is_err());
        assert!(headers(json!({"x-big": "v".repeat(4096 - 5)})).is_ok());
        assert!(headers(json!({"x-big": "v".repeat(4096 - 4)})).is_err());
    }

    proptest! {
        #[test]
        fn what_passes_is_one_clean_line(name in any::<String>(), value in any::<String>()) {
            let mut members = Payload::new();
            members.insert(name, Value::String(value));
            if let Ok(read) = headers(Value::Object(members)) {
                for (name, value) in &read {
                    prop_assert!(!name.as_str().starts_with("webhook-"));
                    prop_assert!(value.as_bytes().iter().all(|byte| *byte == b'\t' || (0x20..0x7f).contains(byte)));
                }
            }
        }
    }
}
