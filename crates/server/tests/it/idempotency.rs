//! The same request twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::harness::{Answer, TESTUSER, World, answer};

fn body(title: &str) -> Value {
    json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": title}})
}

fn keyed(world: &World, key: &str, body: &Value) -> RequestBuilder {
    world
        .http
        .post(world.url("/api/notifications"))
        .bearer_auth(world.token())
        .header("idempotency-key", key)
        .json(body)
}

fn id(answer: &Answer) -> String {
    answer.json()["messageId"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
}

#[tokio::test]
async fn the_second_request_gets_the_first_answer() {
    let world = World::start().await;
    let first = answer(keyed(&world, "order-17", &body("t"))).await;
    let quoted = answer(keyed(&world, "\"order-17\"", &body("t"))).await;
    assert_eq!((first.status, quoted.status), (reqwest::StatusCode::ACCEPTED, reqwest::StatusCode::ACCEPTED));
    assert_eq!(first.text, quoted.text);
    assert_eq!((first.header("idempotency-replayed"), quoted.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(world.get("/api/notifications", &world.token()).await.json()["items"].as_array().unwrap().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let world = World::start().await;
    answer(keyed(&world, "k", &body("one"))).await;
    assert_eq!(answer(keyed(&world, "k", &body("two"))).await.verdict(), (422, "idempotency_mismatch".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_replay_is_answered_even_when_the_world_has_moved_on() {
    let world = World::start().await;
    let mut expiring = body("t");
    expiring["expiresAt"] =
        json!((tidings_core::time::Clock::now(&*world.clock) + std::time::Duration::from_mins(1)).to_string());
    let first = answer(keyed(&world, "k", &expiring)).await;
    world.advance(std::time::Duration::from_mins(10));
    let second = answer(keyed(&world, "k", &expiring)).await;
    assert_eq!((second.status.as_u16(), id(&first)), (202, id(&second)));
    world.stop().await;
}

#[tokio::test]
async fn a_key_is_free_again_after_its_time() {
    let world = World::start().await;
    let first = answer(keyed(&world, "k", &body("t"))).await;
    world.advance(std::time::Duration::from_hours(23));
    let within = answer(keyed(&world, "k", &body("t"))).await;
    world.advance(std::time::Duration::from_hours(2));
    let after = answer(keyed(&world, "k", &body("t"))).await;
    assert_eq!(id(&first), id(&within));
    assert_ne!(id(&first), id(&after));
    world.stop().await;
}

#[tokio::test]
async fn two_keys_in_one_request_are_a_mistake() {
    let world = World::start().await;
    let request = keyed(&world, "one", &body("t")).header("idempotency-key", "two");
    assert_eq!(answer(request).await.verdict(), (400, "invalid_idempotency_key".to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_identical_requests_at_once_make_one_notification() {
    let world = Arc::new(World::start().await);
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let workers: Vec<_> = (0..50)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let mut seen = Vec::with_capacity(200);
                for _ in 0..200 {
                    let answer = answer(keyed(&world, "storm", &body("once"))).await;
                    seen.push((answer.status.as_u16(), id(&answer)));
                }
                seen
            })
        })
        .collect();
    for worker in workers {
        for (status, id) in worker.await.unwrap() {
            assert_eq!(status, 202);
            *ids.entry(id).or_default() += 1;
        }
    }
    assert_eq!(ids.into_values().collect::<Vec<_>>(), [10_000]);
    assert_eq!(world.get("/api/notifications", &world.token()).await.json()["items"].as_array().unwrap().len(), 1);
}
