//! A receiver of webhooks.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Tally;
use crate::faults::ledger::Ledger;
use crate::faults::listening::{Running, listen, serve};

/// The most bytes that a request may have before its body.
const MAX_HEAD: u64 = 64 * 1024;
/// What the ledger hears of a request that names no notification.
const ANONYMOUS: &str = "a request without webhook-id";

/// A receiver of webhooks: every request counts, once it is there as a whole, for the notification in its header
/// `webhook-id`. It stops when dropped.
pub struct WebhookSink {
    addr: SocketAddr,
    manner: Arc<Manner>,
    _running: Running,
}

struct Manner {
    tally: Tally,
    status: AtomicU16,
    delay_us: AtomicU64,
}

/// The head of a request, as far as it matters.
#[derive(Default)]
struct Head {
    id: Option<String>,
    length: u64,
    closes: bool,
}

impl WebhookSink {
    /// Starts on a free port of this machine. It answers 200 at once until told otherwise.
    pub async fn start(ledger: Ledger) -> io::Result<Self> {
        let (listener, addr) = listen().await?;
        let manner =
            Arc::new(Manner { tally: Tally::new(ledger), status: AtomicU16::new(200), delay_us: AtomicU64::new(0) });
        let shared = Arc::clone(&manner);
        let running = serve(listener, move |stream| answer_requests(stream, Arc::clone(&shared)));
        Ok(Self { addr, manner, _running: running })
    }

    /// The URL of a path, such as `/hook`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many requests it got.
    pub fn received(&self) -> usize {
        self.manner.tally.received()
    }

    /// Answers with this status from now on. What is refused counts as a call as well.
    pub fn answer_with(&self, status: u16) {
        self.manner.status.store(status, Ordering::Relaxed);
    }

    /// Answers so long after the request from now on.
    pub fn delay(&self, by: Duration) {
        self.manner.delay_us.store(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebhookSink").field("addr", &self.addr).finish_non_exhaustive()
    }
}

async fn answer_requests(stream: TcpStream, manner: Arc<Manner>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await? {
        let mut body = (&mut stream).take(head.length);
        if tokio::io::copy(&mut body, &mut tokio::io::sink()).await? < head.length {
            return Ok(());
        }
        manner.tally.note(head.id.as_deref(), ANONYMOUS);
        let delay = Duration::from_micros(manner.delay_us.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let status = manner.status.load(Ordering::Relaxed);
        stream.write_all(format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
        stream.flush().await?;
        if head.closes {
            return Ok(());
        }
    }
    Ok(())
}

/// The head of the next request; `None` when there is none.
async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Head>> {
    let mut lines = stream.take(MAX_HEAD);
    let mut line = String::new();
    let mut head = Head::default();
    loop {
        line.clear();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(Some(head));
        }
        let Some((name, value)) = text.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => head.id = Some(value.to_owned()),
            "content-length" => head.length = value.parse().unwrap_or(0),
            "connection" => head.closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8(answer[..read].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn whole_requests_count_for_the_notification_that_they_name() {
        let ledger = Ledger::new();
        let sink = WebhookSink::start(ledger.clone()).await.unwrap();
        assert_eq!(sink.url("/hook"), format!("http://{}/hook", sink.addr()));
        let mut stream = TcpStream::connect(sink.addr()).await.unwrap();
        let request = "POST /hook HTTP/1.1\r\nHost: x\r\nWebhook-Id: 7\r\nContent-Length: 2\r\n\r\nab";
        assert!(exchange(&mut stream, request).await.starts_with("HTTP/1.1 200 "));
        sink.answer_with(503);
        sink.delay(Duration::from_millis(1));
        assert!(exchange(&mut stream, request).await.starts_with("HTTP/1.1 503 "));
        let anonymous = exchange(&mut stream, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        assert!(anonymous.starts_with("HTTP/1.1 503 "));
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);

        let mut cut = TcpStream::connect(sink.addr()).await.unwrap();
        cut.write_all(b"POST / HTTP/1.1\r\nwebhook-id: 8\r\ncontent-length: 9\r\n\r\nab").await.unwrap();
        cut.shutdown().await.unwrap();
        assert_eq!(cut.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!((ledger.calls("7"), ledger.calls(ANONYMOUS), ledger.calls("8"), sink.received()), (2, 1, 0, 3));
    }
}
