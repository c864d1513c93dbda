//! Dead letters and what people do with them.

use serde_json::{Value, json};

use crate::harness::{World, events};

fn path(id: &str, rest: &str) -> String {
    format!("/api/dead-letters/{id}{rest}")
}

#[tokio::test]
async fn a_dead_letter_is_looked_at_edited_and_sent_anew() {
    let world = World::start().await;
    let id = world.dead_letter().await;
    let admin = world.admin();
    let letter = world.get(&path(&id, ""), &admin).await.json();
    assert_eq!(
        (letter["reviewStatus"].clone(), letter["attempts"].clone()),
        (json!("pending"), json!(1)),
        "{letter:#}"
    );
    assert!(letter["error"].as_str().unwrap().contains("400"));

    let noted = world
        .call(
            reqwest::Method::PATCH,
            &path(&id, ""),
            &admin,
            Some(&json!({"note": "wrong path", "reviewStatus": "reviewing"})),
        )
        .await;
    assert_eq!(
        (noted.json()["note"].clone(), noted.json()["reviewStatus"].clone()),
        (json!("wrong path"), json!("reviewing")),
        "{}",
        noted.text
    );

    let payload = json!({"url": format!("http://{}/right", world.web.addr())});
    let redriven = world.post(&path(&id, "/redrive"), &admin, &json!({"payload": payload})).await;
    assert_eq!(
        (redriven.status.as_u16(), redriven.json()["reviewStatus"].clone()),
        (200, json!("redriven")),
        "{}",
        redriven.text
    );
    let new = redriven.json()["redrivenAs"].as_str().unwrap().to_owned();
    assert_ne!(new, id);
    let record = world.ended(&new).await;
    assert_eq!(
        (record["status"].clone(), record["redriveOf"].clone(), record["payload"].clone()),
        (json!("processed"), json!(id), payload)
    );

    let old = world.show(&id).await;
    assert_eq!((old["status"].clone(), events(&old)), (json!("failed"), vec!["accepted", "dead", "redriven"]));
    let again = world.post(&path(&id, "/redrive"), &admin, &json!({})).await;
    assert_eq!(again.verdict(), (409, "dead_letter_closed".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn an_edit_is_checked_like_any_payload() {
    let world = World::start().await;
    let id = world.dead_letter().await;
    let answer =
        world.post(&path(&id, "/redrive"), &world.admin(), &json!({"payload": {"url": "http://10.0.0.1/"}})).await;
    assert_eq!(answer.verdict(), (400, "destination_not_allowed".to_owned()));
    assert_eq!(world.get(&path(&id, ""), &world.admin()).await.json()["reviewStatus"], "pending");
    world.stop().await;
}

#[tokio::test]
async fn a_discarded_letter_stays_discarded() {
    let world = World::start().await;
    let id = world.dead_letter().await;
    let discarded = world.post(&path(&id, "/discard"), &world.admin(), &json!({"note": "test data"})).await;
    assert_eq!(discarded.json()["reviewStatus"], "discarded", "{}", discarded.text);
    assert_eq!(world.post(&path(&id, "/redrive"), &world.admin(), &json!({})).await.status, 409);
    let pending = world.get("/api/dead-letters?reviewStatus=pending", &world.admin()).await.json();
    assert_eq!(pending["items"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn many_are_sent_anew_by_a_filter() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.dead_letter().await);
    }
    let none = world.post("/api/dead-letters/redrive", &world.admin(), &json!({"type": "email"})).await.json();
    assert_eq!(none["redriven"], 0);
    let two =
        world.post("/api/dead-letters/redrive", &world.admin(), &json!({"type": "webhook", "limit": 2})).await.json();
    assert_eq!(two["redriven"], 2, "{two:#}");
    // Those two are refused again, and then they are dead letters like the rest.
    for id in two["messageIds"].as_array().unwrap() {
        world.ended(id.as_str().unwrap()).await;
    }
    let rest =
        world.post("/api/dead-letters/redrive", &world.admin(), &json!({"reviewStatus": "pending"})).await.json();
    assert_eq!(rest["redriven"], 5, "{rest:#}");
    world.stop().await;
}

#[tokio::test]
async fn an_alert_is_sent_once_when_too_many_are_pending() {
    let alerts = tidings_catcher::HttpCatcher::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/alert", alerts.addr());
    let world = World::start_with(&[
        ("ALERT_PENDING", "2"),
        ("ALERT_WEBHOOK_URL", &url),
        ("ALERT_EMAIL", "ops@example.com"),
        ("ALERT_EVERY", "100ms"),
    ])
    .await;
    for _ in 0..3 {
        world.dead_letter().await;
    }
    alerts.wait_for(1, crate::harness::PATIENCE).await.unwrap();
    world.mail.wait_for(1, crate::harness::PATIENCE).await.unwrap();
    let body: Value = serde_json::from_slice(&alerts.requests()[0].body).unwrap();
    assert_eq!(body["data"]["pending"], 3, "{body:#}");
    assert_eq!(world.mail.mails()[0].to, ["ops@example.com"]);
    world.dead_letter().await;
    let metrics = world.get("/metrics", &world.admin()).await.text;
    assert!(metrics.contains("dead_letter_alerts_total 1"), "{metrics}");
    world.stop().await;
}
