//! What is there before the checks begin: who holds the data directory, and who answers on the port.

use std::fs::{File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidings_core::time::{Clock as _, Timestamp, WallClock};
use tokio::time::timeout;

use crate::bench::client::{Connection, Request};
use crate::config::Config;

/// The file that the store locks.
const LOCK: &str = "tidings.lock";
/// How long a server on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What all checks look at.
pub(crate) struct Scene<'a> {
    pub(crate) config: &'a Config,
    pub(crate) now: Timestamp,
    pub(crate) holder: Holder,
    /// Where a server with this configuration is reached from here.
    pub(crate) address: SocketAddr,
    pub(crate) port: Port,
}

/// Who holds the lock of the data directory.
pub(crate) enum Holder {
    Nobody,
    /// Named as in "process 42".
    Process(String),
    Unknown(String),
}

/// Who has the port.
pub(crate) enum Port {
    /// Nobody.
    Free,
    /// A Tidings server.
    Tidings(Server),
    /// Somebody else.
    Stranger(String),
    /// Nobody answers, and it cannot be taken either.
    Unusable(io::Error),
}

/// A running server.
pub(crate) struct Server {
    pub(crate) health: Reply,
    pub(crate) ready: Option<Reply>,
}

/// What a server answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    /// The body, if it is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl<'a> Scene<'a> {
    pub(crate) async fn look(config: &'a Config) -> Self {
        let address = reachable(SocketAddr::new(config.server.bind, config.server.port));
        let port = look_at_port(config, address).await;
        Self { config, now: WallClock.now(), holder: holder(&config.data), address, port }
    }

    /// Asks the running server. `None` when there is none, or it does not answer.
    pub(crate) async fn ask(&self, path: &str, token: &str) -> Option<Reply> {
        match self.port {
            Port::Tidings(_) => get(self.address, path, Some(token)).await.ok(),
            Port::Free | Port::Stranger(_) | Port::Unusable(_) => None,
        }
    }

    /// Whether a process works with the store.
    pub(crate) fn is_in_use(&self) -> bool {
        !matches!(self.holder, Holder::Nobody)
    }
}

/// A server that listens on all addresses is reached on the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The lock is tried and given back at once: there is no way to ask without.
fn holder(data: &Path) -> Holder {
    let path = data.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Holder::Nobody,
        Err(error) => return Holder::Unknown(error.to_string()),
    };
    match file.try_lock_shared() {
        Ok(()) => Holder::Nobody,
        Err(TryLockError::WouldBlock) => {
            let process = std::fs::read_to_string(&path).unwrap_or_default();
            Holder::Process(if process.trim().is_empty() {
                "a process".to_owned()
            } else {
                format!("process {}", process.trim())
            })
        }
        Err(TryLockError::Error(error)) => Holder::Unknown(error.to_string()),
    }
}

async fn look_at_port(config: &Config, address: SocketAddr) -> Port {
    if address.port() == 0 {
        return Port::Free;
    }
    match get(address, "/health", None).await {
        Ok(health) if health.json().get("database").is_some() => {
            Port::Tidings(Server { health, ready: get(address, "/ready", None).await.ok() })
        }
        Ok(_) => Port::Stranger("it answers over HTTP, but not as Tidings does".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            match TcpListener::bind((config.server.bind, config.server.port)) {
                Ok(_) => Port::Free,
                Err(error) => Port::Unusable(error),
            }
        }
        Err(error) => Port::Stranger(error.to_string()),
    }
}

async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> io::Result<Reply> {
    let host = address.to_string();
    let request = Request { method: "GET", path, host: &host, token, header: None, body: "" }.to_bytes();
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        let answer = connection.exchange(&request).await?;
        Ok(Reply { status: answer.status, body: String::from_utf8_lossy(answer.body).into_owned() })
    };
    let no_answer = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    timeout(PATIENCE, exchange).await.map_err(no_answer)?
}
