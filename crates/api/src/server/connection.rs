//! One connection, from its first byte to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::debug;

use super::Limits;
use super::pressure::Pressure;
use super::stall::Impatient;
use crate::peer::Connected;

/// How often an HTTP/2 client has to show that it lives, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(20);

/// How long a new connection may say nothing before it is closed in favour of others.
const GRACE: Duration = Duration::from_secs(1);

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Server {
    builder: Builder<TokioExecutor>,
    router: Router,
    pressure: Arc<Pressure>,
    first_request_within: Duration,
    idle_for: Duration,
    write_within: Duration,
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
    pub(super) fn new(router: Router, limits: &Limits, pressure: Arc<Pressure>) -> Self {
        Self {
            builder: builder(limits),
            router,
            pressure,
            first_request_within: limits.header_timeout,
            idle_for: limits.idle_timeout,
            write_within: limits.write_timeout,
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(self, stream: TcpStream, client: Connected, abort: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "A connection keeps its delay");
        }
        let calls = Arc::new(Calls::default());
        let service = {
            let (router, calls) = (self.router, Arc::clone(&calls));
            hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(client);
                let (mut router, call) = (router.clone(), Calls::begin(&calls));
                async move {
                    let answer = router.call(request).await;
                    drop(call);
                    answer
                }
            })
        };
        let stream = TokioIo::new(Impatient::new(stream, self.write_within));
        let connection = self.builder.serve_connection(stream, service);
        let (began, look) = (Instant::now(), sleep(self.first_request_within));
        tokio::pin!(connection, look);
        let mut nudge = self.pressure.nudge();
        let (mut draining, mut dismissed) = (false, false);
        loop {
            tokio::select! {
                // In this order: an answer that is written after the stop has to say that the connection closes.
                biased;
                () = abort.cancelled() => return,
                () = nudge.cancelled(), if !draining => {
                    draining = self.pressure.is_stopping();
                    nudge = self.pressure.nudge();
                    match calls.idle() {
                        _ if draining => connection.as_mut().graceful_shutdown(),
                        Idle::Never if began.elapsed() >= GRACE => return,
                        Idle::For(_) => connection.as_mut().graceful_shutdown(),
                        Idle::Never | Idle::Busy => {}
                    }
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
