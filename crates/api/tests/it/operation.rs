//! Health, metrics, documentation, and what every answer carries.

use axum::body::Body;
use serde_json::json;

use tidings_core::error::StoreError;
use tidings_testkit::sample::{TESTUSER, USER1};

use crate::world::{World, note_to, request};

#[tokio::test]
async fn health_is_told_in_the_words_of_the_seed() {
    let world = World::new().await;
    let healthy = world.get("/health", "").await;
    assert_eq!(
        (healthy.status.as_u16(), healthy.text.as_str()),
        (
            200,
            r#"{"status":"healthy","database":"connected","rabbitmq":"connected","timestamp":"2026-01-01T00:00:00.000Z"}"#
        )
    );
    world.store.fail_all(Some(StoreError::Unavailable("gone".to_owned())));
    let unhealthy = world.get("/health", "").await;
    assert_eq!((unhealthy.status.as_u16(), &unhealthy.json()["database"]), (503, &json!("disconnected")));
    assert_eq!(unhealthy.json()["status"], "unhealthy");
}

#[tokio::test]
async fn readiness_follows_the_gate() {
    let world = World::new().await;
    let ready = async || {
        let answer = world.get("/ready", "").await;
        (answer.status.as_u16(), answer.text)
    };
    assert_eq!(ready().await, (503, r#"{"status":"starting"}"#.to_owned()));
    world.gate.open();
    assert_eq!(ready().await, (200, r#"{"status":"ready"}"#.to_owned()));
    world.gate.close();
    assert_eq!(ready().await, (503, r#"{"status":"draining"}"#.to_owned()));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let world = World::new().await;
    world.submit(&note_to(USER1)).await;
    let unknown = json!({"targetUserId": TESTUSER, "type": "pigeon", "payload": {"title": "x"}});
    assert_eq!(world.post("/api/notifications", &world.mine(), &unknown).await.status, 400);
    world.get("/nothing/here", "").await;
    assert_eq!(world.get("/metrics", &world.mine()).await.status, 403);
    let text = world.get("/metrics", &world.reader()).await.text;
    for line in [
        r#"notifications_accepted_total{type="in-app"} 1"#,
        r#"notifications_rejected_total{code="unknown_type"} 1"#,
        r#"http_request_duration_seconds_count{method="POST",route="/api/notifications",status="202"} 1"#,
        r#"http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 1"#,
        "http_requests_in_flight 1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains("pigeon") && !text.contains("nothing/here"), "no label comes from a caller");
}

#[tokio::test]
async fn metrics_come_in_two_formats() {
    let world = World::new().await;
    let classic = world.get("/metrics", &world.admin()).await;
    assert!(classic.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(!classic.text.contains("# EOF"));
    let request =
        request("GET", "/metrics", &world.admin()).header("accept", "application/openmetrics-text;version=1.0.0");
    let open = world.send(request.body(Body::empty()).unwrap()).await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(open.text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn every_answer_is_guarded_against_browsers() {
    let world = World::new().await;
    for path in ["/api/notifications", "/health", "/nothing"] {
        let answer = world.get(path, "").await;
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'; frame-ancestors"), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(!answer.header("x-correlation-id").is_empty() && !answer.header("traceparent").is_empty(), "{path}");
        assert!(answer.header("server").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn the_pages_run_their_own_script_and_nothing_else() {
    let world = World::new().await;
    for (path, kind) in [
        ("/docs", "text/html"),
        ("/docs/docs.js", "text/javascript"),
        ("/docs/docs.css", "text/css"),
        ("/docs/errors", "text/html"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = world.get(path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(kind), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(policy.contains("require-trusted-types-for 'script'"), "{path}: {policy}");
    }
}
