//! The in-app inbox.

use serde_json::{Value, json};

use crate::harness::{TESTUSER, World, events};

fn numbers(inbox: &Value) -> Vec<u64> {
    inbox["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn entries_are_numbered_without_gaps_and_read_up_to_a_number() {
    let world = World::start().await;
    let items: Vec<Value> = (0..20)
        .map(|n| json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": n.to_string()}}))
        .collect();
    let sent = world.post("/api/notifications/batch", &world.token(), &json!({"notifications": items})).await.json();
    for result in sent["results"].as_array().unwrap() {
        world.ended(result["messageId"].as_str().unwrap()).await;
    }
    let path = format!("/api/users/{TESTUSER}/inbox");
    let token = world.token();
    let missed = world.get(&format!("{path}?after=15"), &token).await.json();
    assert_eq!(
        (numbers(&missed), missed["last"].clone(), missed["unread"].clone()),
        ((16..=20).collect(), json!(20), json!(20))
    );
    let newest = world.get(&format!("{path}?limit=3"), &token).await.json();
    assert_eq!(numbers(&newest), [20, 19, 18]);

    let receipts = format!("{path}/receipts");
    let read = world.post(&receipts, &token, &json!({"receipt": "read", "upTo": 5})).await;
    assert_eq!((read.status.as_u16(), read.json()), (200, json!({"unread": 15, "last": 20})), "{}", read.text);
    let again = world.post(&receipts, &token, &json!({"receipt": "read", "numbers": [5, 7, 999]})).await;
    assert_eq!(again.json()["unread"], 14);
    assert_eq!(world.get(&format!("{path}/unread"), &token).await.json(), json!({"unread": 14, "last": 20}));

    let entry = world.get(&format!("{path}?after=4&limit=1"), &token).await.json()["items"][0].clone();
    assert!(entry["readAt"].is_string() && entry["deliveredAt"].is_string());
    let record = world.show(entry["messageId"].as_str().unwrap()).await;
    assert_eq!(
        (record["deliveryStatus"].clone(), events(&record)),
        (json!("read"), vec!["accepted", "delivered", "read"])
    );
    world.stop().await;
}

#[tokio::test]
async fn delivered_is_not_read() {
    let world = World::start().await;
    let id = world.submit("in-app", json!({"title": "t"})).await;
    world.ended(&id).await;
    let path = format!("/api/users/{TESTUSER}/inbox");
    let delivered =
        world.post(&format!("{path}/receipts"), &world.token(), &json!({"receipt": "delivered", "upTo": 1})).await;
    assert_eq!(delivered.json()["unread"], 1);
    let entry = world.get(&path, &world.token()).await.json()["items"][0].clone();
    assert_eq!((entry["deliveredAt"].is_string(), entry["readAt"].is_null()), (true, true));
    world.stop().await;
}

#[tokio::test]
async fn receipts_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let path = format!("/api/users/{TESTUSER}/inbox/receipts");
    for body in [
        json!({}),
        json!({"receipt": "eaten", "upTo": 1}),
        json!({"receipt": "read"}),
        json!({"receipt": "read", "upTo": 1, "numbers": [1]}),
    ] {
        let answer = world.post(&path, &world.token(), &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
    }
    world.stop().await;
}
