//! What has to hold for everything that the catchers read from the network. Compiled for tests and for the targets in
//! `fuzz/` only.
//!
//! Each function takes bytes from outside and panics when a property does not hold.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::BufReader;

use crate::http::fuzz as http;
use crate::lines::{Line, read_line};
use crate::mail::Mail;
use crate::moment;
use crate::smtp::fuzz as smtp;

/// A request of HTTP/1.1 from its first byte: what is read from it does not depend on how it arrives.
pub fn http_wire(bytes: &[u8]) {
    let whole = at_once(http::read(&mut BufReader::with_capacity(64 * 1024, bytes)));
    let pieces = at_once(http::read(&mut BufReader::with_capacity(3, bytes)));
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
        (whole, pieces) => {
            let kind = |outcome: io::Result<_>| outcome.err().map(|error| error.kind());
            assert_eq!(kind(whole), kind(pieces));
        }
    }
}

/// The bodies of forms: there are no more fields than separators, and decoding never fails.
pub fn form(bytes: &[u8]) {
    let fields = http::form(bytes);
    assert!(fields.len() <= bytes.split(|byte| *byte == b'&').count());
    assert!(fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 3 * bytes.len());
}

/// The lines of a client of SMTP: none is longer than allowed, none hides another, and it does not matter in which pieces
/// they arrive.
pub fn smtp_line(bytes: &[u8]) {
    let whole = lines(&mut BufReader::with_capacity(64 * 1024, bytes));
    assert_eq!(whole, lines(&mut BufReader::with_capacity(1, bytes)));
    for line in &whole {
        assert!(line.len() <= LIMIT && !line.windows(2).any(|pair| pair == b"\r\n"));
        let Ok(text) = std::str::from_utf8(line) else { continue };
        for keyword in ["FROM:", "TO:"] {
            if let Some(address) = smtp::address(text, keyword) {
                assert!(!address.contains('>') && text.contains(address));
            }
        }
    }
}

const LIMIT: usize = 512;

/// The lines that are short enough.
fn lines(reader: &mut BufReader<&[u8]>) -> Vec<Vec<u8>> {
    let (mut line, mut seen) = (Vec::new(), Vec::new());
    loop {
        match at_once(read_line(reader, &mut line, LIMIT)).expect("memory can be read") {
            Line::Whole => seen.push(line.clone()),
            Line::TooLong => {}
            Line::End => return seen,
        }
    }
}

/// A mail as it was caught: whatever it is, it can be shown, and no header breaks out of its line.
pub fn caught_mail(bytes: &[u8]) {
    let mail = Mail { number: 1, from: String::new(), to: Vec::new(), raw: bytes.to_vec(), at: moment::now() };
    let view = mail.view();
    assert_eq!(view.size_bytes, bytes.len());
    for header in &view.headers {
        assert!(!header.value.contains(['\r', '\n']), "{header:?}");
    }
    assert_eq!((view.subject, view.text, view.html), (mail.subject(), mail.text(), mail.html()));
}

/// The result of a future that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let step = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    let result = match step {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    };
    result.expect("memory does not keep anybody waiting")
}

#[cfg(test)]
mod tests {
    use tidings_testkit::mutation::hammer;

    #[test]
    fn requests_over_http() {
        hammer("http_wire", super::http_wire);
    }

    #[test]
    fn forms() {
        hammer("form", super::form);
    }

    #[test]
    fn lines_over_smtp() {
        hammer("smtp_line", super::smtp_line);
    }

    #[test]
    fn caught_mails() {
        hammer("caught_mail", super::caught_mail);
    }
}
