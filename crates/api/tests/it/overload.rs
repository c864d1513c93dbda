//! What is refused while more arrives than can be stored.

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use tidings_testkit::sample::TESTUSER;

use crate::world::{World, note_to, request};

const BULK: [(&str, &str); 2] = [("marketing", "critical"), ("digest", "low")];

fn note(category: &str, priority: &str) -> Value {
    let mut note = note_to(TESTUSER);
    note["category"] = json!(category);
    note["priority"] = json!(priority);
    note
}

async fn status(world: &World, note: &Value) -> u16 {
    world.post("/api/notifications", &world.mine(), note).await.status.as_u16()
}

#[tokio::test]
async fn the_least_urgent_are_refused_first() {
    let world = World::new().await;
    for (millis, bulk, normal, urgent) in
        [(250, 202, 202, 202), (251, 503, 202, 202), (501, 503, 503, 202), (1_001, 503, 503, 503), (0, 202, 202, 202)]
    {
        world.store.set_accept_wait(Duration::from_millis(millis));
        for (category, priority) in BULK {
            assert_eq!(status(&world, &note(category, priority)).await, bulk, "{category} {priority} at {millis} ms");
        }
        assert_eq!(status(&world, &note_to(TESTUSER)).await, normal, "normal at {millis} ms");
        for priority in ["high", "critical"] {
            assert_eq!(status(&world, &note("otp", priority)).await, urgent, "{priority} at {millis} ms");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back_and_is_counted() {
    let world = World::new().await;
    for (millis, pause) in [(300, "1"), (3_200, "4"), (60_000, "5")] {
        world.store.set_accept_wait(Duration::from_millis(millis));
        let answer = world.post("/api/notifications", &world.mine(), &note("marketing", "low")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"));
        assert_eq!(answer.header("retry-after"), pause, "{millis} ms");
    }
    let text = world.get("/metrics", &world.reader()).await.text;
    for line in [r#"tidings_shed_total{class="bulk"} 1"#, r#"tidings_shed_total{class="unread"} 2"#] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(world.store.last_id(), None, "nothing was stored");
}

#[tokio::test]
async fn a_body_that_would_be_refused_anyway_is_not_read() {
    let world = World::new().await;
    world.store.set_accept_wait(Duration::from_secs(2));
    let request = request("POST", "/api/notifications", &world.mine()).header("content-type", "text/plain");
    let answer = world.send(request.body(Body::from("not looked at")).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"));
    let stranger = world.post("/api/notifications", "", &note_to(TESTUSER)).await;
    assert_eq!(stranger.status, 401, "who asks comes first");
}

#[tokio::test]
async fn a_repeated_request_passes_the_same_door() {
    let world = World::new().await;
    let mut note = note("digest", "low");
    note["idempotencyKey"] = json!("order-17");
    let first = world.submit(&note).await;
    world.store.set_accept_wait(Duration::from_millis(300));
    assert_eq!(status(&world, &note).await, 503);
    world.store.set_accept_wait(Duration::ZERO);
    assert_eq!(world.submit(&note).await, first);
}

#[tokio::test]
async fn of_a_batch_only_the_less_urgent_is_refused() {
    let world = World::new().await;
    world.store.set_accept_wait(Duration::from_millis(300));
    let mixed = json!({"notifications": [note("marketing", "normal"), note_to(TESTUSER), {"type": "in-app"}]});
    let answer = world.post("/api/notifications/batch", &world.mine(), &mixed).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let results = &answer.json()["results"];
    assert_eq!(results[0]["error"]["code"], "overloaded");
    assert_eq!(results[1]["status"], "queued");
    assert_eq!(results[2]["error"]["code"], "missing_fields");
    let bulk = json!({"notifications": [note("marketing", "normal"), {"type": "in-app"}]});
    let answer = world.post("/api/notifications/batch", &world.mine(), &bulk).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn reading_goes_on() {
    let world = World::new().await;
    world.store.set_accept_wait(Duration::from_mins(1));
    assert_eq!(world.get("/api/notifications", &world.mine()).await.status, 200);
    assert_eq!(world.get("/health", "").await.status, 200);
}
