//! Following notifications to their end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{TESTUSER, USER1, World, events};

fn ids(answer: &Value) -> Vec<String> {
    answer["items"].as_array().unwrap().iter().map(|item| item["messageId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_record_tells_everything() {
    let world = World::start().await;
    let further = json!({"category": "orders", "priority": "high", "metadata": {"order": 17}});
    let id = world.submit_with("in-app", json!({"title": "t", "extra": [1, 2]}), further).await;
    let record = world.ended(&id).await;
    for (field, value) in [
        ("messageId", json!(id)),
        ("targetUserId", json!(TESTUSER)),
        ("type", json!("in-app")),
        ("category", json!("orders")),
        ("routingKey", json!("notification.in-app.orders")),
        ("priority", json!("high")),
        ("status", json!("processed")),
        ("deliveryStatus", json!("delivered")),
        ("payload", json!({"title": "t", "extra": [1, 2]})),
        ("metadata", json!({"order": 17})),
        ("retriesAttempted", json!(0)),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert_eq!(events(&record), ["accepted", "delivered"]);
    world.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged_without_loss_or_repeat() {
    let world = World::start().await;
    let mut sent = Vec::new();
    for number in 0..7 {
        sent.push(
            world
                .submit_with(
                    "in-app",
                    json!({"title": number.to_string()}),
                    json!({"category": if number % 2 == 0 { "even" } else { "odd" }}),
                )
                .await,
        );
    }
    let mail = world.submit("email", json!({"subject": "s", "body": "b"})).await;
    world.ended(&mail).await;
    world.ended(sent.last().unwrap()).await;

    let (mut seen, mut path) = (Vec::new(), "/api/notifications?limit=3&type=in-app".to_owned());
    loop {
        let page = world.get(&path, &world.token()).await.json();
        seen.extend(ids(&page));
        // What arrives meanwhile does not disturb the pages.
        world.submit("email", json!({"subject": "s", "body": "b"})).await;
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/notifications?limit=3&type=in-app&cursor={cursor}"),
            None => break,
        }
    }
    sent.reverse();
    assert_eq!(seen, sent);
    let even = world.get("/api/notifications?category=even&status=processed", &world.token()).await.json();
    assert_eq!(ids(&even).len(), 4);
    let failed = world.get("/api/notifications?status=failed", &world.token()).await.json();
    assert_eq!(ids(&failed).len(), 0);
    let later = world.get("/api/notifications?from=2100-01-01T00:00:00Z", &world.token()).await.json();
    assert_eq!(ids(&later).len(), 0);
    let others = world.get(&format!("/api/notifications?userId={USER1}"), &world.admin()).await.json();
    assert_eq!(ids(&others).len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_schedule_waits_for_its_time_and_can_be_called_back() {
    let world = World::start().await;
    let at = (tidings_core::time::Clock::now(&*world.clock) + Duration::from_hours(1)).to_string();
    let later = world.submit_with("in-app", json!({"title": "later"}), json!({"sendAt": at})).await;
    let never = world.submit_with("in-app", json!({"title": "never"}), json!({"sendAt": at})).await;
    assert_eq!(world.show(&later).await["deliveryStatus"], "scheduled");

    let path = format!("/api/notifications/{never}/cancel");
    let cancelled = world.post(&path, &world.token(), &json!({})).await;
    assert_eq!(
        (cancelled.status.as_u16(), cancelled.json()["deliveryStatus"].clone()),
        (200, json!("cancelled")),
        "{}",
        cancelled.text
    );
    assert_eq!(world.post(&path, &world.token(), &json!({})).await.verdict(), (409, "not_cancellable".to_owned()));

    world.advance(Duration::from_secs(3601));
    assert_eq!(world.ended(&later).await["status"], "processed");
    let record = world.show(&never).await;
    assert_eq!((record["status"].clone(), events(&record)), (json!("failed"), vec!["accepted", "cancelled"]));
    world.stop().await;
}
