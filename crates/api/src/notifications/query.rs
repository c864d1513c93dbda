//! The filters of the list of notifications.

use std::future::{Future, ready};

use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;

use tidings_core::delivery::Status;
use tidings_core::error::Problem;
use tidings_core::ports::history::Query;

use crate::cursor;
use crate::error::Failure;
use crate::query::Params;

const ALLOWED: [&str; 8] = ["userId", "type", "status", "category", "from", "until", "cursor", "limit"];

/// The query string of `GET /api/notifications`.
#[derive(Debug)]
pub(crate) struct NotificationQuery(pub(crate) Query);

impl<S> FromRequestParts<S> for NotificationQuery {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Failure>> + Send {
        ready(read(&parts.uri).map(Self).map_err(Failure::from))
    }
}

pub(crate) fn read(uri: &Uri) -> Result<Query, Problem> {
    let mut params = Params::read(uri, &ALLOWED);
    let query = Query {
        user: params.user("userId"),
        channel: params.text("type").map(str::to_owned),
        category: params.text("category").map(str::to_owned),
        status: params.parsed("status", "one of: pending, processed, failed", status),
        from: params.instant("from"),
        until: params.instant("until"),
        before: params.text("cursor").map(cursor::decode).transpose()?,
        limit: params.limit(),
    };
    params.finish()?;
    Ok(query)
}

fn status(text: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|status| status.as_str() == text)
}

#[cfg(test)]
mod tests {
    use tidings_core::error::ErrorCode;
    use tidings_core::id::MessageId;

    use super::*;

    fn query(text: &str) -> Result<Query, Problem> {
        read(&format!("/api/notifications?{text}").parse().unwrap())
    }

    #[test]
    fn filters_are_read() {
        let id = MessageId::from_integer(17).unwrap();
        let text = format!("type=email&status=failed&category=otp&limit=5&cursor={}", cursor::encode(id));
        let query = query(&text).unwrap();
        assert_eq!((query.channel.as_deref(), query.category.as_deref()), (Some("email"), Some("otp")));
        assert_eq!((query.status, query.before, query.limit), (Some(Status::Failed), Some(id), 5));
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        assert_eq!(query("status=done").unwrap_err().code, ErrorCode::INVALID_FIELD);
        assert_eq!(query("cursor=1").unwrap_err().code, ErrorCode::INVALID_CURSOR);
        assert_eq!(query("Type=email").unwrap_err().code, ErrorCode::INVALID_FIELD);
    }
}
