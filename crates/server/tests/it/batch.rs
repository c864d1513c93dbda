//! Many at once.

use serde_json::{Value, json};

use crate::harness::{TESTUSER, World};

fn item(title: &str) -> Value {
    json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": title}})
}

#[tokio::test]
async fn every_item_gets_its_verdict_in_order() {
    let world = World::start().await;
    let batch = json!({"notifications": [item("one"), {"type": "in-app"}, item("two"), {"targetUserId": TESTUSER, "type": "pigeon", "payload": {"a": 1}}]});
    let answer = world.post("/api/notifications/batch", &world.token(), &batch).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let body = answer.json();
    assert_eq!((body["accepted"].clone(), body["rejected"].clone()), (json!(2), json!(2)));
    let verdicts: Vec<&str> =
        body["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["queued", "rejected", "queued", "rejected"]);
    assert_eq!(body["results"][1]["error"]["code"], "missing_fields");
    assert_eq!(body["results"][3]["error"]["code"], "unknown_type");
    let record = world.ended(body["results"][2]["messageId"].as_str().unwrap()).await;
    assert_eq!(record["payload"], json!({"title": "two"}));
    world.stop().await;
}

#[tokio::test]
async fn a_thousand_go_in_one_request_and_share_its_id() {
    let world = World::start().await;
    let items: Vec<Value> = (0..1000).map(|number| item(&number.to_string())).collect();
    let answer = world.post("/api/notifications/batch", &world.token(), &json!({"notifications": items})).await;
    assert_eq!(answer.json()["accepted"], 1000, "{}", answer.text);
    let results = answer.json()["results"].as_array().unwrap().clone();
    let (first, last) = (results[0]["messageId"].as_str().unwrap(), results[999]["messageId"].as_str().unwrap());
    let (first, last) = (world.ended(first).await, world.ended(last).await);
    assert_eq!((first["requestId"].clone(), last["status"].clone()), (last["requestId"].clone(), json!("processed")));
    world.stop().await;
}

#[tokio::test]
async fn a_batch_has_its_limits() {
    let world = World::start().await;
    let many = vec![item("t"); 1001];
    let answer = world.post("/api/notifications/batch", &world.token(), &json!({"notifications": many})).await;
    assert_eq!(answer.verdict(), (400, "invalid_field".to_owned()));
    let none = world.post("/api/notifications/batch", &world.token(), &json!({"notifications": []})).await;
    assert_eq!(none.verdict(), (400, "missing_fields".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn keys_hold_within_a_batch_and_across_batches() {
    let world = World::start().await;
    let mut keyed = item("once");
    keyed["idempotencyKey"] = json!("k1");
    let batch = json!({"notifications": [keyed, keyed]});
    let first = world.post("/api/notifications/batch", &world.token(), &batch).await.json();
    let second = world.post("/api/notifications/batch", &world.token(), &batch).await.json();
    let ids: std::collections::BTreeSet<String> = [&first, &second]
        .iter()
        .flat_map(|body| body["results"].as_array().unwrap())
        .map(|result| result["messageId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
    world.stop().await;
}
