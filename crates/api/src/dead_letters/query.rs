//! Which dead letters: the filters of the list and of the bulk redrive.

use std::future::{Future, ready};

use axum::extract::FromRequestParts;
use http::Uri;
use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use tidings_core::error::{ErrorCode, Problem};
use tidings_core::id::UserId;
use tidings_core::ports::dead_letters::{DeadLetterQuery, ReviewStatus};
use tidings_core::services::redrive::MAX_BULK;
use tidings_core::time::Timestamp;

use crate::cursor;
use crate::error::Failure;
use crate::query::Params;

const ALLOWED: [&str; 9] = ["userId", "type", "category", "reviewStatus", "error", "from", "until", "cursor", "limit"];

/// The query string of `GET /api/dead-letters`.
#[derive(Debug)]
pub(crate) struct DeadLetterFilter(pub(crate) DeadLetterQuery);

impl<S> FromRequestParts<S> for DeadLetterFilter {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Failure>> + Send {
        ready(read(&parts.uri).map(Self).map_err(Failure::from))
    }
}

pub(crate) fn read(uri: &Uri) -> Result<DeadLetterQuery, Problem> {
    let mut params = Params::read(uri, &ALLOWED);
    let query = DeadLetterQuery {
        user: params.user("userId"),
        channel: params.text("type").map(str::to_owned),
        category: params.text("category").map(str::to_owned),
        review_status: params.parsed("reviewStatus", "one of: pending, reviewing, redriven, discarded", |text| {
            ReviewStatus::ALL.into_iter().find(|status| status.as_str() == text)
        }),
        error_contains: params.text("error").map(str::to_owned),
        from: params.instant("from"),
        until: params.instant("until"),
        before: params.text("cursor").map(cursor::decode).transpose()?,
        limit: params.limit(),
    };
    params.finish()?;
    Ok(query)
}

/// Which dead letters to send anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BulkRequest {
    /// That were for this user.
    #[schema(value_type = Option<String>, format = Uuid)]
    user_id: Option<Uuid>,
    /// On this channel.
    #[serde(rename = "type")]
    channel: Option<String>,
    /// In this category.
    category: Option<String>,
    /// `pending` or `reviewing`; `pending` unless given.
    #[schema(value_type = Option<String>)]
    review_status: Option<ReviewStatus>,
    /// Whose error contains this text.
    error: Option<String>,
    /// Died at or after this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Died before this instant.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The `nextCursor` of the call before.
    cursor: Option<String>,
    /// At most this many, up to 1,000; 1,000 unless given.
    limit: Option<usize>,
}

impl BulkRequest {
    /// The query it stands for.
    pub(crate) fn into_query(self) -> Result<DeadLetterQuery, Problem> {
        let limit = self.limit.unwrap_or(MAX_BULK);
        if !(1..=MAX_BULK).contains(&limit) {
            let message = format!("must be a whole number from 1 to {MAX_BULK}");
            return Err(Problem::field(ErrorCode::INVALID_FIELD, "limit", message));
        }
        Ok(DeadLetterQuery {
            user: self.user_id.map(UserId),
            channel: self.channel,
            category: self.category,
            review_status: Some(self.review_status.unwrap_or_default()),
            error_contains: self.error,
            from: self.from,
            until: self.until,
            before: self.cursor.as_deref().map(cursor::decode).transpose()?,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::draft::parse_object;

    use super::*;

    fn bulk(body: &str) -> Result<DeadLetterQuery, Problem> {
        parse_object::<BulkRequest>(body.as_bytes())?.into_query()
    }

    #[test]
    fn the_list_is_filtered() {
        let uri: Uri = "/api/dead-letters?reviewStatus=reviewing&error=timed%20out&limit=3".parse().unwrap();
        let query = read(&uri).unwrap();
        assert_eq!(query.review_status, Some(ReviewStatus::Reviewing));
        assert_eq!((query.error_contains.as_deref(), query.limit), (Some("timed out"), 3));
        let unknown: Uri = "/api/dead-letters?status=pending".parse().unwrap();
        assert_eq!(read(&unknown).unwrap_err().code, ErrorCode::INVALID_FIELD);
    }

    #[test]
    fn a_bulk_redrive_takes_what_is_pending_unless_told_otherwise() {
        let query = bulk("{}").unwrap();
        assert_eq!((query.review_status, query.limit), (Some(ReviewStatus::Pending), MAX_BULK));
        assert_eq!(bulk(r#"{"type":"sms"}"#).unwrap().channel.as_deref(), Some("sms"));
    }

    #[test]
    fn a_bulk_redrive_refuses_what_it_does_not_know() {
        for body in [r#"{"status":"pending"}"#, r#"{"limit":0}"#, r#"{"limit":1001}"#, r#"{"from":"yesterday"}"#] {
            assert_eq!(bulk(body).unwrap_err().code, ErrorCode::INVALID_FIELD, "{body}");
        }
        assert_eq!(bulk(r#"{"cursor":"x"}"#).unwrap_err().code, ErrorCode::INVALID_CURSOR);
    }
}
