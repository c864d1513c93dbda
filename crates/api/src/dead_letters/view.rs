//! How dead letters look on the wire.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use tidings_core::id::{MessageId, UserId};
use tidings_core::notification::Priority;
use tidings_core::ports::dead_letters::{DeadLetter, DeadLetterPage, ReviewStatus};
use tidings_core::routing::RoutingKey;
use tidings_core::services::redrive::Bulk;
use tidings_core::time::Timestamp;

use crate::cursor;
use crate::error::ItemProblem;
use crate::wire::raw_json;

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetterView {
    /// The notification that died.
    #[schema(value_type = String, format = Uuid)]
    message_id: MessageId,
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
    /// `pending`, `reviewing`, `redriven` or `discarded`.
    #[schema(value_type = String)]
    review_status: ReviewStatus,
    /// A word of the reviewer.
    note: Option<String>,
    /// Why it died.
    error: String,
    /// How often it was tried.
    attempts: u32,
    /// Attempts after the first.
    retries_attempted: u32,
    /// The payload as it was sent; null once erased.
    #[schema(value_type = Option<Object>)]
    payload: Option<Box<RawValue>>,
    /// The metadata as it was sent.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    correlation_id: String,
    traceparent: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    died_at: Timestamp,
    /// How often its chain was redriven before.
    redrives: u32,
    /// When it is redriven by itself, if it is.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_redrive_at: Option<Timestamp>,
    /// What it was redriven as.
    #[schema(value_type = Option<String>, format = Uuid)]
    redriven_as: Option<MessageId>,
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetterList {
    items: Vec<DeadLetterView>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
}

/// What a bulk redrive did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BulkAnswer {
    /// How many were sent anew.
    redriven: usize,
    /// As what.
    #[schema(value_type = Vec<String>)]
    message_ids: Vec<MessageId>,
    /// Those that could not be, and why.
    skipped: Vec<Skipped>,
    /// Where a further call goes on; null when nothing more matches.
    next_cursor: Option<String>,
}

/// A dead letter that could not be sent anew.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Skipped {
    #[schema(value_type = String, format = Uuid)]
    message_id: MessageId,
    /// Why.
    error: ItemProblem,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        let (payload, metadata) = letter
            .content
            .filter(|_| letter.user.is_some())
            .map_or((None, None), |content| (Some(content.payload), content.metadata));
        Self {
            message_id: letter.id,
            target_user_id: letter.user,
            routing_key: RoutingKey::new(&letter.channel, &letter.category).to_string(),
            channel: letter.channel,
            category: letter.category,
            priority: letter.priority,
            review_status: letter.review_status,
            note: letter.note,
            error: letter.error,
            attempts: letter.attempts,
            retries_attempted: letter.attempts.saturating_sub(1),
            payload: payload.and_then(raw_json),
            metadata: metadata.and_then(raw_json),
            correlation_id: letter.context.correlation_id,
            traceparent: letter.context.traceparent,
            created_at: letter.accepted_at,
            died_at: letter.died_at,
            redrives: letter.redrives,
            next_redrive_at: letter.next_redrive_at,
            redriven_as: letter.redriven_as,
        }
    }
}

impl From<DeadLetterPage> for DeadLetterList {
    fn from(page: DeadLetterPage) -> Self {
        Self {
            items: page.items.into_iter().map(DeadLetterView::from).collect(),
            next_cursor: page.next.map(cursor::encode),
        }
    }
}

impl From<Bulk> for BulkAnswer {
    fn from(bulk: Bulk) -> Self {
        let skipped =
            bulk.skipped.into_iter().map(|(id, problem)| Skipped { message_id: id, error: ItemProblem::from(problem) });
        Self {
            redriven: bulk.redriven.len(),
            skipped: skipped.collect(),
            message_ids: bulk.redriven,
            next_cursor: bulk.next.map(cursor::encode),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use tidings_core::error::{ErrorCode, Problem};

    use super::*;

    #[test]
    fn a_bulk_answer_says_what_was_done_and_what_was_not() {
        let (new, stuck) = (MessageId::from_integer(5).unwrap(), MessageId::from_integer(4).unwrap());
        let bulk = Bulk {
            redriven: vec![new],
            skipped: vec![(stuck, Problem::new(ErrorCode::DEAD_LETTER_CLOSED, "The content was erased"))],
            next: None,
        };
        let expected = json!({
            "redriven": 1,
            "messageIds": [new],
            "skipped": [{
                "messageId": stuck,
                "error": {"code": "dead_letter_closed", "message": "The content was erased"},
            }],
            "nextCursor": null,
        });
        assert_eq!(serde_json::to_value(BulkAnswer::from(bulk)).unwrap(), expected);
    }
}
