//! Notifications: accepting, following, calling back.

pub(crate) mod query;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use tracing::{debug, info};

use tidings_core::draft;

use crate::api::Api;
use crate::body::{BatchText, JsonText};
use crate::caller::Authenticated;
use crate::context::Traced;
use crate::door::Admitted;
use crate::error::Failure;
use crate::idempotency::{KeyHeader, NoKeyHeader};
use crate::openapi::bodies::{BatchRequest, NotificationRequest};
use crate::path::MessagePath;

use query::NotificationQuery;
use view::{Accepted, BatchAnswer, NotificationDetail, NotificationList};

/// Send a notification.
///
/// Answers 202 once the notification is on stable storage; it is delivered afterwards. A repeated request with the same
/// idempotency key and the same body gets the first answer again, with the header `Idempotency-Replayed: true`.
#[utoipa::path(
    post,
    path = "/api/notifications",
    tag = "notifications",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters, quoted or bare. Wins over `idempotencyKey` in the body."),
        ("X-Correlation-Id" = Option<String>, Header, description = "1 to 128 visible ASCII characters; returned, logged and passed on to the provider. Made if absent."),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context; returned and passed on. Made if absent.")
    ),
    request_body(
        content = NotificationRequest,
        description = "The notification. Fields that are not known are ignored.",
        example = json!({"targetUserId": "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a", "type": "in-app", "payload": {"title": "Order shipped", "message": "It is on its way."}})
    ),
    responses((
        status = 202,
        description = "Accepted durably",
        body = Accepted,
        headers(("Idempotency-Replayed" = bool, description = "`true` when this is the answer to an earlier request with the same key")),
        example = json!({"messageId": "01941f29-7c00-7000-9a3c-6b8d0e1f2a3b", "status": "queued", "message": "Notification accepted for processing"})
    ))
)]
pub(crate) async fn submit_notification(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Traced(context): Traced,
    KeyHeader(key): KeyHeader,
    Admitted: Admitted,
    JsonText(body): JsonText,
) -> Result<Response, Failure> {
    let draft = draft::parse(&body)?;
    api.admit(&draft)?;
    let (user, channel) = (draft.target_user, api.channel(&draft.channel));
    let submitter = &api.services.submitter;
    tidings_faultpoints::point("api.before-intake");
    let receipt = submitter.submit(caller.tenant, &context, draft, key).await?;
    tidings_faultpoints::point("api.after-intake");
    if let Some(channel) = channel.filter(|_| !receipt.replayed) {
        api.metrics.accepted(channel);
        let (id, correlation_id) = (receipt.id, &context.correlation_id);
        info!(messageId = %id, userId = %user, correlationId = %correlation_id, "type" = channel, "Accepted notification {id}");
    }
    Ok(view::accepted(&receipt))
}

/// Send up to 1,000 notifications.
///
/// All good items become durable in one commit; one verdict for each, in the order of the request. A bad item does not
/// sink the others. Answers 202 if at least one was accepted, otherwise 400 with the same body.
#[utoipa::path(
    post,
    path = "/api/notifications/batch",
    tag = "notifications",
    request_body(
        content = BatchRequest,
        example = json!({"notifications": [{"targetUserId": "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a", "type": "in-app", "payload": {"title": "Hello"}}]})
    ),
    responses((
        status = 202,
        description = "At least one was accepted",
        body = BatchAnswer,
        example = json!({"accepted": 1, "rejected": 1, "results": [
            {"status": "queued", "messageId": "01941f29-7c00-7000-9a3c-6b8d0e1f2a3b"},
            {"status": "rejected", "error": {"code": "unknown_type", "message": "type: names no channel"}}
        ]})
    ))
)]
pub(crate) async fn submit_batch(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Traced(context): Traced,
    NoKeyHeader: NoKeyHeader,
    Admitted: Admitted,
    BatchText(body): BatchText,
) -> Result<Response, Failure> {
    let drafts = api.admit_each(draft::parse_batch(&body)?)?;
    let channels: Vec<_> =
        drafts.iter().map(|draft| draft.as_ref().ok().and_then(|draft| api.channel(&draft.channel))).collect();
    let submitter = &api.services.submitter;
    tidings_faultpoints::point("api.before-intake");
    let verdicts = submitter.submit_batch(caller.tenant, &context, drafts).await?;
    tidings_faultpoints::point("api.after-intake");
    for (verdict, channel) in verdicts.iter().zip(channels) {
        match (verdict, channel) {
            (Ok(receipt), Some(channel)) if !receipt.replayed => {
                api.metrics.accepted(channel);
                debug!(messageId = %receipt.id, "type" = channel, "Accepted notification {} of a batch", receipt.id);
            }
            (Ok(_), _) => {}
            (Err(problem), _) => api.metrics.rejected(problem.code),
        }
    }
    let answer = BatchAnswer::from(verdicts);
    let (accepted, rejected) = (answer.accepted, answer.rejected);
    info!(correlationId = %context.correlation_id, accepted, rejected, "Accepted {accepted} of a batch, refused {rejected}");
    Ok(view::batch(answer))
}

/// List notifications, newest first.
///
/// Those told to the caller; with the scope `read:any` or `admin` those of the whole tenant. A page may be shorter than
/// `limit` although more follow: go on while `nextCursor` is not null.
#[utoipa::path(
    get,
    path = "/api/notifications",
    tag = "notifications",
    params(
        ("userId" = Option<String>, Query, description = "Told to this user"),
        ("type" = Option<String>, Query, description = "On this channel"),
        ("status" = Option<String>, Query, description = "`pending`, `processed` or `failed`"),
        ("category" = Option<String>, Query, description = "In this category"),
        ("from" = Option<String>, Query, description = "Accepted at or after this instant (RFC 3339)"),
        ("until" = Option<String>, Query, description = "Accepted before this instant (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200 items; 50 unless given")
    ),
    responses((status = 200, description = "A page", body = NotificationList))
)]
pub(crate) async fn list_notifications(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    NotificationQuery(query): NotificationQuery,
) -> Result<Json<NotificationList>, Failure> {
    let page = api.services.follower.list(&caller, query).await?;
    Ok(Json(NotificationList::new(page, api.now())))
}

/// One notification, with every attempt and its journal.
#[utoipa::path(
    get,
    path = "/api/notifications/{messageId}",
    tag = "notifications",
    params(("messageId" = String, Path, description = "The `messageId` of the 202")),
    responses((status = 200, description = "The notification", body = NotificationDetail))
)]
pub(crate) async fn show_notification(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    MessagePath(id): MessagePath,
) -> Result<Json<NotificationDetail>, Failure> {
    let record = api.services.follower.record(&caller, id).await?;
    Ok(Json(NotificationDetail::new(record, api.now())))
}

/// Call a notification back while it waits.
///
/// Answers 409 when it is being sent or has reached its end.
#[utoipa::path(
    post,
    path = "/api/notifications/{messageId}/cancel",
    tag = "notifications",
    params(("messageId" = String, Path, description = "The `messageId` of the 202")),
    responses((status = 200, description = "It will not be sent", body = NotificationDetail))
)]
pub(crate) async fn cancel_notification(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    MessagePath(id): MessagePath,
) -> Result<Json<NotificationDetail>, Failure> {
    let record = api.services.follower.cancel(&caller, id).await?;
    info!(messageId = %id, "Cancelled notification {id}");
    Ok(Json(NotificationDetail::new(record, api.now())))
}
