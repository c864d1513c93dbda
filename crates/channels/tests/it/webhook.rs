//! Webhooks against a server that can misbehave.

use std::time::Duration;

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tidings_catcher::{CaughtRequest, HttpAnswer};
use tidings_core::delivery::Verdict;
use tidings_core::error::ErrorCode;
use tidings_core::ports::Sender;
use tidings_core::user::Contacts;

use crate::support::World;

fn payload(world: &World) -> Value {
    json!({"url": world.http.url("/hook?source=test"), "event": "order.shipped", "data": {"order": 42}, "headers": {"X-Team": "orders"}})
}

async fn verdict(world: &World, answer: HttpAnswer) -> Verdict {
    world.http.script([answer]);
    world.send("webhook", &payload(world)).await.verdict
}

#[tokio::test]
async fn a_receiver_can_verify_what_it_gets() {
    let world = World::open().await;
    let notification = world.notification("webhook", &payload(&world));
    let report = world.attempt(&notification).await;
    assert_eq!((report.verdict, report.code.as_deref(), report.provider), (Verdict::Delivered, Some("200"), "webhook"));

    let [request]: [CaughtRequest; 1] = world.http.requests().try_into().unwrap();
    let receiver = Webhook::new(&world.secret).unwrap();
    receiver.verify(&request.body, &request.headers).unwrap();
    assert!(receiver.verify(b"{}", &request.headers).is_err());
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?source=test"));
    assert_eq!(request.header("webhook-id"), Some(notification.id.to_string().as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-team"), Some("orders"));
    assert_eq!(request.header("x-correlation-id"), Some("order-4711"));
    let expected =
        json!({"type": "order.shipped", "timestamp": notification.accepted_at.to_string(), "data": {"order": 42}});
    assert_eq!(request.json(), expected);
}

#[tokio::test]
async fn another_attempt_has_the_same_id() {
    let world = World::open().await;
    let notification = world.notification("webhook", &payload(&world));
    world.http.script([HttpAnswer::status(503)]);
    world.attempt(&notification).await;
    world.attempt(&notification).await;
    let [first, second]: [CaughtRequest; 2] = world.http.requests().try_into().unwrap();
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn answers_have_their_verdicts() {
    let world = World::open().await;
    let busy = HttpAnswer::status(429).with_header("Retry-After", "90");
    assert_eq!(verdict(&world, busy).await, Verdict::Retry { after: Some(Duration::from_secs(90)) });
    assert_eq!(verdict(&world, HttpAnswer::status(500)).await, Verdict::Retry { after: None });
    assert_eq!(verdict(&world, HttpAnswer::status(204)).await, Verdict::Delivered);
    assert_eq!(verdict(&world, HttpAnswer::status(404)).await, Verdict::Reject);
}

#[tokio::test]
async fn a_redirect_is_a_refusal() {
    let world = World::open().await;
    let away = HttpAnswer::status(307).with_header("Location", world.http.url("/elsewhere"));
    assert_eq!(verdict(&world, away).await, Verdict::Reject);
    assert_eq!(world.http.requests().len(), 1);
}

#[tokio::test]
async fn what_may_have_arrived_is_unknown() {
    let world = World::open().await;
    assert_eq!(verdict(&world, HttpAnswer::Hang).await, Verdict::Unknown);
    assert_eq!(verdict(&world, HttpAnswer::CloseAfterBody).await, Verdict::Unknown);
}

#[tokio::test]
async fn answers_without_end_are_cut_and_count() {
    let world = World::open().await;
    assert_eq!(verdict(&world, HttpAnswer::Drip { bytes_per_tick: 1 }).await, Verdict::Delivered);
    assert_eq!(verdict(&world, HttpAnswer::Huge { bytes: 1 << 30 }).await, Verdict::Delivered);
}

#[tokio::test]
async fn by_default_nothing_inside_is_reached() {
    let world = World::guarded().await;
    let address = world.http.addr();
    for url in [
        world.http.url("/"),
        format!("http://localhost:{}/", address.port()),
        format!("http://[::ffff:127.0.0.1]:{}/", address.port()),
    ] {
        let payload = json!({"url": url});
        let refused =
            world.channels.address("webhook", payload.as_object().unwrap(), &Contacts::default()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::DESTINATION_NOT_ALLOWED, "{url}");
        let report = world.send("webhook", &payload).await;
        assert_eq!(
            (report.verdict, report.message.as_deref()),
            (Verdict::Reject, Some("destination not allowed")),
            "{url}"
        );
    }
    assert!(world.http.requests().is_empty());
}
