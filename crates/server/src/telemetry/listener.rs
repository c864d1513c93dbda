//! Metrics on a listener of their own, for those who collect them and hold no token.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tidings_api::{metrics_router, server};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::metrics::Metrics;

/// More than a few collectors there are not.
const CONNECTIONS: usize = 64;

/// How long an exposition that has begun may take to its end when the process stops.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves metrics until it is stopped.
pub(crate) struct Listener {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Listener {
    /// Starts to listen.
    pub(crate) async fn start(address: SocketAddr, metrics: &Metrics) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address} for the metrics: give another address and port with METRICS_ADDR")
        })?;
        let addr = listener.local_addr().context("the listening socket of the metrics has no address")?;
        let limits =
            server::Limits { connections: CONNECTIONS, connections_per_peer: CONNECTIONS, ..server::Limits::default() };
        let (router, stop) = (metrics_router(metrics.exposition()), CancellationToken::new());
        let serving = tokio::spawn(server::serve(listener, router, limits, metrics.api.clone(), stop.clone(), DRAIN));
        info!("Metrics are at http://{addr}/metrics, for whoever reaches that address");
        Ok(Self { addr, stop, serving })
    }

    /// Ends it. What happened until here could be read.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.serving.await.context("serving the metrics ended badly")
    }
}
