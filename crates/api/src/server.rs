//! Serving connections: limits on what a client may cost, and an orderly end.
//!
//! A connection that sends no request in time is closed, as is one that sends a head too slowly; a place among the
//! connections is taken before one is accepted, so that a flood waits in the kernel and not in our memory. When told to
//! stop, the server stops accepting, lets every request in flight have its answer (with `Connection: close`), and cuts
//! off what is left at the deadline.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;
use tracing::{debug, info, warn};

/// How long to wait before accepting again when the machine is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often an HTTP/2 client has to show that it lives, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(20);

/// What connections may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the head of a request may take to arrive; also how long a connection may be idle between two requests.
    pub header_timeout: Duration,
    /// How long a connection may go without a request before it is asked to end; after as long again it is cut.
    pub idle_timeout: Duration,
    /// How many connections are served at a time.
    pub connections: usize,
    /// The largest head of an HTTP/1 request, and the most that is read ahead, in bytes.
    pub buffer_bytes: usize,
    /// The largest head of an HTTP/2 request, in bytes.
    pub head_bytes: u32,
    /// How many requests one HTTP/2 connection may have in flight.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            connections: 10_000,
            buffer_bytes: 64 * 1024,
            head_bytes: 32 * 1024,
            streams: 128,
        }
    }
}

/// Serves until `stop` is cancelled and the connections have drained, for which they have until `drain` is over.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken, drain: Duration) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let server = Server {
        builder: builder(&limits),
        router,
        first_request_within: limits.header_timeout,
        idle_for: limits.idle_timeout,
    };
    while let Some((stream, place)) = next_connection(&listener, &places, &stop).await {
        let server = server.clone();
        let (stop, abort) = (stop.child_token(), abort.child_token());
        connections.spawn(async move {
            server.serve(stream, stop, abort).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    info!("Stopped accepting; {} connections are draining", connections.len());
    if timeout(drain, connections.wait()).await.is_err() {
        warn!("{} connections did not drain in time and are cut off", connections.len());
        abort.cancel();
        connections.wait().await;
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.buffer_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head_bytes);
    builder
}

/// The next connection and its place, or `None` when it is time to stop.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        place = Arc::clone(places).acquire_owned() => place.ok()?,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _peer)) => return Some((stream, place)),
            Err(error) if concerns_one_connection(&error) => {
                debug!(%error, "A connection went away before it was accepted");
            }
            Err(error) => {
                warn!(%error, "No connection can be accepted: {error}");
                pause(stop).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(ACCEPT_PAUSE) => {}
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Server {
    builder: Builder<TokioExecutor>,
    router: Router,
    first_request_within: Duration,
    idle_for: Duration,
}

/// The requests of one connection.
#[derive(Default)]
struct Calls {
    under_way: AtomicUsize,
    last: Mutex<Option<Instant>>,
}

/// Since when a connection has had nothing to do.
enum Idle {
    /// It has not asked for anything yet.
    Never,
    /// For so long.
    For(Duration),
    /// A request is being answered.
    Busy,
}

/// A request that is being answered.
struct Call(Arc<Calls>);

impl Calls {
    fn begin(calls: &Arc<Self>) -> Call {
        calls.under_way.fetch_add(1, Ordering::Relaxed);
        *calls.last.lock() = Some(Instant::now());
        Call(Arc::clone(calls))
    }

    fn idle(&self) -> Idle {
        match *self.last.lock() {
            None => Idle::Never,
            Some(_) if self.under_way.load(Ordering::Relaxed) > 0 => Idle::Busy,
            Some(last) => Idle::For(last.elapsed()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.last.lock() = Some(Instant::now());
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// Serves one connection to its end.
    async fn serve(self, stream: TcpStream, stop: CancellationToken, abort: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "A connection keeps its delay");
        }
        let calls = Arc::new(Calls::default());
        let service = {
            let (router, calls) = (self.router, Arc::clone(&calls));
            hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let (mut router, call) = (router.clone(), Calls::begin(&calls));
                async move {
                    let answer = router.call(request).await;
                    drop(call);
                    answer
                }
            })
        };
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let look = sleep(self.first_request_within);
        tokio::pin!(connection, look);
        let (mut draining, mut dismissed) = (false, false);
        loop {
            tokio::select! {
                // In this order: an answer that is written after the stop has to say that the connection closes.
                biased;
                () = abort.cancelled() => return,
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(error = %error, "A connection ended early: {error}");
                    }
                    return;
                }
                () = look.as_mut() => match calls.idle() {
                    // The library has no deadline before it knows which version of HTTP is spoken.
                    Idle::Never => return,
                    // Neither pings nor unread answers keep a connection that asks for nothing.
                    Idle::For(time) if time >= self.idle_for && dismissed => return,
                    Idle::For(time) if time >= self.idle_for => {
                        dismissed = true;
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(Instant::now() + self.idle_for);
                    }
                    Idle::For(_) | Idle::Busy => look.as_mut().reset(Instant::now() + self.idle_for / 2),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    struct Running {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn run(router: Router, limits: Limits, drain: Duration) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, limits, stop.clone(), drain));
        Running { address, stop, task }
    }

    impl Running {
        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
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
}
