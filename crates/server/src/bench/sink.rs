//! Those who receive what is sent, within this process and as light as can be: a receiver of webhooks and a mail server
//! that look for the number in what they get, count it, and say yes.

mod http;
mod smtp;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::bench::arrivals::Arrivals;
use crate::bench::message::after;

/// What stands before the number of a notification, wherever it is shown.
const MARKER: &[u8] = b"bench ";
const DIGITS: usize = 16;
/// The longest request or mail that is read.
const MAX_BYTES: usize = 4 * 1024 * 1024;
const READ_AT_LEAST: usize = 8 * 1024;
/// When no connection can be accepted, because the descriptors are used up, say.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Running receivers; they stop when dropped.
pub(crate) struct Sinks {
    addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

/// What the receivers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Smtp,
}

impl Sinks {
    /// Starts this many, each on a port of its own.
    pub(crate) async fn start(protocol: Protocol, count: usize, arrivals: &Arc<Arrivals>) -> io::Result<Self> {
        let mut addresses = Vec::with_capacity(count);
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addresses.push(listener.local_addr()?);
            tasks.spawn(listen(protocol, listener, Arc::clone(arrivals)));
        }
        Ok(Self { addresses, _tasks: tasks })
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

async fn listen(protocol: Protocol, listener: TcpListener, arrivals: Arc<Arrivals>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        connections.spawn(serve(protocol, stream, Arc::clone(&arrivals)));
        while connections.try_join_next().is_some() {}
    }
}

/// A connection that fails is the business of the server under test, which will open another.
async fn serve(protocol: Protocol, stream: TcpStream, arrivals: Arc<Arrivals>) {
    let served = match protocol {
        Protocol::Http => http::serve(stream, &arrivals).await,
        Protocol::Smtp => smtp::serve(stream, &arrivals).await,
    };
    served.ok();
}

/// The number in a request or a mail.
fn number_in(bytes: &[u8]) -> Option<u64> {
    let digits = after(bytes, MARKER)?.get(..DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// More than [`MAX_BYTES`] without an end.
fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_behind_its_marker() {
        assert_eq!(number_in(br#"{"type":"bench 00000000000000ff","data":{}}"#), Some(255));
        assert_eq!(number_in(b"bench 00ff"), None);
        assert_eq!(number_in(b"Subject: lunch"), None);
    }
}
