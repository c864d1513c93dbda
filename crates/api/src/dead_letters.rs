//! Dead letters: review, redrive, discard. All of it is for operators, who hold the scope `admin`.

pub(crate) mod query;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;
use utoipa::ToSchema;

use tidings_core::draft::parse_object;
use tidings_core::ports::dead_letters::ReviewStatus;

use crate::api::Api;
use crate::body::{JsonText, OptionalText};
use crate::caller::Admin;
use crate::error::Failure;
use crate::path::MessagePath;

use query::{BulkRequest, DeadLetterFilter};
use view::{BulkAnswer, DeadLetterList, DeadLetterView};

/// What to write beside a dead letter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AnnotateRequest {
    /// A word of the reviewer.
    note: Option<String>,
    /// `pending` or `reviewing`.
    #[schema(value_type = Option<String>)]
    review_status: Option<ReviewStatus>,
}

/// How to send a dead letter anew.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedriveRequest {
    /// Sent instead of the payload that failed.
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
}

/// Why a dead letter is put aside.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardRequest {
    /// A word of the reviewer.
    note: Option<String>,
}

/// List dead letters, newest first.
#[utoipa::path(
    get,
    path = "/api/dead-letters",
    tag = "dead letters",
    params(
        ("userId" = Option<String>, Query, description = "That were for this user"),
        ("type" = Option<String>, Query, description = "On this channel"),
        ("category" = Option<String>, Query, description = "In this category"),
        ("reviewStatus" = Option<String>, Query, description = "`pending`, `reviewing`, `redriven` or `discarded`"),
        ("error" = Option<String>, Query, description = "Whose error contains this text"),
        ("from" = Option<String>, Query, description = "Died at or after this instant (RFC 3339)"),
        ("until" = Option<String>, Query, description = "Died before this instant (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200 items; 50 unless given")
    ),
    responses((status = 200, description = "A page", body = DeadLetterList))
)]
pub(crate) async fn list_dead_letters(
    State(api): State<Arc<Api>>,
    Admin(caller): Admin,
    DeadLetterFilter(query): DeadLetterFilter,
) -> Result<Json<DeadLetterList>, Failure> {
    let page = api.services.reviewer.list(caller.tenant, query).await?;
    Ok(Json(DeadLetterList::from(page)))
}

/// One dead letter.
#[utoipa::path(
    get,
    path = "/api/dead-letters/{messageId}",
    tag = "dead letters",
    params(("messageId" = String, Path, description = "The notification that died")),
    responses((status = 200, description = "The dead letter", body = DeadLetterView))
)]
pub(crate) async fn show_dead_letter(
    State(api): State<Arc<Api>>,
    Admin(caller): Admin,
    MessagePath(id): MessagePath,
) -> Result<Json<DeadLetterView>, Failure> {
    let letter = api.services.reviewer.dead_letter(caller.tenant, id).await?;
    Ok(Json(DeadLetterView::from(letter)))
}

/// Write a note, or say that somebody is looking into it.
#[utoipa::path(
    patch,
    path = "/api/dead-letters/{messageId}",
    tag = "dead letters",
    params(("messageId" = String, Path, description = "The notification that died")),
    request_body(content = AnnotateRequest, example = json!({"reviewStatus": "reviewing", "note": "asked the customer"})),
    responses((status = 200, description = "The dead letter afterwards", body = DeadLetterView))
)]
pub(crate) async fn annotate_dead_letter(
    State(api): State<Arc<Api>>,
    Admin(caller): Admin,
    MessagePath(id): MessagePath,
    JsonText(body): JsonText,
) -> Result<Json<DeadLetterView>, Failure> {
    let AnnotateRequest { note, review_status } = parse_object(&body)?;
    let reviewer = &api.services.reviewer;
    let letter = reviewer.annotate(caller.tenant, id, note, review_status).await?;
    Ok(Json(DeadLetterView::from(letter)))
}

/// Send a dead letter anew, as a new notification.
///
/// The old one stays as it ended; `redrivenAs` names the new one. The body may be left out.
#[utoipa::path(
    post,
    path = "/api/dead-letters/{messageId}/redrive",
    tag = "dead letters",
    params(("messageId" = String, Path, description = "The notification that died")),
    request_body = Option<RedriveRequest>,
    responses((status = 200, description = "The dead letter afterwards", body = DeadLetterView))
)]
pub(crate) async fn redrive_dead_letter(
    State(api): State<Arc<Api>>,
    Admin(caller): Admin,
    MessagePath(id): MessagePath,
    OptionalText(body): OptionalText,
) -> Result<Json<DeadLetterView>, Failure> {
    let RedriveRequest { payload } = parse_object(&body)?;
    let letter = api.services.reviewer.redrive(caller.tenant, id, payload).await?;
    info!(messageId = %id, "Redrove dead letter {id}");
    Ok(Json(DeadLetterView::from(letter)))
}

/// Put a dead letter aside for good.
///
/// The body may be left out.
#[utoipa::path(
    post,
    path = "/api/dead-letters/{messageId}/discard",
    tag = "dead letters",
    params(("messageId" = String, Path, description = "The notification that died")),
    request_body = Option<DiscardRequest>,
    responses((status = 200, description = "The dead letter afterwards", body = DeadLetterView))
)]
pub(crate) async fn discard_dead_letter(
    State(api): State<Arc<Api>>,
    Admin(caller): Admin,
    MessagePath(id): MessagePath,
    OptionalText(body): OptionalText,
) -> Result<Json<DeadLetterView>, Failure> {
    let DiscardRequest { note } = parse_object(&body)?;
    let letter = api.services.reviewer.discard(caller.tenant, id, note).await?;
    info!(messageId = %id, "Discarded dead letter {id}");
    Ok(Json(DeadLetterView::from(letter)))
}

/// Send anew what matches a filter, newest first.
///
/// Without `reviewStatus` those that are `pending`. One that cannot be redriven is listed under `skipped` and does not
/// stop the others. While `nextCursor` is not null, call again with it as `cursor`.
#[utoipa::path(
    post,
    path = "/api/dead-letters/redrive",
    tag = "dead letters",
    request_body(content = BulkRequest, example = json!({"type": "webhook", "error": "503", "limit": 100})),
    responses((status = 200, description = "What was done", body = BulkAnswer))
)]
pub(crate) async fn redrive_matching(
    State(api): State<Arc<Api>>,
    Admin(caller): Admin,
    OptionalText(body): OptionalText,
) -> Result<Json<BulkAnswer>, Failure> {
    let query = parse_object::<BulkRequest>(&body)?.into_query()?;
    let bulk = api.services.reviewer.redrive_matching(caller.tenant, query).await?;
    let (redriven, skipped) = (bulk.redriven.len(), bulk.skipped.len());
    info!(redriven, skipped, "Redrove {redriven} dead letters, skipped {skipped}");
    Ok(Json(BulkAnswer::from(bulk)))
}
