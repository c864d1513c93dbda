use serde_json::{Value, json, to_value};

use tidings_core::error::ErrorCode;
use tidings_core::journal::{Event, Outcome};
use tidings_core::notification::{Content, TraceContext};

use super::*;

fn summary(state: State) -> Summary {
    let id = MessageId::floor(Timestamp::from_millis(1_800_000_000_000));
    Summary {
        id,
        request: id,
        user: Some(UserId(uuid::Uuid::from_u128(1))),
        channel: "email".to_owned(),
        category: "transactional".to_owned(),
        priority: Priority::Normal,
        state,
        attempts: 0,
        context: TraceContext { correlation_id: "c".to_owned(), traceparent: None },
        accepted_at: Timestamp::from_millis(1_800_000_000_000),
        due_at: Timestamp::from_millis(1_800_000_000_000),
        expires_at: None,
        finished_at: None,
        read_at: None,
        error: None,
        redrive_of: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_001)
}

fn text(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).unwrap()
}

#[test]
fn the_202_is_that_of_the_seed() {
    let id = MessageId::from_integer(17).unwrap();
    let body = Accepted { message_id: id, status: "queued", message: "Notification accepted for processing" };
    assert_eq!(
        text(&body),
        format!(r#"{{"messageId":"{id}","status":"queued","message":"Notification accepted for processing"}}"#)
    );
}

#[test]
fn the_finer_word_tells_where_a_notification_stands() {
    let word = |change: fn(&mut Summary), state| {
        let mut summary = summary(state);
        change(&mut summary);
        NotificationSummary::new(summary, now()).delivery_status
    };
    assert_eq!(word(|_| {}, State::Queued), "queued");
    assert_eq!(word(|summary| summary.due_at = Timestamp::MAX, State::Queued), "scheduled");
    assert_eq!(word(|summary| summary.attempts = 1, State::Queued), "retrying");
    assert_eq!(word(|_| {}, State::Sending), "sending");
    assert_eq!(word(|_| {}, State::Delivered), "delivered");
    assert_eq!(word(|summary| summary.read_at = Some(Timestamp::EPOCH), State::Delivered), "read");
    assert_eq!(word(|_| {}, State::Dead), "dead");
}

#[test]
fn a_detail_has_every_field_in_camel_case() {
    let attempt = Attempt {
        number: 1,
        provider: "smtp".to_owned(),
        started_at: now(),
        duration_ms: 12,
        outcome: Outcome::Rejected,
        code: Some("550".to_owned()),
        message: None,
        provider_id: None,
    };
    let entry = Entry { attempt: Some(attempt), ..Entry::new(now(), Event::Dead) };
    let record = Record {
        summary: Summary { attempts: 1, finished_at: Some(now()), ..summary(State::Dead) },
        content: Some(Content { payload: r#"{"b": 1, "a": 2}"#.to_owned(), metadata: None }),
        journal: vec![Entry::new(now(), Event::Accepted), entry],
    };
    let detail = NotificationDetail::new(record, now());
    assert!(text(&detail).contains(r#""payload":{"b": 1, "a": 2}"#), "a payload is given back as it came");
    let value = to_value(&detail).unwrap();
    assert_eq!(value["status"], "failed");
    assert_eq!(value["routingKey"], "notification.email.transactional");
    assert_eq!(value["createdAt"], "2027-01-15T08:00:00.000Z");
    assert_eq!((&value["sendAt"], &value["retriesAttempted"]), (&Value::Null, &json!(0)));
    assert_eq!(value["journal"][1]["attempt"], 1);
    assert_eq!(value["attempts"][0]["startedAt"], now().to_string());
    assert_eq!(value["attempts"][0]["durationMs"], 12);
}

#[test]
fn a_batch_gives_one_verdict_for_each_item() {
    let id = MessageId::from_integer(17).unwrap();
    let answer = BatchAnswer::from(vec![
        Ok(Receipt { id, replayed: false }),
        Ok(Receipt { id, replayed: true }),
        Err(Problem::field(ErrorCode::UNKNOWN_TYPE, "type", "names no channel")),
    ]);
    let expected = json!({"accepted": 2, "rejected": 1, "results": [
        {"status": "queued", "messageId": id},
        {"status": "queued", "messageId": id, "replayed": true},
        {"status": "rejected", "error": {
            "code": "unknown_type",
            "message": "type: names no channel",
            "errors": [{"field": "type", "message": "names no channel"}],
        }},
    ]});
    assert_eq!(to_value(&answer).unwrap(), expected);
    assert_eq!(batch(answer).status(), StatusCode::ACCEPTED);
    let refused = BatchAnswer::from(vec![Err(Problem::plain(ErrorCode::UNKNOWN_USER))]);
    assert_eq!(batch(refused).status(), StatusCode::BAD_REQUEST);
}
