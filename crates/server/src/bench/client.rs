//! HTTP/1.1 on a bare socket, with no more in it than a load generator needs, so that the machine's time goes to the
//! server under test. It reads answers that declare their length, as all answers of Tidings do.

use std::io;
use std::net::SocketAddr;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How much room is made for each read.
const READ_AT_LEAST: usize = 4096;
/// The longest head and the longest answer that are taken.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// A connection that rested for longer may have been closed by the server meanwhile; it is opened anew.
const RESTS_AT_MOST: Duration = Duration::from_secs(4);

/// One connection with at most one request in flight.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// It cannot carry another request: the last one failed or was cut off, or the server closes it.
    is_spent: bool,
}

/// An answer; it borrows the buffer of its connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// The server closes the connection after this answer.
    pub(crate) closes: bool,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        // Where nobody listens, the system may choose the very port that is called as the caller's own.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there"));
        }
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_AT_LEAST), is_spent: false })
    }

    /// Sends a whole request, head and body, and waits for its whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.is_spent = true;
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            self.fill().await?;
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        let end = head.length + head.body_length;
        while self.buffer.len() < end {
            self.fill().await?;
        }
        self.is_spent = head.closes;
        let body = self.buffer.get(head.length..end).unwrap_or_default();
        Ok(Answer { status: head.status, body, closes: head.closes })
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(READ_AT_LEAST);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection before its answer was complete",
            )),
            _ => Ok(()),
        }
    }
}

/// A connection that is opened anew when it failed, was closed or rested for too long.
pub(crate) struct Link {
    address: SocketAddr,
    connection: Option<Connection>,
    used_at: Instant,
}

impl Link {
    /// A link; nothing is opened yet.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, connection: None, used_at: Instant::now() }
    }

    /// Sends a whole request and waits for its whole answer. `now` is the present, which callers have at hand.
    pub(crate) async fn exchange(&mut self, request: &[u8], now: Instant) -> io::Result<Answer<'_>> {
        let rested = now.saturating_duration_since(self.used_at) > RESTS_AT_MOST;
        self.used_at = now;
        if rested || self.connection.as_ref().is_some_and(|connection| connection.is_spent) {
            self.connection = None;
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        self.connection.insert(connection).exchange(request).await
    }
}

/// A request as it goes over the wire.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    pub(crate) token: Option<&'a str>,
    /// A further header.
    pub(crate) header: Option<(&'a str, &'a str)>,
    /// A JSON text; empty for none.
    pub(crate) body: &'a str,
}

impl Request<'_> {
    /// The bytes of the request.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let Self { method, path, host, body, .. } = self;
        let mut lines =
            vec![format!("{method} {path} HTTP/1.1"), format!("Host: {host}"), "Accept: application/json".to_owned()];
        lines.extend(self.token.map(|token| format!("Authorization: Bearer {token}")));
        lines.extend(self.header.map(|(name, value)| format!("{name}: {value}")));
        if !body.is_empty() {
            lines.push("Content-Type: application/json".to_owned());
        }
        lines.push(format!("Content-Length: {}", body.len()));
        format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
    }
}

struct Head {
    /// Up to and including the empty line.
    length: usize,
    body_length: usize,
    status: u16,
    closes: bool,
}

impl Head {
    /// Reads a head; `None` while it is not complete.
    fn parse(buffer: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if buffer.len() > MAX_HEAD_BYTES { Err(malformed("its head is too long")) } else { Ok(None) };
        };
        let text = std::str::from_utf8(buffer.get(..end).unwrap_or_default()).map_err(io::Error::other)?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(status_of)
            .ok_or_else(|| malformed("it does not start with HTTP/1.1 and a status"))?;
        let mut head = Self { length: end + 4, body_length: 0, status, closes: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            head.note(name, value.trim())?;
        }
        Ok(Some(head))
    }

    fn note(&mut self, name: &str, value: &str) -> io::Result<()> {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().ok().filter(|length| *length <= MAX_BODY_BYTES);
            self.body_length = length.ok_or_else(|| malformed("its Content-Length is no number or too large"))?;
        } else if name.eq_ignore_ascii_case("connection") {
            self.closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(malformed("it does not declare its length"));
        }
        Ok(())
    }
}

fn status_of(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that reads one request for each answer and sends the answer in the pieces given.
    async fn answering(answers: Vec<Vec<&'static str>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            for pieces in answers {
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn answers_are_read_however_they_are_cut() {
        let whole = vec!["HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\nhello"];
        let cut = vec!["HTTP/1.1 50", "3 No\r\nContent-Len", "gth: 2\r\nConnection: close\r\n\r", "\nno"];
        let mut connection = Connection::open(answering(vec![whole, cut]).await).await.unwrap();
        let first = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(first, Answer { status: 202, body: b"hello", closes: false });
        let second = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(second, Answer { status: 503, body: b"no", closes: true });
    }

    #[tokio::test]
    async fn an_answer_that_ends_early_is_an_error() {
        let cut = vec!["HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"];
        let mut connection = Connection::open(answering(vec![cut]).await).await.unwrap();
        let error = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    async fn answer_with(stream: &mut TcpStream, answers: &[&str]) {
        for answer in answers {
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_link_opens_what_was_closed_and_uses_what_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut requests_by_connection = Vec::new();
            for answers in [vec!["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"], vec!["HTTP/1.1 200 OK\r\n\r\n"; 2]] {
                let (mut stream, _) = listener.accept().await.unwrap();
                requests_by_connection.push(answers.len());
                answer_with(&mut stream, &answers).await;
            }
            requests_by_connection
        });
        let mut link = Link::to(address);
        for _ in 0..3 {
            let answer = link.exchange(b"GET / HTTP/1.1\r\n\r\n", Instant::now()).await.unwrap();
            assert_eq!(answer.status, 200);
        }
        assert_eq!(serving.await.unwrap(), [1, 2]);
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
    }

    #[test]
    fn a_request_carries_its_length() {
        let request = Request { method: "POST", path: "/x", host: "h", token: Some("t"), header: None, body: "{}" };
        let text = String::from_utf8(request.to_bytes()).unwrap();
        assert!(text.starts_with("POST /x HTTP/1.1\r\nHost: h\r\n"));
        assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"));
    }
}
