//! Accepting connections, up to a number, until dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

/// How many connections are served at a time; more wait in the backlog of the listener.
const MAX_CONNECTIONS: usize = 2_000;
/// The pause after a connection could not be accepted: what was short, such as file handles, is still short.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a peer may keep a connection open without a word.
pub(crate) const IDLE: Duration = Duration::from_mins(5);

/// A running server.
pub(crate) struct Server {
    addr: SocketAddr,
    _stop: DropGuard,
}

impl Server {
    /// Listens on `addr` and serves each connection with `serve`.
    pub(crate) async fn start<S, F>(addr: SocketAddr, serve: S) -> io::Result<Self>
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        tokio::spawn(async move { token.run_until_cancelled(accept(listener, serve, &token)).await });
        Ok(Self { addr, _stop: stop.drop_guard() })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

async fn accept<S, F>(listener: TcpListener, serve: S, stop: &CancellationToken)
where
    S: Fn(TcpStream) -> F,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("A catcher could not accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let connection = serve(stream);
        let stop = stop.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
                debug!("A connection to a catcher broke off: {error}");
            }
            drop(place);
        });
    }
}
