//! A mail server that takes every mail.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{MAX_BYTES, READ_AT_LEAST, number_in, too_long};
use crate::bench::arrivals::Arrivals;

const LINE_END: &[u8] = b"\r\n";
const MAIL_END: &[u8] = b"\r\n.\r\n";

/// Serves one connection until the other side leaves.
pub(super) async fn serve(mut stream: TcpStream, arrivals: &Arrivals) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_AT_LEAST);
    let mut in_mail = false;
    stream.write_all(b"220 bench ESMTP\r\n").await?;
    loop {
        let end: &[u8] = if in_mail { MAIL_END } else { LINE_END };
        let Some(start) = buffer.windows(end.len()).position(|window| window == end) else {
            if buffer.len() > MAX_BYTES {
                return Err(too_long());
            }
            buffer.reserve(READ_AT_LEAST);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let text = buffer.get(..start).unwrap_or_default();
        let reply = if in_mail { taken(text, arrivals) } else { Reply::to(text) };
        buffer.drain(..start + end.len());
        stream.write_all(reply.text()).await?;
        in_mail = reply == Reply::Go;
        if reply == Reply::Bye {
            return Ok(());
        }
    }
}

fn taken(mail: &[u8], arrivals: &Arrivals) -> Reply {
    if let Some(number) = number_in(mail) {
        arrivals.arrived(number);
    }
    Reply::Yes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Hello,
    Yes,
    Go,
    Bye,
    What,
}

impl Reply {
    /// The reply to a command.
    fn to(line: &[u8]) -> Self {
        let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
        match verb.as_slice() {
            b"EHLO" => Self::Hello,
            b"HELO" | b"MAIL" | b"RCPT" | b"RSET" | b"NOOP" => Self::Yes,
            b"DATA" => Self::Go,
            b"QUIT" => Self::Bye,
            _ => Self::What,
        }
    }

    const fn text(self) -> &'static [u8] {
        match self {
            Self::Hello => b"250-bench\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            Self::Yes => b"250 OK\r\n",
            Self::Go => b"354 Go on\r\n",
            Self::Bye => b"221 Bye\r\n",
            Self::What => b"500 What?\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::super::{Protocol, Sinks};
    use super::*;

    #[tokio::test]
    async fn mails_are_counted_one_after_the_other() {
        let arrivals = Arc::new(Arrivals::new(None).unwrap());
        let sinks = Sinks::start(Protocol::Smtp, 1, &arrivals).await.unwrap();
        let mut stream = TcpStream::connect(sinks.addresses()).await.unwrap();
        let mut said = String::from("EHLO me\r\n");
        for _ in 0..2 {
            let number = arrivals.expect(Instant::now());
            let mail = "mail from:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: bench ";
            said.extend([mail, &format!("{number:016x}"), "\r\n\r\n. Hello\r\n.\r\n"]);
        }
        said.push_str("QUIT\r\n");
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        let codes: Vec<&str> = heard.lines().filter_map(|line| line.get(..3)).collect();
        // The greeting and the hello, two mails, and the farewell.
        let expected = "220 250 250 250 250 250 354 250 250 250 354 250 221";
        assert_eq!(codes.join(" "), expected);
        assert_eq!(arrivals.count(), 2);
    }
}
