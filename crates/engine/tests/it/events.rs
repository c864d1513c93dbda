//! Reporting the ends of notifications.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_core::delivery::{State, Verdict};
use tidings_core::notification::{NewNotification, TraceContext};
use tidings_testkit::sample;

use crate::world::{World, eventually, host, mail};

const LISTENER: &str = "https://listener.example:443";

async fn world() -> World {
    let mut world = World::new().await;
    world.config.events_url = Some(LISTENER.to_owned());
    world
}

/// The payload of the only event so far.
async fn event(world: &World) -> Value {
    eventually(|| async { world.calls_to(&host(LISTENER)).len() == 1 }).await;
    let record = world.record(world.calls_to(&host(LISTENER))[0].id).await.expect("what was sent is stored");
    assert_eq!((record.summary.user, record.summary.category.as_str()), (None, "tidings-system"));
    let content = record.content.expect("nothing erased it");
    serde_json::from_str(&content.payload).expect("payloads are JSON")
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_reported_once() {
    let world = world().await;
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    let expected = json!({
        "url": LISTENER,
        "event": "notification.delivered",
        "data": {
            "messageId": id,
            "targetUserId": sample::TESTUSER,
            "type": "email",
            "category": "transactional",
            "status": "processed",
            "deliveryStatus": "delivered",
            "attempts": 1,
            "error": null,
            "occurredAt": world.now(),
        },
    });
    assert_eq!(event(&world).await, expected);
    world.no_more_calls_than(2, Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_reported() {
    let world = world().await;
    world.sender.always(&mail(), Verdict::Reject);
    let _engine = world.engine().await;
    world.submit(world.email()).await;
    let event = event(&world).await;
    assert_eq!(event["event"], "notification.dead");
    assert_eq!((&event["data"]["status"], &event["data"]["error"]), (&json!("failed"), &json!("Refused")));
}

#[tokio::test(start_paused = true)]
async fn an_inbox_entry_is_reported_under_its_own_correlation_id() {
    let world = world().await;
    let _engine = world.engine().await;
    let context = TraceContext { correlation_id: "order-17".to_owned(), traceparent: None };
    let entry = sample::in_app(world.id(), sample::TESTUSER, world.now());
    world.submit(NewNotification { context: context.clone(), ..entry }).await;
    assert_eq!(event(&world).await["data"]["type"], "in-app");
    let report = world.record(world.calls_to(&host(LISTENER))[0].id).await.unwrap();
    assert_eq!(report.summary.context, context);
}

#[tokio::test(start_paused = true)]
async fn what_will_be_tried_again_is_not_reported() {
    let world = world().await;
    world.sender.script(&mail(), [Verdict::Unknown]);
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.until_retry_after(id, 1).await;
    world.no_more_calls_than(1, Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_sent_is_a_dead_letter_like_any_other() {
    let world = world().await;
    world.sender.always(&host(LISTENER), Verdict::Reject);
    let _engine = world.engine().await;
    world.submit(world.email()).await;
    event(&world).await;
    let id = world.calls_to(&host(LISTENER))[0].id;
    world.until_it_is(id, State::Dead).await;
    world.no_more_calls_than(2, Duration::from_secs(10)).await;
}
