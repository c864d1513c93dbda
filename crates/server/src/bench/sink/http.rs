//! A receiver of webhooks: HTTP/1.1 with connections that stay open, every request answered with 200.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{MAX_BYTES, READ_AT_LEAST, number_in, too_long};
use crate::bench::arrivals::Arrivals;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Serves one connection until the other side closes it.
pub(super) async fn serve(mut stream: TcpStream, arrivals: &Arrivals) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_AT_LEAST);
    loop {
        while let Some(length) = request_length(&buffer)? {
            if let Some(number) = buffer.get(..length).and_then(number_in) {
                arrivals.arrived(number);
            }
            buffer.drain(..length);
            stream.write_all(ANSWER).await?;
        }
        buffer.reserve(READ_AT_LEAST);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// How long the first request in the buffer is, head and body; `None` while it is not complete.
fn request_length(buffer: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buffer.len() > MAX_BYTES { Err(too_long()) } else { Ok(None) };
    };
    let text = buffer.get(..head).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    let mut lengths = lines.filter_map(content_length);
    let length = head + 4 + lengths.next().unwrap_or(0);
    if length > MAX_BYTES {
        return Err(too_long());
    }
    Ok((buffer.len() >= length).then_some(length))
}

fn content_length(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::super::{Protocol, Sinks};
    use super::*;
    use crate::bench::client::Connection;

    #[test]
    fn a_request_is_as_long_as_it_says() {
        let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-LENGTH: 3\r\n\r\nabcPOST";
        assert_eq!(request_length(request).unwrap(), Some(request.len() - 4));
        assert_eq!(request_length(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc").unwrap(), None);
        assert_eq!(request_length(b"GET / HTTP/1.1\r\n\r\n").unwrap(), Some(18));
        assert_eq!(request_length(b"GET / HT").unwrap(), None);
    }

    #[tokio::test]
    async fn webhooks_are_counted_on_one_connection() {
        let arrivals = Arc::new(Arrivals::new(None).unwrap());
        let sinks = Sinks::start(Protocol::Http, 2, &arrivals).await.unwrap();
        let address = *sinks.addresses().last().unwrap();
        let mut connection = Connection::open(address).await.unwrap();
        for _ in 0..3 {
            let body = format!(r#"{{"type":"bench {:016x}"}}"#, arrivals.expect(Instant::now()));
            let request = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(connection.exchange(request.as_bytes()).await.unwrap().status, 200);
        }
        assert_eq!(arrivals.count(), 3);
    }
}
