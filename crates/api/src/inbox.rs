//! The inbox of a user: a numbered list without gaps, and receipts.

use std::future::{Future, ready};
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use http::Uri;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use tidings_core::access::Caller;
use tidings_core::draft::parse_object;
use tidings_core::error::{ErrorCode, Problem};
use tidings_core::id::{MessageId, UserId};
use tidings_core::ports::streams::{InboxEntry, InboxHead, InboxPage, InboxRange, Receipt, ReceiptFor};
use tidings_core::time::Timestamp;

use crate::api::Api;
use crate::body::JsonText;
use crate::caller::Authenticated;
use crate::error::{Failure, forbidden};
use crate::path::UserPath;
use crate::query::Params;
use crate::wire::raw_json;

/// How many entries one receipt can name.
const MAX_NUMBERS: usize = 1000;

/// The greatest number that an entry can have.
const LAST_NUMBER: u64 = i64::MAX.unsigned_abs();

/// A page of an inbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboxView {
    items: Vec<InboxItem>,
    /// The number of the last entry; 0 when there was none.
    last: u64,
    /// How many entries are not read.
    unread: u64,
    /// Pass it as the `after` or `before` that was used, for the next page; null at the end.
    next_cursor: Option<u64>,
}

/// An entry of an inbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboxItem {
    /// 1, 2, 3 and so on, without a gap.
    number: u64,
    #[schema(value_type = String, format = Uuid)]
    message_id: MessageId,
    category: String,
    #[schema(value_type = Object)]
    payload: Option<Box<RawValue>>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When a device acknowledged it.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
}

/// The state of an inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnreadView {
    /// How many entries are not read.
    unread: u64,
    /// The number of the last entry; 0 when there was none.
    last: u64,
}

/// What a user or a device acknowledges: all entries up to a number, or some.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReceiptRequest {
    /// `delivered` or `read`.
    #[schema(value_type = String)]
    receipt: Receipt,
    /// All entries up to this number.
    up_to: Option<u64>,
    /// These entries.
    numbers: Option<Vec<u64>>,
}

/// Which entries to read, and how many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InboxQuery {
    range: InboxRange,
    limit: usize,
}

/// Read an inbox.
///
/// Newest first; with `after` upwards from there, which is what a reader has missed. Another user's inbox needs the scope
/// `read:any` or `admin`.
#[utoipa::path(
    get,
    path = "/api/users/{userId}/inbox",
    tag = "inbox",
    params(
        ("userId" = String, Path, description = "Whose inbox"),
        ("after" = Option<u64>, Query, description = "Entries after this number, upwards"),
        ("before" = Option<u64>, Query, description = "Entries before this number, downwards"),
        ("limit" = Option<u32>, Query, description = "1 to 200 entries; 50 unless given")
    ),
    responses((status = 200, description = "A page", body = InboxView))
)]
pub(crate) async fn read_inbox(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    UserPath(user): UserPath,
    query: InboxQuery,
) -> Result<Json<InboxView>, Failure> {
    api.services.users.read(&caller, user).await?;
    let streams = &api.services.streams;
    let page = streams.read_inbox(caller.tenant, user, query.range, query.limit).await?;
    Ok(Json(InboxView::new(page, &query)))
}

/// How many entries are not read.
#[utoipa::path(
    get,
    path = "/api/users/{userId}/inbox/unread",
    tag = "inbox",
    params(("userId" = String, Path, description = "Whose inbox")),
    responses((status = 200, description = "The state of the inbox", body = UnreadView))
)]
pub(crate) async fn count_unread(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    UserPath(user): UserPath,
) -> Result<Json<UnreadView>, Failure> {
    api.services.users.read(&caller, user).await?;
    let newest = InboxRange::Before(LAST_NUMBER);
    let page = api.services.streams.read_inbox(caller.tenant, user, newest, 1).await?;
    Ok(Json(UnreadView::from(page.head)))
}

/// Mark entries as delivered or read.
///
/// Repeating a receipt changes nothing: the first time counts. `read` implies `delivered`.
#[utoipa::path(
    post,
    path = "/api/users/{userId}/inbox/receipts",
    tag = "inbox",
    params(("userId" = String, Path, description = "Whose inbox")),
    request_body(content = ReceiptRequest, example = json!({"receipt": "read", "upTo": 17})),
    responses((status = 200, description = "The state of the inbox afterwards", body = UnreadView))
)]
pub(crate) async fn acknowledge_inbox(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    UserPath(user): UserPath,
    JsonText(body): JsonText,
) -> Result<Json<UnreadView>, Failure> {
    api.services.users.read(&caller, user).await?;
    require_own(&caller, user)?;
    let request: ReceiptRequest = parse_object(&body)?;
    let (receipt, of) = (request.receipt, request.into_selection()?);
    let streams = &api.services.streams;
    let head = streams.acknowledge(caller.tenant, user, receipt, of, api.now()).await?;
    Ok(Json(UnreadView::from(head)))
}

fn require_own(caller: &Caller, user: UserId) -> Result<(), Failure> {
    if caller.may_change(Some(user)) {
        return Ok(());
    }
    Err(forbidden("Receipts for another user need a token with the scope `admin`"))
}

impl<S> FromRequestParts<S> for InboxQuery {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Failure>> + Send {
        ready(Self::read(&parts.uri).map_err(Failure::from))
    }
}

impl InboxQuery {
    pub(crate) fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut params = Params::read(uri, &["after", "before", "limit"]);
        let (after, before) = (params.number("after"), params.number("before"));
        if after.is_some() && before.is_some() {
            params.complain("before", "cannot stand beside after; send one of them");
        }
        let limit = params.limit();
        params.finish()?;
        let range = match after {
            Some(number) => InboxRange::After(number),
            None => InboxRange::Before(before.unwrap_or(LAST_NUMBER)),
        };
        Ok(Self { range, limit })
    }

    /// Where the page after one that ended with this number starts, if there is one.
    fn next(&self, length: usize, ended_with: u64, last: u64) -> Option<u64> {
        let more_follow = match self.range {
            InboxRange::After(_) => ended_with < last,
            InboxRange::Before(_) => ended_with > 1,
        };
        (length >= self.limit && more_follow).then_some(ended_with)
    }
}

impl ReceiptRequest {
    pub(crate) fn into_selection(self) -> Result<ReceiptFor, Problem> {
        let refuse = |field: &str, message: &str| Err(Problem::field(ErrorCode::INVALID_FIELD, field, message));
        match (self.up_to, self.numbers) {
            (Some(number), None) if number <= LAST_NUMBER => Ok(ReceiptFor::UpTo(number)),
            (Some(_), None) => refuse("upTo", "is greater than any entry has"),
            (None, Some(numbers)) if numbers.len() > MAX_NUMBERS => refuse("numbers", "has more than 1000 items"),
            (None, Some(numbers)) if numbers.iter().any(|number| *number > LAST_NUMBER) => {
                refuse("numbers", "has one that is greater than any entry has")
            }
            (None, Some(numbers)) => Ok(ReceiptFor::Numbers(numbers)),
            (Some(_), Some(_)) => refuse("numbers", "cannot stand beside upTo; send one of them"),
            (None, None) => Err(Problem::new(ErrorCode::MISSING_FIELDS, "Missing required fields: upTo or numbers")),
        }
    }
}

impl InboxView {
    fn new(page: InboxPage, query: &InboxQuery) -> Self {
        let ended_with = page.entries.last().map(|entry| entry.number);
        Self {
            next_cursor: ended_with.and_then(|number| query.next(page.entries.len(), number, page.head.last)),
            items: page.entries.into_iter().map(InboxItem::from).collect(),
            last: page.head.last,
            unread: page.head.unread,
        }
    }
}

impl From<InboxEntry> for InboxItem {
    fn from(entry: InboxEntry) -> Self {
        Self {
            number: entry.number,
            message_id: entry.id,
            category: entry.category,
            payload: raw_json(entry.payload),
            created_at: entry.at,
            delivered_at: entry.delivered_at,
            read_at: entry.read_at,
        }
    }
}

impl From<InboxHead> for UnreadView {
    fn from(head: InboxHead) -> Self {
        Self { unread: head.unread, last: head.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<InboxQuery, Problem> {
        InboxQuery::read(&format!("/inbox?{text}").parse().unwrap())
    }

    fn selection(body: &str) -> Result<ReceiptFor, Problem> {
        parse_object::<ReceiptRequest>(body.as_bytes())?.into_selection()
    }

    #[test]
    fn an_inbox_is_read_upwards_or_downwards() {
        assert_eq!(query("after=3&limit=2").unwrap().range, InboxRange::After(3));
        assert_eq!(query("before=3").unwrap().range, InboxRange::Before(3));
        assert_eq!(query("").unwrap().range, InboxRange::Before(LAST_NUMBER));
        for bad in ["after=1&before=2", "after=-1", "after=x", "page=2"] {
            assert_eq!(query(bad).unwrap_err().code, ErrorCode::INVALID_FIELD, "{bad}");
        }
    }

    #[test]
    fn a_full_page_leads_to_the_next() {
        let up = query("after=0&limit=2").unwrap();
        assert_eq!((up.next(2, 2, 5), up.next(2, 5, 5), up.next(1, 5, 9)), (Some(2), None, None));
        let down = query("limit=2").unwrap();
        assert_eq!((down.next(2, 4, 5), down.next(2, 1, 2), down.next(1, 4, 5)), (Some(4), None, None));
    }

    #[test]
    fn a_receipt_names_entries_in_one_way() {
        assert_eq!(selection(r#"{"receipt":"read","upTo":3}"#), Ok(ReceiptFor::UpTo(3)));
        assert_eq!(selection(r#"{"receipt":"delivered","numbers":[1,3]}"#), Ok(ReceiptFor::Numbers(vec![1, 3])));
        for bad in [
            r#"{"receipt":"read"}"#,
            r#"{"receipt":"read","upTo":1,"numbers":[1]}"#,
            r#"{"receipt":"seen","upTo":1}"#,
            r#"{"receipt":"read","upTo":-1}"#,
            r#"{"receipt":"read","upTo":18446744073709551615}"#,
            r#"{"receipt":"read","upTo":1,"at":"2020-01-01T00:00:00Z"}"#,
        ] {
            assert!(selection(bad).is_err(), "{bad}");
        }
    }
}
