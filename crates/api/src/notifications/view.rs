//! How notifications look on the wire.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use tidings_core::delivery::State;
use tidings_core::error::Problem;
use tidings_core::id::{MessageId, UserId};
use tidings_core::journal::{Attempt, Entry};
use tidings_core::notification::{Priority, Record, Summary};
use tidings_core::ports::history::Page;
use tidings_core::routing::RoutingKey;
use tidings_core::services::submit::Receipt;
use tidings_core::time::Timestamp;

use crate::cursor;
use crate::error::ItemProblem;
use crate::wire::raw_json;

const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

/// The answer to an accepted notification.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepted {
    /// The id to follow it by.
    #[schema(value_type = String, format = Uuid)]
    message_id: MessageId,
    /// `queued`.
    status: &'static str,
    /// For people.
    message: &'static str,
}

/// The verdicts on a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchAnswer {
    /// How many items were accepted.
    pub(crate) accepted: usize,
    /// How many were refused.
    pub(crate) rejected: usize,
    /// One verdict for each item, in order.
    results: Vec<BatchVerdict>,
}

/// The verdict on one item.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum BatchVerdict {
    /// It was accepted.
    Queued {
        /// The id to follow it by.
        #[serde(rename = "messageId")]
        #[schema(value_type = String, format = Uuid)]
        message_id: MessageId,
        /// Present and true when it was accepted earlier, under the same idempotency key.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        replayed: bool,
    },
    /// It was refused.
    Rejected {
        /// Why.
        error: ItemProblem,
    },
}

/// A page of notifications.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotificationList {
    items: Vec<NotificationSummary>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// A notification.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotificationSummary {
    #[schema(value_type = String, format = Uuid)]
    message_id: MessageId,
    /// The request that asked for it; the id of its first notification.
    #[schema(value_type = String, format = Uuid)]
    request_id: MessageId,
    #[schema(value_type = Option<String>, format = Uuid)]
    target_user_id: Option<UserId>,
    /// The channel.
    #[serde(rename = "type")]
    channel: String,
    category: String,
    /// `notification.<type>.<category>`.
    routing_key: String,
    /// `critical`, `high`, `normal` or `low`.
    #[schema(value_type = String)]
    priority: Priority,
    /// `pending`, `processed` or `failed`.
    status: &'static str,
    /// `queued`, `scheduled`, `retrying`, `sending`, `delivered`, `read`, `dead`, `expired` or `cancelled`.
    delivery_status: &'static str,
    correlation_id: String,
    traceparent: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the next attempt is due, while it waits for one.
    #[schema(value_type = Option<String>, format = DateTime)]
    send_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it reached its end.
    #[schema(value_type = Option<String>, format = DateTime)]
    processed_at: Option<Timestamp>,
    /// When its user read it.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
    /// Attempts after the first.
    retries_attempted: u32,
    /// The last error.
    error_message: Option<String>,
    /// The dead letter that it sends anew.
    #[schema(value_type = Option<String>, format = Uuid)]
    redrive_of: Option<MessageId>,
}

/// A notification with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationDetail {
    #[serde(flatten)]
    summary: NotificationSummary,
    /// The payload as it was sent; null once erased.
    #[schema(value_type = Option<Object>)]
    payload: Option<Box<RawValue>>,
    /// The metadata as it was sent.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    /// Every try of a provider, oldest first.
    attempts: Vec<AttemptView>,
    /// What happened, oldest first.
    journal: Vec<EntryView>,
}

/// One try of one provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptView {
    /// The first is 1.
    number: u32,
    provider: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    duration_ms: u64,
    /// `delivered`, `failed`, `rejected` or `unknown`.
    outcome: &'static str,
    /// The provider's own status.
    code: Option<String>,
    /// What the provider or the network said.
    message: Option<String>,
    /// The provider's id for what it took.
    provider_id: Option<String>,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `accepted`, `delivered`, `retry-scheduled`, `lease-lost`, `dead`, `expired`, `cancelled`, `redriven`,
    /// `discarded`, `read` or `erased`.
    event: &'static str,
    /// The number of the attempt that caused it.
    attempt: Option<u32>,
    /// More, for people.
    detail: Option<String>,
}

/// The answer to one accepted notification.
pub(super) fn accepted(receipt: &Receipt) -> Response {
    let body = Accepted { message_id: receipt.id, status: "queued", message: "Notification accepted for processing" };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    if receipt.replayed {
        let headers = response.headers_mut();
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The answer to a batch.
pub(super) fn batch(answer: BatchAnswer) -> Response {
    let status = if answer.accepted > 0 { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST };
    (status, Json(answer)).into_response()
}

impl From<Vec<Result<Receipt, Problem>>> for BatchAnswer {
    fn from(verdicts: Vec<Result<Receipt, Problem>>) -> Self {
        let accepted = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        Self {
            accepted,
            rejected: verdicts.len() - accepted,
            results: verdicts.into_iter().map(BatchVerdict::from).collect(),
        }
    }
}

impl From<Result<Receipt, Problem>> for BatchVerdict {
    fn from(verdict: Result<Receipt, Problem>) -> Self {
        match verdict {
            Ok(receipt) => Self::Queued { message_id: receipt.id, replayed: receipt.replayed },
            Err(problem) => Self::Rejected { error: ItemProblem::from(problem) },
        }
    }
}

impl NotificationList {
    pub(super) fn new(page: Page, now: Timestamp) -> Self {
        Self {
            items: page.items.into_iter().map(|summary| NotificationSummary::new(summary, now)).collect(),
            next_cursor: page.next.map(cursor::encode),
        }
    }
}

impl NotificationSummary {
    fn new(summary: Summary, now: Timestamp) -> Self {
        Self {
            message_id: summary.id,
            request_id: summary.request,
            target_user_id: summary.user,
            routing_key: RoutingKey::new(&summary.channel, &summary.category).to_string(),
            priority: summary.priority,
            status: summary.state.status().as_str(),
            delivery_status: delivery_status(&summary, now),
            created_at: summary.accepted_at,
            send_at: (summary.state == State::Queued).then_some(summary.due_at),
            expires_at: summary.expires_at,
            processed_at: summary.finished_at,
            read_at: summary.read_at,
            retries_attempted: summary.attempts.saturating_sub(1),
            error_message: summary.error,
            redrive_of: summary.redrive_of,
            channel: summary.channel,
            category: summary.category,
            correlation_id: summary.context.correlation_id,
            traceparent: summary.context.traceparent,
        }
    }
}

/// The finer word beside the three of the seed.
fn delivery_status(summary: &Summary, now: Timestamp) -> &'static str {
    match summary.state {
        State::Queued if summary.attempts > 0 => "retrying",
        State::Queued if summary.due_at > now => "scheduled",
        State::Delivered if summary.read_at.is_some() => "read",
        state => state.as_str(),
    }
}

impl NotificationDetail {
    pub(super) fn new(record: Record, now: Timestamp) -> Self {
        let (payload, metadata) = record
            .content
            .filter(|_| record.summary.user.is_some())
            .map_or((None, None), |content| (Some(content.payload), content.metadata));
        let attempts = record.journal.iter().filter_map(|entry| entry.attempt.clone());
        Self {
            summary: NotificationSummary::new(record.summary, now),
            payload: payload.and_then(raw_json),
            metadata: metadata.and_then(raw_json),
            attempts: attempts.map(AttemptView::from).collect(),
            journal: record.journal.into_iter().map(EntryView::from).collect(),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            provider: attempt.provider,
            started_at: attempt.started_at,
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome.as_str(),
            code: attempt.code,
            message: attempt.message,
            provider_id: attempt.provider_id,
        }
    }
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            at: entry.at,
            event: entry.event.as_str(),
            attempt: entry.attempt.map(|attempt| attempt.number),
            detail: entry.detail,
        }
    }
}

#[cfg(test)]
mod tests;
