//! Clients that no library would be: they write bytes to a socket as they please, from any address of this machine.

use std::iter::once;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::program::Program;
use crate::verbs::Door;

/// How long an answer may take before the story calls it a hang.
const HANG: Duration = Duration::from_secs(20);

/// The address of the program.
pub(crate) fn address(program: &Program) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, program.port()))
}

/// A connection that comes from `from`, which has to be a loopback address.
pub(crate) async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    socket.connect(to).await
}

/// What came back on a connection.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The status; `None` when the connection was closed without an answer.
    pub(crate) status: Option<u16>,
    /// The body of the answer.
    pub(crate) body: String,
}

impl Heard {
    /// The stable code of an error; empty where the answer is not one of ours.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Writes pieces until they end or nobody takes them any more, and gives the first answer. Panics if none comes and the
/// connection is not closed either.
pub(crate) async fn talk(to: SocketAddr, pieces: impl IntoIterator<Item = Vec<u8>>) -> Heard {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let say = async {
        for piece in pieces {
            if writing.write_all(&piece).await.is_err() {
                break;
            }
        }
        // The connection stays open: the answer must not depend on its end.
        std::future::pending::<()>().await;
    };
    let listen = async {
        let mut text = Vec::new();
        let mut part = [0; 4096];
        while !is_whole(&text) {
            match reading.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(length) => text.extend_from_slice(&part[..length]),
            }
        }
        text
    };
    let heard = async {
        tokio::select! {
            () = say => Vec::new(),
            text = listen => text,
        }
    };
    let text = timeout(HANG, heard).await.expect("an answer, or the end of the connection");
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Heard { status, body }
}

/// The same for a request that is one piece.
pub(crate) async fn ask(to: SocketAddr, request: impl Into<Vec<u8>>) -> Heard {
    talk(to, once(request.into())).await
}

/// Whether an answer has arrived with as much body as it announced.
fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// The head of a POST of JSON, without its end: more headers may follow.
pub(crate) fn head(door: &Door, path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        door.token
    )
}

/// A POST of JSON with further header lines.
pub(crate) fn post(door: &Door, path: &str, further: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!("{}{further}content-length: {}\r\n\r\n", head(door, path), body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

/// A little gzip that becomes a lot of zeros: `bytes` of them, rounded up to whole repetitions.
///
/// One block of `DEFLATE` with the fixed codes (RFC 1951, section 3.2.6): the byte 0, then "the last byte 258 times more",
/// 13 bits each. The checksum at the end is left out, for whoever gets as far as that has lost already.
pub(crate) fn gzip_bomb(bytes: u64) -> Vec<u8> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut bits = Bits { whole: HEADER.to_vec(), part: 0, filled: 0 };
    bits.push(0b011, 3);
    // Codes are packed from their most significant bit, everything else from the least: these are written reversed.
    bits.push(0b0000_1100, 8);
    for _ in 0..bytes.div_ceil(258) {
        bits.push(0b1010_0011, 8);
        bits.push(0, 5);
    }
    bits.push(0, 7);
    bits.push(0, 7);
    bits.whole
}

struct Bits {
    whole: Vec<u8>,
    part: u32,
    filled: u32,
}

impl Bits {
    fn push(&mut self, bits: u32, count: u32) {
        self.part |= bits << self.filled;
        self.filled += count;
        while self.filled >= 8 {
            self.whole.push(self.part.to_le_bytes()[0]);
            self.part >>= 8;
            self.filled -= 8;
        }
    }
}

#[test]
fn the_bomb_is_one() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let mut gunzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let bomb = gzip_bomb(1_000_000);
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    gunzip.stdin.take().unwrap().write_all(&bomb).unwrap();
    // It complains about the missing checksum and has written everything by then.
    let out = gunzip.wait_with_output().unwrap().stdout;
    assert!(out.len() >= 1_000_000 && out.iter().all(|byte| *byte == 0), "{}", out.len());
}
