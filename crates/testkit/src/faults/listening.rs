//! Serving connections until dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The pause after a connection could not be accepted: what was short, such as file handles, is still short.
const PAUSE: Duration = Duration::from_millis(20);

/// A task that ends when this is dropped.
pub(crate) struct Running(JoinHandle<()>);

impl Running {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A listener on a port of this machine that the kernel chooses.
pub(crate) async fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Serves each connection with `serve`. All of them end when the result is dropped.
pub(crate) fn serve<S, F>(listener: TcpListener, serve: S) -> Running
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    Running::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _peer)) => {
                        connections.spawn(serve(stream));
                    }
                    Err(_passing) => tokio::time::sleep(PAUSE).await,
                },
                Some(_ended) = connections.join_next() => {}
            }
        }
    })
}
