//! Accepting notifications and following them.

use axum::body::Body;
use serde_json::{Value, json};

use tidings_core::delivery::Verdict;
use tidings_testkit::sample::{TESTUSER, USER1};

use crate::world::{World, note_to, request};

#[tokio::test]
async fn an_accepted_notification_is_answered_in_the_words_of_the_seed() {
    let world = World::new().await;
    let answer = world.post("/api/notifications", &world.mine(), &note_to(USER1)).await;
    let id = answer.json()["messageId"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.text,
        format!(r#"{{"messageId":"{id}","status":"queued","message":"Notification accepted for processing"}}"#)
    );
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.headers.contains_key("idempotency-replayed"));
}

#[tokio::test]
async fn what_the_seed_refuses_is_refused_in_its_words() {
    let world = World::new().await;
    for (body, expected) in [
        (
            json!({"type": "email", "payload": {}}),
            r#"{"error":"Bad Request","message":"Missing required fields: targetUserId, type, payload","code":"missing_fields"}"#,
        ),
        (
            json!({"targetUserId": TESTUSER, "type": "email", "payload": "text"}),
            r#"{"error":"Bad Request","message":"Payload must be a JSON object","code":"payload_not_object"}"#,
        ),
    ] {
        let answer = world.post("/api/notifications", &world.mine(), &body).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, expected));
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = World::new().await;
    let send = async |key: &str, body: &Value| {
        let request = request("POST", "/api/notifications", &world.mine())
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        world.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let first = send("order-17", &note_to(TESTUSER)).await;
    let again = send("\"order-17\"", &note_to(TESTUSER)).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 202));
    assert_eq!((first.text.as_str(), again.header("idempotency-replayed")), (again.text.as_str(), "true"));
    let other = send("order-17", &note_to(USER1)).await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (422, "idempotency_mismatch"));
}

#[tokio::test]
async fn one_bad_item_does_not_sink_a_batch() {
    let world = World::new().await;
    let batch = json!({"notifications": [
        note_to(TESTUSER),
        {"targetUserId": TESTUSER, "type": "pigeon", "payload": {}},
        note_to(USER1),
    ]});
    let answer = world.post("/api/notifications/batch", &world.mine(), &batch).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(2), &json!(1)));
    let statuses: Vec<&str> =
        body["results"].as_array().unwrap().iter().filter_map(|result| result["status"].as_str()).collect();
    assert_eq!(statuses, ["queued", "rejected", "queued"]);
    assert_eq!(body["results"][1]["error"]["code"], "unknown_type");
}

#[tokio::test]
async fn a_batch_without_a_good_item_is_refused_in_the_same_shape() {
    let world = World::new().await;
    let batch = json!({"notifications": [{"targetUserId": TESTUSER, "type": "pigeon", "payload": {}}]});
    let answer = world.post("/api/notifications/batch", &world.mine(), &batch).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["rejected"], 1);
}

#[tokio::test]
async fn a_batch_does_not_take_one_key_for_all() {
    let world = World::new().await;
    let request = request("POST", "/api/notifications/batch", &world.mine())
        .header("content-type", "application/json")
        .header("idempotency-key", "k");
    let body = json!({"notifications": [note_to(TESTUSER)]}).to_string();
    let answer = world.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_idempotency_key"));
}

#[tokio::test]
async fn a_notification_is_followed_to_its_end() {
    let world = World::new().await;
    let id = world.submit(&note_to(TESTUSER)).await;
    let path = format!("/api/notifications/{id}");
    let waiting = world.get(&path, &world.mine()).await.json();
    assert_eq!((&waiting["status"], &waiting["deliveryStatus"]), (&json!("pending"), &json!("queued")));
    world.attempt(Verdict::Delivered).await;
    let delivered = world.get(&path, &world.mine()).await.json();
    assert_eq!((&delivered["status"], &delivered["deliveryStatus"]), (&json!("processed"), &json!("delivered")));
    assert_eq!(delivered["payload"], json!({"title": "Hello"}));
    assert_eq!(delivered["attempts"][0]["outcome"], "delivered");
    let events: Vec<&str> =
        delivered["journal"].as_array().unwrap().iter().filter_map(|entry| entry["event"].as_str()).collect();
    assert_eq!(events, ["accepted", "delivered"]);
}

#[tokio::test]
async fn correlation_and_trace_are_taken_returned_and_kept() {
    let world = World::new().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = request("POST", "/api/notifications", &world.mine())
        .header("content-type", "application/json")
        .header("x-correlation-id", "order-17")
        .header("traceparent", trace);
    let answer = world.send(request.body(Body::from(note_to(TESTUSER).to_string())).unwrap()).await;
    assert_eq!((answer.header("x-correlation-id"), answer.header("traceparent")), ("order-17", trace));
    let id = answer.json()["messageId"].as_str().unwrap().to_owned();
    let record = world.get(&format!("/api/notifications/{id}"), &world.mine()).await.json();
    assert_eq!((&record["correlationId"], &record["traceparent"]), (&json!("order-17"), &json!(trace)));
}

#[tokio::test]
async fn what_is_somebody_elses_does_not_exist() {
    let world = World::new().await;
    let id = world.submit(&note_to(USER1)).await;
    let path = format!("/api/notifications/{id}");
    let theirs = world.get(&path, &world.mine()).await;
    let unknown = world.get("/api/notifications/00000000-0000-7000-8000-000000000000", &world.mine()).await;
    assert_eq!((theirs.status.as_u16(), unknown.status.as_u16()), (404, 404));
    assert_eq!(world.post(&format!("{path}/cancel"), &world.mine(), &json!({})).await.status, 404);
    assert_eq!(world.get(&path, &world.reader()).await.status, 200);
    assert_eq!(world.get(&path, &world.admin()).await.status, 200);
}

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    let world = World::new().await;
    for user in [TESTUSER, USER1, TESTUSER, TESTUSER] {
        world.submit(&note_to(user)).await;
    }
    let ids = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|item| item["targetUserId"].clone()).collect()
    };
    let mine = world.get("/api/notifications", &world.mine()).await.json();
    assert_eq!(ids(&mine), vec![json!(TESTUSER); 3]);
    let first = world.get("/api/notifications?limit=3&type=in-app", &world.admin()).await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let rest = world.get(&format!("/api/notifications?limit=3&cursor={cursor}"), &world.admin()).await.json();
    assert_eq!((ids(&first).len(), ids(&rest).len(), &rest["nextCursor"]), (3, 1, &Value::Null));
    let theirs = world.get(&format!("/api/notifications?userId={USER1}"), &world.mine()).await.json();
    assert_eq!(ids(&theirs), Vec::<Value>::new());
    let misspelt = world.get("/api/notifications?user=x", &world.mine()).await;
    assert_eq!((misspelt.status.as_u16(), misspelt.code().as_str()), (400, "invalid_field"));
}

#[tokio::test]
async fn a_notification_is_called_back_while_it_waits() {
    let world = World::new().await;
    let id = world.submit(&note_to(TESTUSER)).await;
    let path = format!("/api/notifications/{id}/cancel");
    let request = request("POST", &path, &world.mine()).body(Body::empty()).unwrap();
    let cancelled = world.send(request).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json()["deliveryStatus"]), (200, &json!("cancelled")));
    let again = world.post(&path, &world.mine(), &json!({})).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "not_cancellable"));
}
