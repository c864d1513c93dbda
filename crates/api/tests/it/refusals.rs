//! What is refused before anybody looks at what it means.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use tidings_api::Config;
use tidings_api::token::{Claims, Keys};
use tidings_core::error::StoreError;
use tidings_core::time::Clock;
use tidings_testkit::sample::TESTUSER;

use crate::world::{Answer, World, note_to, request};

const UNAUTHORIZED: &str =
    r#"{"error":"Unauthorized","message":"Missing or invalid authorization token","code":"unauthorized"}"#;

fn assert_unauthorized(answer: &Answer, what: &str) {
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (401, UNAUTHORIZED), "{what}");
    assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}");
}

#[tokio::test]
async fn every_failure_of_a_token_looks_the_same() {
    let world = World::new().await;
    let now = world.clock.now().as_seconds();
    let claims = |exp: Option<i64>| Claims { exp, iat: Some(now), ..Claims::default() };
    let another = Keys::new(b"some other secret that is not ours at all", true);
    for (what, token) in [
        ("none", String::new()),
        ("garbage", "garbage".to_owned()),
        ("expired", world.keys.issue(&claims(Some(now - 3600))).unwrap()),
        ("without expiry", world.keys.issue(&claims(None)).unwrap()),
        ("of another secret", another.issue(&claims(Some(now + 60))).unwrap()),
        ("of an impossible tenant", {
            let tenant = Some("no such/tenant".to_owned());
            world.keys.issue(&Claims { tenant, ..claims(Some(now + 60)) }).unwrap()
        }),
    ] {
        assert_unauthorized(&world.get("/api/notifications", &token).await, what);
    }
}

#[tokio::test]
async fn nobody_without_a_token_has_their_body_read() {
    let world = World::new().await;
    for (method, path) in [
        ("POST", "/api/notifications"),
        ("POST", "/api/notifications/batch"),
        ("POST", "/api/dead-letters/redrive"),
        ("POST", "/api/users"),
        ("PATCH", "/api/users/9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a"),
    ] {
        let request = request(method, path, "").header("content-length", "999999999");
        let answer = world.send(request.body(Body::from("not JSON, and far too long")).unwrap()).await;
        assert_unauthorized(&answer, path);
    }
}

#[tokio::test]
async fn every_route_but_the_open_ones_needs_a_token() {
    let world = World::new().await;
    let description = world.get("/openapi.json", "").await.json();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"].is_array() {
                continue;
            }
            let path = path.replace("{messageId}", "x").replace("{userId}", "x");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            assert_unauthorized(&answer, &path);
        }
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused() {
    let world = World::new().await;
    let long = json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": "x".repeat(5000)}});
    let answer = world.post_raw(long.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "body_too_large"));
    let declared = request("POST", "/api/notifications", &world.mine())
        .header("content-type", "application/json")
        .header("content-length", "4097");
    let answer = world.send(declared.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 413);
    let batch = json!({"notifications": [long]});
    assert_eq!(world.post("/api/notifications/batch", &world.mine(), &batch).await.status, 202);
}

#[tokio::test]
async fn bodies_of_another_kind_are_refused() {
    let world = World::new().await;
    for (name, value) in [("content-type", "text/plain"), ("content-type", "application/xml"), ("x-none", "x")] {
        let request = request("POST", "/api/notifications", &world.mine()).header(name, value);
        let answer = world.send(request.body(Body::from(note_to(TESTUSER).to_string())).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (415, "unsupported_media_type"), "{value}");
    }
    let compressed = request("POST", "/api/notifications", &world.mine())
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    assert_eq!(world.send(compressed.body(Body::from("x")).unwrap()).await.status, 415);
}

#[tokio::test]
async fn bodies_that_are_no_sound_json_are_refused() {
    let world = World::new().await;
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    for (body, code) in [
        (b"".to_vec(), "invalid_json"),
        (b"{".to_vec(), "invalid_json"),
        (b"{\"a\":NaN}".to_vec(), "invalid_json"),
        (b"\xef\xbb\xbf{}".to_vec(), "invalid_json"),
        (b"{\"a\":\"\xff\"}".to_vec(), "invalid_json"),
        (b"[]".to_vec(), "invalid_field"),
        (deep.into_bytes(), "json_too_complex"),
        (b"{}".to_vec(), "missing_fields"),
    ] {
        let shown = String::from_utf8_lossy(&body).chars().take(40).collect::<String>();
        let answer = world.post_raw(body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{shown}");
    }
}

#[tokio::test]
async fn two_idempotency_keys_are_refused() {
    let world = World::new().await;
    let request = request("POST", "/api/notifications", &world.mine())
        .header("content-type", "application/json")
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    let answer = world.send(request.body(Body::from(note_to(TESTUSER).to_string())).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_idempotency_key"));
}

#[tokio::test]
async fn unknown_paths_and_methods_have_bodies_too() {
    let world = World::new().await;
    let unknown = world.get("/api/nothing", "").await;
    assert_eq!((unknown.status.as_u16(), unknown.code().as_str()), (404, "not_found"));
    let wrong = world.with_body("DELETE", "/api/notifications", &world.mine(), &json!({})).await;
    assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (405, "method_not_allowed"));
    let mut allowed: Vec<&str> = wrong.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn problem_details_are_given_to_those_who_accept_them() {
    let world = World::new().await;
    let request =
        request("GET", "/api/notifications?limit=0", &world.mine()).header("accept", "application/problem+json");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    assert_eq!((&body["status"], &body["code"]), (&json!(400), &json!("invalid_field")));
    assert_eq!(
        (&body["type"], &body["instance"]),
        (&json!("/docs/errors#invalid_field"), &json!("/api/notifications"))
    );
    assert_eq!(body["errors"][0]["field"], "limit");
    assert_eq!(body["error"], Value::Null);
}

#[tokio::test]
async fn a_store_that_fails_is_told_without_its_reasons() {
    let world = World::new().await;
    for (error, status, message) in [
        (StoreError::Inconsistent("row 7 of users".to_owned()), 500, "Failed to process notification"),
        (StoreError::Unavailable("disk I/O error".to_owned()), 503, "repeat it with the same idempotency key"),
        (StoreError::Overloaded, 503, ""),
        (StoreError::Full, 507, ""),
        (StoreError::Closed, 503, ""),
    ] {
        world.store.fail_next(error);
        let answer = world.post("/api/notifications", &world.mine(), &note_to(TESTUSER)).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert!(!answer.text.contains("row 7") && !answer.text.contains("disk I/O"), "{}", answer.text);
        assert!(answer.text.contains(message), "{}", answer.text);
        assert_eq!(answer.header("retry-after"), if status == 500 { "" } else { "1" });
    }
}

#[tokio::test]
async fn no_other_origin_is_let_in() {
    let world = World::new().await;
    let request = request("OPTIONS", "/api/notifications", "")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 405);
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn every_route_names_the_fields_at_fault() {
    let world = World::with(Config { registration: true, ..Config::default() }).await;
    let (me, receipts) = (format!("/api/users/{TESTUSER}"), format!("/api/users/{TESTUSER}/inbox/receipts"));
    for (method, path, body, code, field) in [
        ("POST", "/api/auth/login", json!({"username": "ada"}), "missing_fields", "password"),
        ("POST", "/api/auth/login", json!({"username": 7, "password": "x"}), "invalid_field", "username"),
        ("POST", "/api/auth/register", json!({"username": "ada", "password": "x"}), "missing_fields", "email"),
        ("POST", "/api/auth/register", json!({"role": "admin"}), "invalid_field", "role"),
        ("POST", "/api/users", json!({}), "missing_fields", "username"),
        ("POST", "/api/users", json!({"username": "x", "id": "7"}), "invalid_field", "id"),
        ("PATCH", me.as_str(), json!({"email": 7}), "invalid_field", "email"),
        ("PATCH", me.as_str(), json!({"e-mail": "x"}), "invalid_field", "e-mail"),
        ("POST", receipts.as_str(), json!({"upTo": 1}), "missing_fields", "receipt"),
        ("POST", receipts.as_str(), json!({"receipt": "seen", "upTo": 1}), "invalid_field", "receipt"),
        ("POST", receipts.as_str(), json!({"receipt": 1, "upTo": 1}), "invalid_field", "receipt"),
        ("POST", receipts.as_str(), json!({"receipt": "read", "numbers": [1, -2]}), "invalid_field", "numbers[1]"),
        ("POST", "/api/dead-letters/redrive", json!({"userId": "me"}), "invalid_field", "userId"),
        ("POST", "/api/dead-letters/redrive", json!({"from": "yesterday"}), "invalid_field", "from"),
        ("POST", "/api/notifications/batch", json!({"notifications": {}}), "invalid_field", "notifications"),
        ("GET", "/api/notifications?limit=0", json!({}), "invalid_field", "limit"),
        ("GET", "/api/users?after=me", json!({}), "invalid_field", "after"),
        ("GET", "/api/dead-letters?status=x", json!({}), "invalid_field", "status"),
    ] {
        let answer = world.with_body(method, path, &world.admin(), &body).await;
        let told = answer.json();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{method} {path} {body}: {told}");
        assert_eq!(told["errors"][0]["field"], field, "{method} {path} {body}: {told}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(field) && !message.contains("at line"), "{message}");
    }
}
