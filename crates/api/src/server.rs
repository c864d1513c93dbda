//! Serving connections: limits on what a client may cost, and an orderly end.
//!
//! A connection that sends no request in time is closed, as is one that sends a head too slowly or does not read its
//! answers; a place among the connections is taken before one is accepted, so that a flood waits in the kernel and not in
//! our memory, and one peer gets only a part of the places. When told to stop, the server stops accepting, lets every request
//! in flight have its answer (with `Connection: close`), and cuts off what is left at the deadline.

mod accept;
mod connection;
mod peers;
mod pressure;
mod stall;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::metrics::Metrics;
use accept::Acceptor;
use connection::Server;
use pressure::Pressure;

/// What connections may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the head of a request may take to arrive; also how long a connection may be idle between two requests.
    pub header_timeout: Duration,
    /// How long a connection may go without a request before it is asked to end; after as long again it is cut.
    pub idle_timeout: Duration,
    /// How long a client may read nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// How many connections are served at a time.
    pub connections: usize,
    /// How many of them one peer may have: an IPv4 address, or a /64 network of IPv6.
    pub connections_per_peer: usize,
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
            write_timeout: Duration::from_secs(30),
            connections: 10_000,
            connections_per_peer: 2_500,
            buffer_bytes: 64 * 1024,
            head_bytes: 32 * 1024,
            streams: 128,
        }
    }
}

/// Serves until `stop` is cancelled and the connections have drained, for which they have until `drain` is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    drain: Duration,
) {
    let pressure = Arc::new(Pressure::new(stop.clone()));
    let server = Server::new(router, &limits, Arc::clone(&pressure));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let mut acceptor = Acceptor::new(listener, &limits, metrics, pressure);
    while let Some(visitor) = acceptor.next(&stop).await {
        let (server, abort) = (server.clone(), abort.child_token());
        connections.spawn(async move {
            server.serve(visitor.stream, visitor.client, abort).await;
            drop(visitor.place);
        });
    }
    drop(acceptor);
    connections.close();
    info!("Stopped accepting; {} connections are draining", connections.len());
    if timeout(drain, connections.wait()).await.is_err() {
        warn!("{} connections did not drain in time and are cut off", connections.len());
        abort.cancel();
        connections.wait().await;
    }
}
