//! Reviewing dead letters.

use axum::body::Body;
use serde_json::{Value, json};

use tidings_core::delivery::Verdict;
use tidings_testkit::sample::TESTUSER;

use crate::world::{World, request};

fn email() -> Value {
    json!({"targetUserId": TESTUSER, "type": "email", "payload": {"subject": "Hello", "body": "You"}})
}

/// A world with one dead letter, and the path of it.
async fn with_a_dead_letter() -> (World, String) {
    let world = World::new().await;
    let id = world.submit(&email()).await;
    world.attempt(Verdict::Reject).await;
    (world, format!("/api/dead-letters/{id}"))
}

#[tokio::test]
async fn dead_letters_are_for_administrators() {
    let (world, letter) = with_a_dead_letter().await;
    for token in [world.mine(), world.reader()] {
        assert_eq!(world.get("/api/dead-letters", &token).await.status, 403);
        assert_eq!(world.get(&letter, &token).await.status, 403);
        assert_eq!(world.post("/api/dead-letters/redrive", &token, &json!({})).await.status, 403);
    }
}

#[tokio::test]
async fn a_dead_letter_is_listed_annotated_and_discarded() {
    let (world, letter) = with_a_dead_letter().await;
    let admin = world.admin();
    let page = world.get("/api/dead-letters?type=email&reviewStatus=pending&error=said", &admin).await.json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["nextCursor"]), (1, &Value::Null));
    assert_eq!(page["items"][0]["error"], "said the provider");
    let note = json!({"reviewStatus": "reviewing", "note": "asked"});
    let annotated = world.patch(&letter, &admin, &note).await.json();
    assert_eq!((&annotated["reviewStatus"], &annotated["note"]), (&json!("reviewing"), &json!("asked")));
    let discarded = world.post(&format!("{letter}/discard"), &admin, &json!({"note": "old"})).await.json();
    assert_eq!(discarded["reviewStatus"], "discarded");
    let again = world.post(&format!("{letter}/redrive"), &admin, &json!({})).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "dead_letter_closed"));
}

#[tokio::test]
async fn a_dead_letter_is_sent_anew_without_a_body() {
    let (world, letter) = with_a_dead_letter().await;
    let request = request("POST", &format!("{letter}/redrive"), &world.admin()).body(Body::empty()).unwrap();
    let redriven = world.send(request).await;
    assert_eq!((redriven.status.as_u16(), &redriven.json()["reviewStatus"]), (200, &json!("redriven")));
    let new = redriven.json()["redrivenAs"].as_str().unwrap().to_owned();
    let record = world.get(&format!("/api/notifications/{new}"), &world.admin()).await.json();
    assert_eq!((&record["status"], &record["payload"]["subject"]), (&json!("pending"), &json!("Hello")));
}

#[tokio::test]
async fn a_dead_letter_is_sent_anew_with_another_payload() {
    let (world, letter) = with_a_dead_letter().await;
    let edited = json!({"payload": {"subject": "Mended", "body": "You"}});
    let redriven = world.post(&format!("{letter}/redrive"), &world.admin(), &edited).await.json();
    let new = redriven["redrivenAs"].as_str().unwrap();
    let record = world.get(&format!("/api/notifications/{new}"), &world.admin()).await.json();
    assert_eq!(record["payload"]["subject"], "Mended");
    let unknown = world.post(&format!("{letter}/redrive"), &world.admin(), &json!({"to": "x"})).await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test]
async fn what_matches_is_sent_anew_in_bulk() {
    let world = World::new().await;
    for _ in 0..3 {
        world.submit(&email()).await;
    }
    world.attempt(Verdict::Reject).await;
    let filter = json!({"type": "email", "limit": 2});
    let first = world.post("/api/dead-letters/redrive", &world.admin(), &filter).await.json();
    assert_eq!((&first["redriven"], &first["skipped"]), (&json!(2), &json!([])));
    assert_eq!(first["messageIds"].as_array().unwrap().len(), 2);
    let more = json!({"type": "email", "cursor": first["nextCursor"]});
    let rest = world.post("/api/dead-letters/redrive", &world.admin(), &more).await.json();
    assert_eq!((&rest["redriven"], &rest["nextCursor"]), (&json!(1), &Value::Null));
}
