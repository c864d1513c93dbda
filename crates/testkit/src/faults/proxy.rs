//! A TCP proxy that misbehaves as told: it stands for the network between two programs.
//!
//! A stalled direction keeps what it was given and goes on with it when the network heals, as TCP does when packets are
//! lost for a while.

mod pump;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::listening::{Running, listen, serve};
use pump::{Cut, Lane, pump};

/// What the network does. It holds for open connections and for new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing wrong.
    None,
    /// Connections are reset as soon as they are there.
    Refuse,
    /// Connections are accepted and nothing passes, in neither direction: half-open.
    BlackHole,
    /// Bytes pass in this direction only.
    OneWay(Direction),
    /// Every piece arrives later by `by`, more or less by up to `jitter`.
    Delay {
        /// How much later.
        by: Duration,
        /// How much that varies.
        jitter: Duration,
    },
    /// Each direction carries so much.
    Throttle {
        /// Bytes each second; at least 1.
        bytes_per_second: u64,
    },
    /// A connection is reset when so many bytes, both directions together, have passed through it since it was made:
    /// in the middle of a message.
    CutAfter {
        /// How many.
        bytes: u64,
    },
    /// Bits flip.
    Corrupt {
        /// One byte in so many, on average; at least 1.
        one_in: u64,
    },
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connected to the upstream.
    Up,
    /// From the upstream to who connected.
    Down,
}

/// A running proxy; it stops when dropped.
pub struct Proxy {
    addr: SocketAddr,
    weather: Arc<Weather>,
    _running: Running,
}

/// What all connections share.
struct Weather {
    fault: watch::Sender<Fault>,
    cuts: watch::Sender<u64>,
    open: AtomicUsize,
    /// How many connections there were, which seeds what happens to each by chance.
    made: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of this machine and passes everything on to `upstream`.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let (listener, addr) = listen().await?;
        let weather = Arc::new(Weather {
            fault: watch::Sender::new(Fault::None),
            cuts: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            made: AtomicU64::new(0),
        });
        let shared = Arc::clone(&weather);
        let running = serve(listener, move |client| {
            let connection = Connection::open(Arc::clone(&shared));
            connection.carry(client, upstream)
        });
        Ok(Self { addr, weather, _running: running })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what the network does, for open connections and for new ones.
    pub fn set(&self, fault: Fault) {
        self.weather.fault.send_replace(fault);
    }

    /// Resets every open connection now, at both ends.
    pub fn cut_all(&self) {
        self.weather.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.weather.open.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Proxy").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// One connection, counted as long as it is open.
struct Connection {
    weather: Arc<Weather>,
    number: u64,
    cuts: watch::Receiver<u64>,
    passed: AtomicU64,
}

impl Connection {
    fn open(weather: Arc<Weather>) -> Self {
        weather.open.fetch_add(1, Ordering::AcqRel);
        let number = weather.made.fetch_add(1, Ordering::Relaxed);
        let cuts = weather.cuts.subscribe();
        Self { weather, number, cuts, passed: AtomicU64::new(0) }
    }

    async fn carry(self, mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
        let mut cuts = self.cuts.clone();
        let connected = tokio::select! {
            connected = self.connect(upstream) => connected,
            _told = cuts.changed() => Err(Cut),
        };
        let Ok(mut server) = connected else {
            return client.set_zero_linger();
        };
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let passed = tokio::select! {
            passed = self.both_ways(&mut client, &mut server) => passed,
            _told = cuts.changed() => Err(Cut),
        };
        if passed.is_err() {
            client.set_zero_linger()?;
            server.set_zero_linger()?;
        }
        Ok(())
    }

    /// Nobody is reached as long as the way there is blocked.
    async fn connect(&self, upstream: SocketAddr) -> Result<TcpStream, Cut> {
        let mut faults = self.weather.fault.subscribe();
        pump::passable(&mut faults, Direction::Up).await?;
        Ok(TcpStream::connect(upstream).await?)
    }

    async fn both_ways(&self, client: &mut TcpStream, server: &mut TcpStream) -> Result<(), Cut> {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(from_client, to_server, self.lane(Direction::Up));
        let down = pump(from_server, to_client, self.lane(Direction::Down));
        tokio::try_join!(up, down).map(|((), ())| ())
    }

    fn lane(&self, direction: Direction) -> Lane<'_> {
        let seed = 2 * self.number + u64::from(direction == Direction::Down);
        Lane {
            direction,
            faults: self.weather.fault.subscribe(),
            passed: &self.passed,
            chance: fastrand::Rng::with_seed(seed),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.weather.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
