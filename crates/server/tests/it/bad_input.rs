//! What clients should not send, and what they are told.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{PATIENCE, TESTUSER, World, answer};

fn with(field: &str, value: Value) -> Value {
    json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": "t"}, (field): value})
}

#[tokio::test]
async fn each_mistake_has_its_code() {
    let world = World::start().await;
    let past = "2020-01-01T00:00:00Z";
    let cases = [
        (with("targetUserId", json!("not-a-uuid")), 400, "invalid_field"),
        (with("targetUserId", json!("00000000-0000-4000-8000-000000000000")), 422, "unknown_user"),
        (with("targetUserId", json!(["a"])), 400, "invalid_field"),
        (with("type", json!("pigeon")), 400, "unknown_type"),
        (with("type", json!(7)), 400, "invalid_field"),
        (with("category", json!("no spaces please")), 400, "invalid_field"),
        (with("priority", json!("urgent")), 400, "invalid_field"),
        (with("expiresAt", json!(past)), 400, "expires_in_past"),
        (with("sendAt", json!("2126-01-01T00:00:00Z")), 400, "send_at_out_of_range"),
        (with("sendAt", json!("tomorrow")), 400, "invalid_field"),
        (with("ttlSeconds", json!(0)), 400, "invalid_field"),
        (with("idempotencyKey", json!("")), 400, "invalid_field"),
        (with("metadata", json!("text")), 400, "invalid_field"),
        (with("payload", json!({})), 400, "invalid_payload"),
    ];
    for (body, status, code) in cases {
        let answer = world.post("/api/notifications", &world.token(), &body).await;
        assert_eq!(answer.verdict(), (status, code.to_owned()), "{body}: {}", answer.text);
    }
    assert_eq!(world.get("/api/notifications", &world.token()).await.json()["items"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn payloads_are_checked_before_anything_is_queued() {
    let world = World::start().await;
    let cases = [
        ("email", json!({"to": "nobody", "subject": "s", "body": "b"}), "payload.to"),
        ("email", json!({"to": "a@b.example\r\nBcc: x@y.example", "subject": "s", "body": "b"}), "payload.to"),
        ("email", json!({"to": "a@b.example", "subject": "s\r\nBcc: x@y.example", "body": "b"}), "payload.subject"),
        ("email", json!({"to": "a@b.example", "body": "b"}), "payload.subject"),
        ("sms", json!({"phoneNumber": "0123", "message": "m"}), "payload.phoneNumber"),
        ("sms", json!({"phoneNumber": "+12345678901"}), "payload.message"),
        ("webhook", json!({"url": "not a url"}), "payload.url"),
        ("webhook", json!({"url": "https://example.com", "headers": {"host": "evil"}}), "payload.headers"),
    ];
    for (channel, payload, field) in cases {
        let body = json!({"targetUserId": TESTUSER, "type": channel, "payload": payload});
        let answer = world.post("/api/notifications", &world.token(), &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        let named = answer.json()["errors"][0]["field"].as_str().unwrap_or_default().to_owned();
        assert!(named.starts_with(field), "{body}: {}", answer.text);
    }
    world.stop().await;
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let world = World::start_with(&[("OUTBOUND_ALLOW", "")]).await;
    for url in [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1:8080/",
        "http://localhost:8080/",
        "https://user:password@example.com/",
        "https://example.com:22/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
    ] {
        let body = json!({"targetUserId": TESTUSER, "type": "webhook", "payload": {"url": url}});
        let answer = world.post("/api/notifications", &world.token(), &body).await;
        assert_eq!(answer.status, 400, "{url}: {}", answer.text);
    }
    world.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let world = World::start().await;
    let cases: [(&[u8], u16, &str); 6] = [
        (b"{", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"[]", 400, "invalid_field"),
        (b"\xff\xfe{}", 400, "invalid_json"),
        (b"{\"type\":\"a\",\"type\":\"b\"}", 400, "invalid_json"),
        (b"{\"payload\":NaN}", 400, "invalid_json"),
    ];
    for (body, status, code) in cases {
        let answer = world.post_raw("/api/notifications", "application/json", body.to_vec()).await;
        assert_eq!(answer.verdict(), (status, code.to_owned()), "{}", String::from_utf8_lossy(body));
    }
    let deep = answer_code(&world, "[".repeat(100_000)).await;
    assert_eq!(deep, (400, "json_too_complex".to_owned()));
    world.stop().await;
}

async fn answer_code(world: &World, body: String) -> (u16, String) {
    world.post_raw("/api/notifications", "application/json", body).await.verdict()
}

#[tokio::test]
async fn oversize_bodies_are_refused_before_they_are_read() {
    let world = World::start().await;
    let large = with("payload", json!({"title": "t", "message": "x".repeat(300 * 1024)})).to_string();
    assert_eq!(answer_code(&world, large).await, (413, "body_too_large".to_owned()));

    // Ten gigabytes are announced, none is sent: the answer comes at once.
    let mut stream = tokio::net::TcpStream::connect(world.addr()).await.unwrap();
    let head = format!(
        "POST /api/notifications HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 10737418240\r\n\r\n",
        world.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    world.stop().await;
}

#[tokio::test]
async fn a_chunked_body_is_cut_at_the_limit() {
    let world = World::start().await;
    let mut stream = tokio::net::TcpStream::connect(world.addr()).await.unwrap();
    let head = format!(
        "POST /api/notifications HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        world.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let (mut reading, mut writing) = stream.into_split();
    let sending = tokio::spawn(async move { while writing.write_all(chunk.as_bytes()).await.is_ok() {} });
    let mut start = [0; 12];
    tokio::time::timeout(PATIENCE, reading.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    sending.abort();
    world.stop().await;
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let world = World::start().await;
    let body = with("category", json!("c")).to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let answer = world.post_raw("/api/notifications", content_type, body.clone()).await;
        assert_eq!(answer.verdict(), (415, "unsupported_media_type".to_owned()), "{content_type}");
    }
    assert_eq!(world.post_raw("/api/notifications", "application/json; charset=utf-8", body.clone()).await.status, 202);
    let request = world.http.post(world.url("/api/notifications")).bearer_auth(world.token());
    let compressed =
        answer(request.header("content-type", "application/json").header("content-encoding", "gzip").body(body)).await;
    assert_eq!(compressed.status, 415);
    world.stop().await;
}

#[tokio::test]
async fn unknown_paths_methods_and_parameters_are_named() {
    let world = World::start().await;
    assert_eq!(world.get("/api/nothing", &world.token()).await.verdict(), (404, "not_found".to_owned()));
    let wrong = world.call(reqwest::Method::DELETE, "/api/notifications", &world.token(), None).await;
    assert_eq!(wrong.verdict(), (405, "method_not_allowed".to_owned()));
    assert!(wrong.header("allow").unwrap().contains("POST"));
    let answer = world.get("/api/notifications?colour=red", &world.token()).await;
    assert_eq!(answer.verdict(), (400, "invalid_field".to_owned()));
    assert!(answer.text.contains("colour"), "{}", answer.text);
    assert_eq!(
        world.get("/api/notifications?cursor=nonsense", &world.token()).await.verdict(),
        (400, "invalid_cursor".to_owned())
    );
    assert_eq!(world.get("/api/notifications/not-an-id", &world.token()).await.status, 404);
    world.stop().await;
}
