//! Idempotency keys: the second request with the same key gets the answer of the first.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::error::{ErrorCode, Problem};
use crate::id::TenantId;
use crate::time::Timestamp;

/// The longest key that is taken, in characters.
pub const MAX_KEY_CHARS: usize = 255;

/// How long a key is kept unless configured otherwise (24 hours).
pub const DEFAULT_TTL: Duration = Duration::from_hours(24);

/// 128 bits of SHA-256: enough that nobody finds two texts with the same fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of a request body.
    pub fn of(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
            *to = *from;
        }
        Self(short)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// What is remembered of a request that carried a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The fingerprint of tenant and key.
    pub key: Fingerprint,
    /// The fingerprint of the body.
    pub body: Fingerprint,
    /// When the key may be forgotten.
    pub expires_at: Timestamp,
}

/// A valid idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads the value of an `Idempotency-Key` header: an RFC 8941 string in quotes, or the bare key as most clients send it.
    pub fn from_header(value: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(value).map_err(|_not_text| invalid("it is not UTF-8"))?.trim();
        match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => Self::new(&unescape(quoted)?),
            None => Self::new(text),
        }
    }

    /// Checks a key.
    pub fn new(key: &str) -> Result<Self, Problem> {
        if key.trim().is_empty() {
            return Err(invalid("it is empty"));
        }
        if key.chars().count() > MAX_KEY_CHARS {
            return Err(invalid("it has more than 255 characters"));
        }
        if key.chars().any(char::is_control) {
            return Err(invalid("it contains control characters"));
        }
        Ok(Self(key.to_owned()))
    }

    /// The fingerprint under which the key of `tenant` is stored.
    pub fn fingerprint(&self, tenant: TenantId) -> Fingerprint {
        let mut bytes = tenant.as_integer().to_be_bytes().to_vec();
        bytes.extend_from_slice(self.0.as_bytes());
        Fingerprint::of(&bytes)
    }
}

fn invalid(why: &str) -> Problem {
    Problem::new(ErrorCode::INVALID_IDEMPOTENCY_KEY, format!("The idempotency key is not usable: {why}"))
}

/// Undoes the two escapes of an RFC 8941 string, `\"` and `\\`.
fn unescape(quoted: &str) -> Result<String, Problem> {
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                _ => return Err(invalid("a backslash in quotes escapes only \" and \\")),
            },
            '"' => return Err(invalid("a quote inside quotes needs a backslash")),
            other => text.push(other),
        }
    }
    Ok(text)
}

/// How long a key lives: as configured, but never shorter than the longest time a notification can still be retried.
pub fn ttl(configured: Duration, longest_retry_window: Duration) -> Duration {
    configured.max(longest_retry_window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_bare_keys_are_the_same_key() {
        let bare = IdempotencyKey::from_header(b"order-17").unwrap();
        assert_eq!(IdempotencyKey::from_header(b"\"order-17\"").unwrap(), bare);
        assert_eq!(IdempotencyKey::from_header(br#""a\"b""#).unwrap(), IdempotencyKey::new("a\"b").unwrap());
    }

    #[test]
    fn unusable_keys_are_refused() {
        let long = "k".repeat(256);
        for key in ["", "  ", "\"\"", "a\u{7}b", "\"a\\nb\"", "\"a\"b\"", long.as_str()] {
            let problem = IdempotencyKey::from_header(key.as_bytes()).unwrap_err();
            assert_eq!(problem.code, ErrorCode::INVALID_IDEMPOTENCY_KEY, "{key:?}");
        }
    }

    #[test]
    fn tenants_do_not_share_keys() {
        let key = IdempotencyKey::new("k").unwrap();
        assert_ne!(key.fingerprint(TenantId::DEFAULT), key.fingerprint(TenantId::from_integer(2)));
    }

    #[test]
    fn a_key_outlives_the_retries() {
        let day = Duration::from_hours(24);
        assert_eq!(ttl(day, Duration::from_secs(72)), day);
        assert_eq!(ttl(day, Duration::from_hours(75)), Duration::from_hours(75));
    }
}
