//! What operators see and set: metrics on a listener of their own, limits on clients.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, World, answer};

#[tokio::test]
async fn metrics_can_have_a_listener_of_their_own() {
    let world = World::start_with(&[("METRICS_ADDR", "127.0.0.1:0")]).await;
    let url = format!("http://{}", world.metrics_addr().unwrap());
    let open = answer(world.http.get(format!("{url}/metrics"))).await;
    assert_eq!(open.status, 200);
    assert!(open.text.contains("store_up") && open.text.contains("tidings_log_lines_dropped_total"), "{}", open.text);
    for path in ["/health", "/api/notifications", "/openapi.json"] {
        assert_eq!(answer(world.http.get(format!("{url}{path}"))).await.status, 404, "{path}");
    }
    let public = world.get("/metrics", &world.admin()).await;
    assert_eq!(public.verdict(), (404, "not_found".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn metrics_are_behind_a_token_otherwise() {
    let world = World::start().await;
    assert!(world.metrics_addr().is_none());
    assert_eq!(world.get("/metrics", "").await.status, 401);
    assert_eq!(world.get("/metrics", &world.token()).await.status, 403);
    assert_eq!(world.get("/metrics", &world.admin()).await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn one_peer_cannot_take_all_connections() {
    let world = World::start_with(&[("CONNECTIONS_PER_PEER", "4")]).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpStream::connect(world.addr()).await.unwrap());
    }
    let mut further = TcpStream::connect(world.addr()).await.unwrap();
    let mut rest = Vec::new();
    // Closed without a word: the end of the stream, or a reset.
    let read = timeout(PATIENCE, further.read_to_end(&mut rest)).await.expect("it is closed at once");
    drop(read);
    assert!(rest.is_empty());
    // What is open goes on.
    let mut first = held.swap_remove(0);
    first.write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, first.read_to_string(&mut text)).await.expect("it is answered").unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop(held);
    world.stop().await;
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down() {
    let world = World::start().await;
    let guess = json!({"username": "testuser", "password": "wrong horse"});
    let mut verdicts = Vec::new();
    for _ in 0..11 {
        verdicts.push(world.post("/api/auth/login", "", &guess).await);
    }
    assert!(verdicts.iter().take(10).all(|answer| answer.status == 401));
    let last = verdicts.last().unwrap();
    assert_eq!(last.verdict(), (429, "rate_limited".to_owned()));
    let pause: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&pause), "{pause}");
    // Nobody is believed who says that the request comes from elsewhere.
    let request = world.http.post(world.url("/api/auth/login")).header("x-forwarded-for", "203.0.113.9");
    let pretended = answer(request.header("content-type", "application/json").body(guess.to_string())).await;
    assert_eq!(pretended.status, 429);
    world.stop().await;
}

#[tokio::test]
async fn a_proxy_that_is_trusted_says_who_guesses() {
    let world = World::start_with(&[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let guess = async |from: &'static str| {
        let request = world.http.post(world.url("/api/auth/login")).header("x-forwarded-for", from);
        let body = json!({"username": "testuser", "password": "wrong horse"}).to_string();
        answer(request.header("content-type", "application/json").body(body)).await.status.as_u16()
    };
    for _ in 0..10 {
        assert_eq!(guess("203.0.113.9").await, 401);
    }
    assert_eq!(guess("203.0.113.9").await, 429);
    assert_eq!(guess("198.51.100.7, 203.0.113.9").await, 429, "what the client says of itself does not count");
    assert_eq!(guess("203.0.113.10").await, 401);
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.addr()).await.unwrap();
    let head = format!(
        "POST /api/notifications HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{",
        world.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("it is answered and closed").unwrap();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    let lower = text.to_lowercase();
    assert!(lower.contains("connection: close") && lower.contains("request_timeout"), "{text}");
    world.stop().await;
}
