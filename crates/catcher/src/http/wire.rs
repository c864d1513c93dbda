//! Reading requests and writing responses, HTTP/1.1 (RFC 9112).

use std::io::{self, ErrorKind};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::lines::{Line, read_line};

/// The longest head.
const MAX_HEAD: usize = 64 * 1024;
/// The longest line between two chunks.
const MAX_CHUNK_LINE: usize = 1024;
/// The largest body.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// What comes before the body.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    is_version_1_0: bool,
}

impl Head {
    /// Whether the client wants another answer on this connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        !self.is_version_1_0 && !self.says("connection", "close")
    }

    /// Whether the client sends the body only when asked to.
    pub(crate) fn expects_go_ahead(&self) -> bool {
        self.says("expect", "100-continue")
    }

    fn says(&self, name: &str, word: &str) -> bool {
        let values = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
    }
}

/// Reads a head. An error of the kind `InvalidData` says that it was none.
pub(crate) async fn read_head(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Head> {
    let mut line = Vec::new();
    let mut left = MAX_HEAD;
    next_line(reader, &mut line, &mut left).await?;
    let text = std::str::from_utf8(&line).map_err(|_not_text| invalid("the request line is not text"))?;
    let mut head = request_line(text)?;
    loop {
        next_line(reader, &mut line, &mut left).await?;
        if line.is_empty() {
            return Ok(head);
        }
        let (name, value) = header(&line)?;
        head.headers.append(name, value);
    }
}

async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>, left: &mut usize) -> io::Result<()> {
    match read_line(reader, line, *left).await? {
        Line::Whole => {
            *left = left.saturating_sub(line.len() + 2);
            Ok(())
        }
        Line::TooLong => Err(invalid("the head is too long")),
        Line::End => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn request_line(text: &str) -> io::Result<Head> {
    let mut words = text.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid("the request line has not three words"));
    };
    let is_version_1_0 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(invalid("the version is not known")),
    };
    Ok(Head {
        method: method.parse().map_err(|_not_a_token| invalid("the method is no token"))?,
        target: target.to_owned(),
        headers: HeaderMap::new(),
        is_version_1_0,
    })
}

fn header(line: &[u8]) -> io::Result<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, rest) = line.split_at(colon.ok_or_else(|| invalid("a header has no colon"))?);
    let value = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii();
    let name = HeaderName::from_bytes(name).map_err(|_not_a_token| invalid("the name of a header is no token"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_control| invalid("a header has control characters"))?;
    Ok((name, value))
}

/// Reads the body that the head announces.
pub(crate) async fn read_body(reader: &mut (impl AsyncBufRead + Unpin), head: &Head) -> io::Result<Bytes> {
    if head.says("transfer-encoding", "chunked") {
        return read_chunks(reader).await;
    }
    let length = match head.headers.get("content-length") {
        None => 0,
        Some(length) => number(length.as_bytes(), 10)?,
    };
    let mut body = Vec::new();
    read_exactly(reader, &mut body, length).await?;
    Ok(body.into())
}

async fn read_chunks(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Bytes> {
    let (mut body, mut line) = (Vec::new(), Vec::new());
    loop {
        short_line(reader, &mut line).await?;
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = number(size.trim_ascii(), 16)?;
        if size == 0 {
            break;
        }
        read_exactly(reader, &mut body, size).await?;
        short_line(reader, &mut line).await?;
        if !line.is_empty() {
            return Err(invalid("a chunk is longer than it says"));
        }
    }
    let mut left = MAX_HEAD;
    while !line.is_empty() {
        next_line(reader, &mut line, &mut left).await?;
    }
    Ok(body.into())
}

/// Reads a line between chunks.
async fn short_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<()> {
    let mut left = MAX_CHUNK_LINE;
    next_line(reader, line, &mut left).await
}

async fn read_exactly(reader: &mut (impl AsyncBufRead + Unpin), body: &mut Vec<u8>, length: usize) -> io::Result<()> {
    if body.len().saturating_add(length) > MAX_BODY {
        return Err(invalid("the body is too large"));
    }
    let end = body.len() + length;
    body.resize(end, 0);
    let (_, unread) = body.split_at_mut(end - length);
    reader.read_exact(unread).await?;
    Ok(())
}

fn number(text: &[u8], radix: u32) -> io::Result<usize> {
    let digits = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    digits.and_then(|digits| usize::from_str_radix(digits, radix).ok()).ok_or_else(|| invalid("a length is no number"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// Writes the head of a response and, at once with it, the body.
pub(crate) async fn write_response(
    writer: &mut (impl AsyncWrite + Unpin),
    code: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> io::Result<()> {
    let reason = StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason());
    let mut response = format!("HTTP/1.1 {code} {}\r\n", reason.unwrap_or("Unknown")).into_bytes();
    for (name, value) in headers {
        response.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    response.extend_from_slice(b"\r\n");
    response.extend_from_slice(body);
    writer.write_all(&response).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> io::Result<(Head, Bytes)> {
        let mut reader = text.as_bytes();
        let head = read_head(&mut reader).await?;
        let body = read_body(&mut reader, &head).await?;
        Ok((head, body))
    }

    #[tokio::test]
    async fn a_request_with_a_length_is_read() {
        let (head, body) = read("POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcrest").await.unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/a?b=c"));
        assert_eq!(&body[..], b"abc");
        assert!(head.keeps_alive());
    }

    #[tokio::test]
    async fn a_chunked_request_is_read_with_its_trailers() {
        let text =
            "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n";
        let (_, body) = read(text).await.unwrap();
        assert_eq!(&body[..], b"abc");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        for text in [
            "GET /\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\na b: c\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\na",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            let error = read(text).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{text:?}");
        }
    }
}
