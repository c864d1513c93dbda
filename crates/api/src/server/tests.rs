use std::net::SocketAddr;

use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    registry: Registry,
}

async fn run(router: Router, limits: Limits, drain: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let task = tokio::spawn(serve(listener, router, limits, metrics, stop.clone(), drain));
    Running { address, stop, task, registry }
}

impl Running {
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    async fn ended(self) {
        timeout(DEADLINE, self.task).await.expect("the server ends").unwrap();
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let read = timeout(DEADLINE, stream.read_to_string(&mut text)).await;
    drop(read.expect("the connection is closed"));
    text
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_stop() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gate) = (Arc::clone(&entered), Arc::clone(&go_on));
    let router = Router::new().route(
        "/",
        get(move || async move {
            inside.notify_one();
            gate.notified().await;
            "done"
        }),
    );
    let running = run(router, Limits::default(), DEADLINE).await;
    let stream = running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    entered.notified().await;
    running.stop.cancel();
    go_on.notify_one();
    let answer = rest(stream).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.ends_with("done"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    running.ended().await;
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_at_the_deadline() {
    let entered = Arc::new(Notify::new());
    let inside = Arc::clone(&entered);
    let router = Router::new().route(
        "/",
        get(move || async move {
            inside.notify_one();
            std::future::pending::<()>().await;
        }),
    );
    let running = run(router, Limits::default(), Duration::from_millis(10)).await;
    let stream = running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    entered.notified().await;
    running.stop.cancel();
    assert_eq!(rest(stream).await, "");
    running.ended().await;
}

#[tokio::test]
async fn a_connection_that_reads_no_answers_is_cut() {
    let large = "x".repeat(1024 * 1024);
    let router = Router::new().route("/", get(move || std::future::ready(large)));
    let short = Duration::from_millis(50);
    let limits = Limits { header_timeout: short, idle_timeout: short, ..Limits::default() };
    let running = run(router, limits, DEADLINE).await;
    let mut stream = running.send(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50)).await;
    // Nothing is read until the server has given up: then a write fails, and not before.
    let given_up = async { while stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_ok() {} };
    timeout(DEADLINE, given_up).await.expect("the server gives up");
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let running = run(Router::new(), Limits::default(), DEADLINE).await;
    let silent = running.send("").await;
    let half = running.send("GET / HT").await;
    running.stop.cancel();
    assert_eq!(rest(silent).await, "");
    drop(half);
    running.ended().await;
}

#[tokio::test]
async fn whoever_does_not_come_to_the_point_is_closed() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let running = run(Router::new(), limits, DEADLINE).await;
    for beginning in ["", "GET / HTTP/1.1\r\nHost: a\r\n", "PRI * HTTP/2.0\r\n"] {
        let stream = running.send(beginning).await;
        let answer = rest(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{beginning:?}: {answer}");
    }
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn a_connection_beyond_the_cap_waits_for_a_place() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let router = Router::new().route("/", get(|| std::future::ready("done")));
    let running = run(router, limits, DEADLINE).await;
    let first = running.send("").await;
    let second = running.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    drop(first);
    assert!(rest(second).await.ends_with("done"));
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn a_peer_gets_only_its_share_of_the_connections() {
    let limits = Limits { connections_per_peer: 2, ..Limits::default() };
    let router = Router::new().route("/", get(|| std::future::ready("done")));
    let running = run(router, limits, DEADLINE).await;
    let (first, second) = (running.send("").await, running.send("").await);
    // A refused connection is closed before it has said anything; the write may already fail.
    let mut third = TcpStream::connect(running.address).await.unwrap();
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    drop(third.write_all(ask).await);
    assert_eq!(rest(third).await, "");
    assert!(running.metrics().contains(r#"http_connections_refused_total{reason="peer"} 1"#), "{}", running.metrics());
    drop((first, second));
    let served = async {
        loop {
            let mut next = TcpStream::connect(running.address).await.unwrap();
            drop(next.write_all(ask).await);
            if rest(next).await.ends_with("done") {
                return;
            }
        }
    };
    timeout(DEADLINE, served).await.expect("whoever left makes room");
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let large = "x".repeat(16 * 1024 * 1024);
    let router = Router::new().route("/", get(move || std::future::ready(large)));
    let limits = Limits { write_timeout: Duration::from_millis(50), ..Limits::default() };
    let running = run(router, limits, DEADLINE).await;
    let stream = running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // The first bytes of the answer are there, so the connection is among those that are counted.
    stream.readable().await.unwrap();
    let given_up = async {
        while !running.metrics().contains("http_connections 0") {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, given_up).await.expect("the server gives up");
    drop(stream);
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn a_request_carries_the_address_of_its_client() {
    let handler = |request: axum::extract::Request| async move {
        let client = request.extensions().get::<crate::peer::Connected>();
        format!("{client:?}")
    };
    let running = run(Router::new().route("/", get(handler)), Limits::default(), DEADLINE).await;
    let stream = running.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let answer = rest(stream).await;
    assert!(answer.ends_with("Some(Connected(127.0.0.1))"), "{answer}");
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn connections_with_nothing_to_do_make_room_for_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pressure = Arc::new(Pressure::new(CancellationToken::new()));
    let router = Router::new().route("/", get(|| std::future::ready("done")));
    let server = Server::new(router, &Limits::default(), Arc::clone(&pressure));
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let serving = tokio::spawn(server.serve(stream, crate::peer::Connected(address.ip()), CancellationToken::new()));
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        let read = timeout(DEADLINE, client.read_buf(&mut answer)).await.expect("it is answered").unwrap();
        assert_ne!(read, 0, "it stays open after an answer");
    }
    pressure.relieve();
    assert_eq!(rest(client).await, "");
    timeout(DEADLINE, serving).await.expect("it ends").unwrap();
}
