//! What happens when providers fail.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_catcher::{HttpAnswer, SmtpAnswer, SmtpStage};

use crate::harness::{World, events, instant};

fn hook(world: &World, path: &str) -> Value {
    json!({"url": format!("http://{}{path}", world.web.addr())})
}

fn failing(code: u16) -> HttpAnswer {
    HttpAnswer::Status { code, headers: Vec::new(), body: b"not now".to_vec() }
}

async fn after_attempts(world: &World, id: &str, count: usize) -> Value {
    world
        .until(id, |record| {
            record["attempts"].as_array().unwrap().len() == count && record["deliveryStatus"] != "sending"
        })
        .await
}

#[tokio::test]
async fn a_failing_receiver_is_tried_on_schedule_and_then_buried() {
    let world = World::start().await;
    let id = world.submit("webhook", hook(&world, "/status/503")).await;
    for (attempt, seconds) in [(1, 2), (2, 10), (3, 60)] {
        let record = after_attempts(&world, &id, attempt).await;
        assert_eq!(
            (record["status"].clone(), record["deliveryStatus"].clone()),
            (json!("pending"), json!("retrying")),
            "{record:#}"
        );
        let due = instant(&record["sendAt"]);
        let wait = due.since(instant(&record["journal"].as_array().unwrap().last().unwrap()["at"]));
        let scheduled = Duration::from_secs(seconds);
        assert!(wait >= scheduled.mul_f64(0.8) && wait <= scheduled.mul_f64(1.2), "{wait:?} for {scheduled:?}");
        world.advance(scheduled.mul_f64(1.2));
    }
    let record = world.ended(&id).await;
    assert_eq!(
        (record["status"].clone(), record["deliveryStatus"].clone(), record["retriesAttempted"].clone()),
        (json!("failed"), json!("dead"), json!(3))
    );
    assert_eq!(events(&record), ["accepted", "retry-scheduled", "retry-scheduled", "retry-scheduled", "dead"]);
    assert!(record["errorMessage"].as_str().unwrap().contains("503"), "{record:#}");
    let ids: Vec<Option<String>> =
        world.web.requests().iter().map(|request| request.header("webhook-id").map(str::to_owned)).collect();
    assert_eq!(ids, vec![Some(id.clone()); 4], "the id towards the provider never changes");
    let letters = world.get("/api/dead-letters?reviewStatus=pending", &world.admin()).await.json();
    assert_eq!(letters["items"][0]["messageId"], json!(id));
    world.stop().await;
}

#[tokio::test]
async fn a_receiver_that_recovers_is_reached() {
    let world = World::start().await;
    world.web.script([failing(500)]);
    let id = world.submit("webhook", hook(&world, "/hook")).await;
    after_attempts(&world, &id, 1).await;
    world.advance(Duration::from_secs(3));
    let record = world.ended(&id).await;
    assert_eq!((record["status"].clone(), record["retriesAttempted"].clone()), (json!("processed"), json!(1)));
    assert_eq!(record["errorMessage"], Value::Null);
    world.stop().await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let world = World::start().await;
    world.web.script([HttpAnswer::Status {
        code: 429,
        headers: vec![("retry-after".to_owned(), "120".to_owned())],
        body: Vec::new(),
    }]);
    let id = world.submit("webhook", hook(&world, "/hook")).await;
    let record = after_attempts(&world, &id, 1).await;
    let wait = instant(&record["sendAt"]).since(instant(&record["attempts"][0]["startedAt"]));
    assert!(wait >= Duration::from_mins(2) && wait <= Duration::from_secs(125), "{wait:?}");
    world.stop().await;
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    let world = World::start().await;
    for code in [400, 401, 404, 410, 301] {
        let id = world.submit("webhook", hook(&world, &format!("/status/{code}"))).await;
        let record = world.ended(&id).await;
        assert_eq!(
            (record["deliveryStatus"].clone(), record["attempts"].as_array().unwrap().len()),
            (json!("dead"), 1),
            "{code}"
        );
        assert_eq!(record["attempts"][0]["code"], code.to_string());
    }
    world.stop().await;
}

#[tokio::test]
async fn mail_servers_say_later_with_4xx_and_never_with_5xx() {
    let world = World::start().await;
    let payload = json!({"to": "ada@example.com", "subject": "s", "body": "b"});
    world.mail.script([SmtpAnswer::Reply { stage: SmtpStage::Rcpt, code: 451, text: "try later".to_owned() }]);
    let later = world.submit("email", payload.clone()).await;
    assert_eq!(after_attempts(&world, &later, 1).await["deliveryStatus"], "retrying");
    world.advance(Duration::from_secs(3));
    assert_eq!(world.ended(&later).await["status"], "processed");

    world.mail.script([SmtpAnswer::Reply { stage: SmtpStage::Rcpt, code: 550, text: "no such user".to_owned() }]);
    let never = world.submit("email", payload).await;
    let record = world.ended(&never).await;
    assert_eq!(
        (record["deliveryStatus"].clone(), record["attempts"][0]["code"].clone()),
        (json!("dead"), json!("550")),
        "{record:#}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_and_tried_again() {
    let world = World::start_with(&[("ATTEMPT_TIMEOUT", "1s")]).await;
    world.web.script([HttpAnswer::Hang]);
    let id = world.submit("webhook", hook(&world, "/hook")).await;
    let record = after_attempts(&world, &id, 1).await;
    assert_eq!(record["attempts"][0]["outcome"], "unknown", "{record:#}");
    world.advance(Duration::from_secs(3));
    assert_eq!(world.ended(&id).await["status"], "processed");
    world.stop().await;
}

#[tokio::test]
async fn a_receiver_that_closes_or_floods_is_survived() {
    let world = World::start_with(&[("ATTEMPT_TIMEOUT", "2s")]).await;
    world.web.script([HttpAnswer::CloseAfterBody]);
    let cut = world.submit("webhook", hook(&world, "/hook")).await;
    assert_eq!(after_attempts(&world, &cut, 1).await["attempts"][0]["outcome"], "unknown");
    world.web.script([HttpAnswer::Huge { bytes: 50 * 1024 * 1024 }]);
    let flooded = world.submit("webhook", hook(&world, "/flood")).await;
    assert_eq!(world.ended(&flooded).await["status"], "processed");
    world.stop().await;
}

#[tokio::test]
async fn one_time_codes_are_never_sent_twice() {
    let policies = "[[policies]]\npattern = \"notification.webhook.otp\"\nguarantee = \"at-most-once\"\n";
    let world = World::start_with_file(&[("ATTEMPT_TIMEOUT", "1s")], policies).await;
    world.web.script([HttpAnswer::Hang]);
    let id = world.submit_with("webhook", hook(&world, "/hook"), json!({"category": "otp"})).await;
    let record = world.ended(&id).await;
    assert_eq!(
        (record["deliveryStatus"].clone(), record["attempts"].as_array().unwrap().len()),
        (json!("dead"), 1),
        "{record:#}"
    );
    world.stop().await;
}

#[tokio::test]
async fn what_has_expired_is_not_sent() {
    let world = World::start().await;
    world.web.script([failing(503)]);
    let id = world.submit_with("webhook", hook(&world, "/hook"), json!({"ttlSeconds": 5})).await;
    after_attempts(&world, &id, 1).await;
    world.advance(Duration::from_mins(1));
    let record = world.ended(&id).await;
    assert_eq!((record["deliveryStatus"].clone(), world.web.requests().len()), (json!("expired"), 1));
    world.stop().await;
}

#[tokio::test]
async fn a_dead_endpoint_does_not_delay_a_live_one() {
    let world = World::start().await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = dead.local_addr().unwrap();
    drop(dead);
    let items: Vec<Value> = (0..1000)
        .map(|_| json!({"targetUserId": crate::harness::TESTUSER, "type": "webhook", "payload": {"url": format!("http://{closed}/")}}))
        .collect();
    for _ in 0..10 {
        let answer = world.post("/api/notifications/batch", &world.token(), &json!({"notifications": items})).await;
        assert_eq!(answer.json()["accepted"], 1000);
    }
    let id = world.submit("webhook", hook(&world, "/live")).await;
    let record = world.ended(&id).await;
    let took = instant(&record["processedAt"]).since(instant(&record["createdAt"]));
    assert_eq!(record["status"], "processed");
    assert!(took < Duration::from_secs(2), "{took:?}");
    world.stop().await;
}

#[tokio::test]
async fn operators_are_told_of_ends_by_a_signed_event() {
    let events = tidings_catcher::HttpCatcher::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/events", events.addr());
    let world = World::start_with(&[("EVENTS_URL", &url)]).await;
    let good = world.submit("in-app", json!({"title": "t"})).await;
    let bad = world.dead_letter().await;
    events.wait_for(2, crate::harness::PATIENCE).await.unwrap();
    let mut told: Vec<(String, String)> = events
        .requests()
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            (body["type"].as_str().unwrap().to_owned(), body["data"]["messageId"].as_str().unwrap().to_owned())
        })
        .collect();
    told.sort();
    assert_eq!(told, [("notification.dead".to_owned(), bad), ("notification.delivered".to_owned(), good)]);
    for request in events.requests() {
        assert_eq!(request.json()["system"], true);
    }
    let forged =
        json!({"url": format!("http://{}/hook", world.web.addr()), "event": "notification.delivered", "system": true});
    let id = world.submit("webhook", forged).await;
    world.ended(&id).await;
    let caught = world.web.requests().into_iter().find(|request| request.path == "/hook").unwrap();
    assert_eq!(caught.json()["system"], Value::Null, "a caller cannot speak as the system");
    world.stop().await;
}
