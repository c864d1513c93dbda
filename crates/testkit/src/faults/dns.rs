//! A name server with scripted answers, over UDP and TCP, on one port.
//!
//! Every answer has a lifetime of 0, so that nobody keeps it. A name without an answer does not exist.

mod wire;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::listening::{Running, serve};
use wire::{Question, Reply};

/// How often a port is looked for that is free for both UDP and TCP.
const TRIES: usize = 32;

/// What is said about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAnswer {
    /// These addresses. Questions for A get those of IPv4, questions for AAAA those of IPv6.
    Addresses(Vec<IpAddr>),
    /// A different list each time, from the first again after the last: rebinding. Questions for A and for AAAA, which
    /// come in pairs, are counted apart.
    InTurn(Vec<Vec<IpAddr>>),
    /// There is no such name.
    NxDomain,
    /// The server failed.
    ServFail,
    /// Nothing at all.
    Silence,
    /// These addresses, after so long.
    Slow(Duration, Vec<IpAddr>),
}

/// A running name server; it stops when dropped.
pub struct Dns {
    addr: SocketAddr,
    zone: Arc<Zone>,
    _datagrams: Running,
    _connections: Running,
}

#[derive(Default)]
struct Zone {
    names: Mutex<HashMap<String, Name>>,
    asked: Mutex<HashMap<String, usize>>,
}

struct Name {
    answer: DnsAnswer,
    /// How often it was asked, by the kind of the question.
    turns: HashMap<u16, usize>,
}

/// What to say, and when.
struct Plan {
    after: Duration,
    reply: Reply,
}

impl Dns {
    /// Starts on a free port of this machine.
    pub async fn start() -> io::Result<Self> {
        let (socket, listener) = bind().await?;
        let addr = socket.local_addr()?;
        let zone = Arc::<Zone>::default();
        let shared = Arc::clone(&zone);
        let connections = serve(listener, move |stream| answer_connection(stream, Arc::clone(&shared)));
        let datagrams = Running::spawn(answer_datagrams(Arc::new(socket), Arc::clone(&zone)));
        Ok(Self { addr, zone, _datagrams: datagrams, _connections: connections })
    }

    /// Where it listens, for UDP and for TCP.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what is said about a name.
    pub fn answer(&self, name: &str, answer: DnsAnswer) {
        self.zone.names.lock().insert(canonical(name), Name { answer, turns: HashMap::new() });
    }

    /// How many questions about a name came. A resolver asks twice for each look-up: for A and for AAAA.
    pub fn asked(&self, name: &str) -> usize {
        self.zone.asked.lock().get(&canonical(name)).copied().unwrap_or_default()
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Dns").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Zone {
    fn plan(&self, question: &Question) -> Plan {
        *self.asked.lock().entry(question.name.clone()).or_default() += 1;
        let mut names = self.names.lock();
        let Some(name) = names.get_mut(&question.name) else {
            return Plan::now(Reply::NoSuchName);
        };
        match &name.answer {
            DnsAnswer::Addresses(addresses) => Plan::now(Reply::Addresses(addresses.clone())),
            DnsAnswer::InTurn(lists) => {
                let turn = name.turns.entry(question.kind).or_default();
                let addresses = lists.get(*turn % lists.len().max(1)).cloned().unwrap_or_default();
                *turn += 1;
                Plan::now(Reply::Addresses(addresses))
            }
            DnsAnswer::NxDomain => Plan::now(Reply::NoSuchName),
            DnsAnswer::ServFail => Plan::now(Reply::Failure),
            DnsAnswer::Silence => Plan::now(Reply::Nothing),
            DnsAnswer::Slow(after, addresses) => Plan { after: *after, reply: Reply::Addresses(addresses.clone()) },
        }
    }

    /// The answer to a message; `None` for silence, and for what is no question.
    async fn answer(&self, message: &[u8], limit: usize) -> Option<Vec<u8>> {
        let question = Question::read(message)?;
        let Plan { after, reply } = self.plan(&question);
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        wire::write(message, &question, &reply, limit)
    }
}

impl Plan {
    const fn now(reply: Reply) -> Self {
        Self { after: Duration::ZERO, reply }
    }
}

/// UDP and TCP on the same port.
async fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let mut taken = None;
    for _ in 0..TRIES {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(socket.local_addr()?).await {
            Ok(listener) => return Ok((socket, listener)),
            Err(error) => taken = Some(error),
        }
    }
    Err(taken.unwrap_or_else(|| io::Error::other("no port was tried")))
}

async fn answer_datagrams(socket: Arc<UdpSocket>, zone: Arc<Zone>) {
    let mut answers = JoinSet::new();
    let mut buffer = [0; wire::MAX_DATAGRAM];
    loop {
        tokio::select! {
            heard = socket.recv_from(&mut buffer) => {
                // An error is about an earlier answer that could not be delivered.
                let Ok((length, peer)) = heard else { continue };
                let message = buffer[..length].to_vec();
                let (socket, zone) = (Arc::clone(&socket), Arc::clone(&zone));
                answers.spawn(async move {
                    if let Some(answer) = zone.answer(&message, wire::MAX_DATAGRAM).await {
                        socket.send_to(&answer, peer).await.ok();
                    }
                });
            }
            Some(_ended) = answers.join_next() => {}
        }
    }
}

async fn answer_connection(mut stream: TcpStream, zone: Arc<Zone>) -> io::Result<()> {
    loop {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        if let Some(answer) = zone.answer(&message, usize::from(u16::MAX)).await {
            stream.write_u16(u16::try_from(answer.len()).map_err(io::Error::other)?).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// Names are compared without regard to case and to a final dot.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
