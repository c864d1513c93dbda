//! The `Idempotency-Key` header.

use std::future::{Future, ready};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use tidings_core::error::{ErrorCode, Problem};
use tidings_core::idempotency::IdempotencyKey;

use crate::error::Failure;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The key of the header, if there is one.
#[derive(Debug)]
pub(crate) struct KeyHeader(pub(crate) Option<IdempotencyKey>);

/// The promise that there is no such header, where it could not be kept for each item.
#[derive(Debug)]
pub(crate) struct NoKeyHeader;

impl<S> FromRequestParts<S> for KeyHeader {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Failure>> + Send {
        ready(key(&parts.headers).map(Self).map_err(Failure::from))
    }
}

impl<S> FromRequestParts<S> for NoKeyHeader {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Failure>> + Send {
        ready(if parts.headers.contains_key(IDEMPOTENCY_KEY) {
            Err(Failure(Problem::new(
                ErrorCode::INVALID_IDEMPOTENCY_KEY,
                "A batch takes an `idempotencyKey` in each item, not one key in the header",
            )))
        } else {
            Ok(Self)
        })
    }
}

pub(crate) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => IdempotencyKey::from_header(only.as_bytes()).map(Some),
        (Some(_), Some(_)) => {
            Err(Problem::new(ErrorCode::INVALID_IDEMPOTENCY_KEY, "The header Idempotency-Key appears more than once"))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<IdempotencyKey>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static(value));
        }
        key(&headers)
    }

    #[test]
    fn one_key_is_taken_quoted_or_bare() {
        assert_eq!(read(&[]), Ok(None));
        let bare = read(&["order-17"]).unwrap();
        assert!(bare.is_some());
        assert_eq!(read(&["\"order-17\""]).unwrap(), bare);
    }

    #[test]
    fn two_keys_are_refused_even_when_equal() {
        for values in [["a", "b"], ["a", "a"]] {
            assert_eq!(read(&values).unwrap_err().code, ErrorCode::INVALID_IDEMPOTENCY_KEY);
        }
        assert!(read(&[""]).is_err());
    }
}
