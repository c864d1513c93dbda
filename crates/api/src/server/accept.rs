//! Who is let in, one connection at a time.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Limits;
use super::peers::{Peers, Seat};
use super::pressure::Pressure;
use crate::metrics::{Metrics, OpenConnection};
use crate::peer::{Connected, Peer};

/// How long to wait before accepting again when the machine is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Trouble is told once; after so much quiet, the next counts as new.
const QUIET: Duration = Duration::from_mins(1);

/// How many waiting connections are turned away before the next pause.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// Takes connections in while there is room for them.
pub(super) struct Acceptor {
    listener: TcpListener,
    places: Arc<Semaphore>,
    peers: Arc<Peers>,
    limit_per_peer: usize,
    metrics: Arc<Metrics>,
    pressure: Arc<Pressure>,
    /// A descriptor to give up when there is no other: then those who wait can at least be told that they wait in vain.
    reserve: Option<File>,
    failures_in_a_row: usize,
    out_of_files: Burst,
    crowding: Burst,
}

/// A connection that was let in.
pub(super) struct Visitor {
    pub(super) stream: TcpStream,
    pub(super) client: Connected,
    pub(super) place: Place,
}

/// What a connection takes up, until it is dropped.
pub(super) struct Place {
    _seat: Seat,
    _permit: OwnedSemaphorePermit,
    _open: OpenConnection,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, limits: &Limits, metrics: Arc<Metrics>, pressure: Arc<Pressure>) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(limits.connections)),
            peers: Peers::new(limits.connections_per_peer),
            limit_per_peer: limits.connections_per_peer,
            metrics,
            pressure,
            reserve: reserve(),
            failures_in_a_row: 0,
            out_of_files: Burst::default(),
            crowding: Burst::default(),
        }
    }

    /// The next connection, or `None` when it is time to stop.
    pub(super) async fn next(&mut self, stop: &CancellationToken) -> Option<Visitor> {
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            permit = Arc::clone(&self.places).acquire_owned() => permit.ok()?,
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    self.failures_in_a_row = 0;
                    let client = Connected(address.ip());
                    if let Some(seat) = self.seat(Peer::from(client.0)) {
                        let place = Place { _seat: seat, _permit: permit, _open: self.metrics.connected() };
                        return Some(Visitor { stream, client, place });
                    }
                }
                Err(error) if concerns_one_connection(&error) => {
                    debug!(%error, "A connection went away before it was accepted");
                }
                Err(error) => self.make_room(&error, stop).await,
            }
        }
    }

    fn seat(&mut self, peer: Peer) -> Option<Seat> {
        let seat = self.peers.enter(peer);
        if seat.is_none() {
            self.metrics.refused_connection("peer");
            if self.crowding.begins() {
                let limit = self.limit_per_peer;
                warn!(
                    "One peer has {limit} connections, more of them are closed at once; CONNECTIONS_PER_PEER sets how many it may have"
                );
            }
        }
        seat
    }

    /// The machine is out of descriptors or memory: takes back what idle connections hold, waits, and if that was not
    /// enough turns away who waits, so that they need not wait for nothing.
    async fn make_room(&mut self, error: &io::Error, stop: &CancellationToken) {
        if self.out_of_files.begins() {
            warn!(%error, "No connection can be accepted: {error}; idle connections are closed to make room. A higher limit of open files helps (`ulimit -n`, LimitNOFILE), or a lower CONNECTION_LIMIT");
        }
        self.pressure.relieve();
        self.failures_in_a_row += 1;
        if self.failures_in_a_row > 1 {
            self.turn_away().await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(ACCEPT_PAUSE) => {}
        }
    }

    async fn turn_away(&mut self) {
        drop(self.reserve.take());
        for _ in 0..TURNED_AWAY_AT_ONCE {
            let waiting = poll_fn(|context| Poll::Ready(self.listener.poll_accept(context))).await;
            let Poll::Ready(Ok((stream, _address))) = waiting else { break };
            // Closing it gives the descriptor back for the next one.
            drop(stream);
            self.metrics.refused_connection("files");
        }
        self.reserve = reserve();
    }
}

/// Any file will do that costs nothing to hold.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// A series of equal events, of which only the first is worth a line.
#[derive(Debug, Default)]
struct Burst {
    last: Option<Instant>,
}

impl Burst {
    /// Notes an event; whether it is the first after some quiet.
    fn begins(&mut self) -> bool {
        let before = self.last.replace(Instant::now());
        before.is_none_or(|last| last.elapsed() > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use tokio::io::AsyncReadExt as _;
    use tokio::time::{advance, timeout};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn who_waits_is_turned_away_when_files_stay_short() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let (metrics, stop) = (Arc::new(Metrics::register(&mut registry)), CancellationToken::new());
        let pressure = Arc::new(Pressure::new(stop.clone()));
        let mut acceptor = Acceptor::new(listener, &Limits::default(), metrics, Arc::clone(&pressure));
        let nudge = pressure.nudge();
        let mut waiting = TcpStream::connect(address).await.unwrap();
        // EMFILE. The first time, whoever has nothing to do is asked to make room.
        let short = io::Error::from_raw_os_error(24);
        acceptor.make_room(&short, &stop).await;
        assert!(nudge.is_cancelled());
        acceptor.make_room(&short, &stop).await;
        let mut rest = Vec::new();
        drop(timeout(DEADLINE, waiting.read_to_end(&mut rest)).await.expect("it is closed"));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"http_connections_refused_total{reason="files"} 1"#), "{text}");
        assert!(acceptor.reserve.is_some(), "there is a reserve for the next time");
        let further = TcpStream::connect(address).await.unwrap();
        let visitor = timeout(DEADLINE, acceptor.next(&stop)).await.expect("it is let in").unwrap();
        assert_eq!(visitor.stream.peer_addr().unwrap(), further.local_addr().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_told_once() {
        let mut burst = Burst::default();
        assert!(burst.begins());
        for _ in 0..10 {
            advance(Duration::from_secs(59)).await;
            assert!(!burst.begins());
        }
        advance(Duration::from_secs(61)).await;
        assert!(burst.begins());
    }
}
