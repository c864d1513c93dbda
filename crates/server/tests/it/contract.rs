//! The contract of the notification API, to the letter.

use serde_json::{Value, json};

use crate::harness::{TESTUSER, World, answer};

fn valid() -> Value {
    json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": "Your order has shipped!", "message": "Track your package now.",
           "orderId": "ORD12345", "link": "https://example.com/track/ORD12345"}})
}

#[tokio::test]
async fn an_accepted_notification_is_answered_with_three_fields() {
    let world = World::start().await;
    let answer = world.post("/api/notifications", &world.token(), &valid()).await;
    assert_eq!(answer.status, 202);
    let body = answer.json();
    let id = body["messageId"].as_str().unwrap().to_owned();
    assert!(uuid::Uuid::parse_str(&id).is_ok());
    assert_eq!(body, json!({"messageId": id, "status": "queued", "message": "Notification accepted for processing"}));
    assert_eq!(world.ended(&id).await["status"], "processed");
    world.stop().await;
}

#[tokio::test]
async fn missing_fields_are_named() {
    let world = World::start().await;
    for body in [json!({}), json!({"targetUserId": TESTUSER, "type": "email"}), json!({"type": "email", "payload": {}})]
    {
        let answer = world.post("/api/notifications", &world.token(), &body).await;
        let expected = json!({"error": "Bad Request", "message": "Missing required fields: targetUserId, type, payload", "code": "missing_fields"});
        assert_eq!((answer.status.as_u16(), answer.json()), (400, expected));
    }
    world.stop().await;
}

#[tokio::test]
async fn a_payload_that_is_no_object_is_refused() {
    let world = World::start().await;
    for payload in [json!([]), json!("text"), json!(7)] {
        let body = json!({"targetUserId": TESTUSER, "type": "email", "payload": payload});
        let answer = world.post("/api/notifications", &world.token(), &body).await;
        let expected =
            json!({"error": "Bad Request", "message": "Payload must be a JSON object", "code": "payload_not_object"});
        assert_eq!((answer.status.as_u16(), answer.json()), (400, expected));
    }
    world.stop().await;
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_told() {
    let world = World::start().await;
    let expected =
        json!({"error": "Unauthorized", "message": "Missing or invalid authorization token", "code": "unauthorized"});
    let requests = [
        world.http.post(world.url("/api/notifications")).json(&valid()),
        world.http.post(world.url("/api/notifications")).bearer_auth("nonsense").json(&valid()),
        world.http.post(world.url("/api/notifications")).header("authorization", "Basic dTpw").json(&valid()),
        world.http.get(world.url("/api/notifications")),
        world.http.get(world.url("/api/dead-letters")),
        world.http.get(world.url("/metrics")),
    ];
    for request in requests {
        let answer = answer(request).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (401, expected.clone()));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    world.stop().await;
}

#[tokio::test]
async fn health_has_four_fields() {
    let world = World::start().await;
    let answer = answer(world.http.get(world.url("/health"))).await;
    let body = answer.json();
    let timestamp = body["timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2024-01-21T12:00:00.000Z".len());
    assert!(timestamp.ends_with('Z'));
    let expected =
        json!({"status": "healthy", "database": "connected", "rabbitmq": "connected", "timestamp": timestamp});
    assert_eq!((answer.status.as_u16(), body.clone()), (200, expected));
    world.stop().await;
}

#[tokio::test]
async fn health_tells_when_nothing_can_be_accepted() {
    let world = World::start_with(&[("MIN_FREE_DISK", "1048576 GiB")]).await;
    let health = answer(world.http.get(world.url("/health"))).await;
    assert_eq!(
        (health.status.as_u16(), health.json()["database"].clone()),
        (503, json!("disconnected")),
        "{}",
        health.text
    );
    let refused = world.post("/api/notifications", &world.token(), &valid()).await;
    assert_eq!(refused.verdict(), (507, "storage_full".to_owned()));
    assert!(refused.header("retry-after").is_some());
    world.stop().await;
}

#[tokio::test]
async fn ready_says_ready() {
    let world = World::start().await;
    let answer = answer(world.http.get(world.url("/ready"))).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "ready"})));
    world.stop().await;
}

#[tokio::test]
async fn the_claims_of_the_old_test_token_are_enough_in_development() {
    let world = World::start().await;
    // {"userId":"9fc8…","username":"testuser","iat":1703600000}: no exp.
    let claims = json!({"userId": TESTUSER, "username": "testuser", "iat": 1_703_600_000});
    let token = crate::access::sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims);
    let answer = world.post("/api/notifications", &token, &valid()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    world.stop().await;
}

#[tokio::test]
async fn errors_become_problem_documents_when_asked_for() {
    let world = World::start().await;
    let request = world.http.post(world.url("/api/notifications")).bearer_auth(world.token());
    let answer = answer(request.header("accept", "application/problem+json").json(&json!({}))).await;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!(
        (body["status"].clone(), body["code"].clone(), body["title"].clone()),
        (json!(400), json!("missing_fields"), json!("A required field is absent, null or empty."))
    );
    assert!(body["type"].as_str().unwrap().contains("missing_fields"));
    assert_eq!(body["detail"], "Missing required fields: targetUserId, type, payload");
    world.stop().await;
}

#[tokio::test]
async fn correlation_and_trace_go_all_the_way() {
    let world = World::start().await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = json!({"targetUserId": TESTUSER, "type": "webhook", "payload": {"url": format!("http://{}/hook", world.web.addr())}});
    let request = world.http.post(world.url("/api/notifications")).bearer_auth(world.token());
    let accepted =
        answer(request.header("x-correlation-id", "order-17").header("traceparent", traceparent).json(&body)).await;
    assert_eq!(accepted.header("x-correlation-id"), Some("order-17"));
    let id = accepted.json()["messageId"].as_str().unwrap().to_owned();
    assert_eq!(world.ended(&id).await["correlationId"], "order-17");
    let caught = &world.web.requests()[0];
    assert_eq!(caught.header("x-correlation-id"), Some("order-17"));
    assert!(caught.header("traceparent").unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));

    let made = world.post("/api/notifications", &world.token(), &valid()).await;
    assert!(!made.header("x-correlation-id").unwrap().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn the_documents_of_the_api_are_served_without_a_token() {
    let world = World::start().await;
    let openapi = answer(world.http.get(world.url("/openapi.json"))).await.json();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(openapi["paths"]["/api/notifications"]["post"]["responses"]["202"].is_object());
    let docs = answer(world.http.get(world.url("/docs"))).await;
    assert_eq!(docs.status, 200);
    assert!(docs.header("content-security-policy").unwrap().contains("script-src 'self'"));
    world.stop().await;
}

#[tokio::test]
async fn metrics_need_a_scope_and_tell_of_deliveries() {
    let world = World::start().await;
    let id = world.submit("in-app", json!({"title": "t"})).await;
    world.ended(&id).await;
    assert_eq!(world.get("/metrics", &world.token()).await.verdict(), (403, "forbidden".to_owned()));
    let metrics = world.get("/metrics", &world.admin()).await;
    for name in [
        "notifications_delivered_total",
        "message_delivery_latency_seconds_bucket",
        "queue_depth",
        "http_request_duration_seconds_bucket",
    ] {
        assert!(metrics.text.contains(name), "{name} is missing in\n{}", metrics.text);
    }
    world.stop().await;
}
