//! A mail relay.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Tally;
use crate::faults::ledger::Ledger;
use crate::faults::listening::{Running, listen, serve};

/// The longest line, of commands and of mails.
const MAX_LINE: u64 = 64 * 1024;
/// How much of a mail is searched for its `Message-ID`.
const MAX_HEADERS: usize = 64 * 1024;
/// What the ledger hears of a mail that names no notification.
const ANONYMOUS: &str = "a mail without Message-ID";

/// A mail relay: every mail counts, once it is there as a whole, for the notification in its `Message-ID`. It stops when
/// dropped.
pub struct MailSink {
    addr: SocketAddr,
    manner: Arc<Manner>,
    _running: Running,
}

struct Manner {
    tally: Tally,
    refusal: Mutex<Option<(u16, &'static str)>>,
}

impl MailSink {
    /// Starts on a free port of this machine. It takes every mail until told otherwise.
    pub async fn start(ledger: Ledger) -> io::Result<Self> {
        let (listener, addr) = listen().await?;
        let manner = Arc::new(Manner { tally: Tally::new(ledger), refusal: Mutex::new(None) });
        let shared = Arc::clone(&manner);
        let running = serve(listener, move |stream| converse(stream, Arc::clone(&shared)));
        Ok(Self { addr, manner, _running: running })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many mails it got.
    pub fn received(&self) -> usize {
        self.manner.tally.received()
    }

    /// Answers mails with this reply from now on, after their content; `None` takes them. What is refused counts as a
    /// call as well.
    pub fn refuse_with(&self, reply: Option<(u16, &'static str)>) {
        *self.manner.refusal.lock() = reply;
    }
}

impl fmt::Debug for MailSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MailSink").field("addr", &self.addr).finish_non_exhaustive()
    }
}

async fn converse(stream: TcpStream, manner: Arc<Manner>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 sink ESMTP").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut stream).take(MAX_LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say(&mut stream, "250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8").await?,
            "DATA" => {
                say(&mut stream, "354 Go on").await?;
                let Some(headers) = read_mail(&mut stream).await? else { return Ok(()) };
                manner.tally.note(notification(&headers), ANONYMOUS);
                let refusal = *manner.refusal.lock();
                let reply = refusal.map_or_else(|| "250 Taken".to_owned(), |(code, text)| format!("{code} {text}"));
                say(&mut stream, &reply).await?;
            }
            "QUIT" => return say(&mut stream, "221 Until next time").await,
            _ => say(&mut stream, "250 Well").await?,
        }
    }
}

async fn say(stream: &mut BufReader<TcpStream>, reply: &str) -> io::Result<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// Reads a mail to its end and gives its headers; `None` when it was cut off.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let (mut headers, mut line, mut in_headers) = (Vec::new(), Vec::new(), true);
    loop {
        line.clear();
        if (&mut *stream).take(MAX_LINE).read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_ascii_end() {
            b"." => return Ok(Some(String::from_utf8_lossy(&headers).into_owned())),
            b"" => in_headers = false,
            _ if in_headers && headers.len() < MAX_HEADERS => headers.extend_from_slice(&line),
            _ => {}
        }
    }
}

/// The notification that a mail is about: `Message-ID: <id@domain>`.
fn notification(headers: &str) -> Option<&str> {
    let line = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("message-id").then_some(value)
    });
    let (id, _domain) = line?.trim().strip_prefix('<')?.split_once('@')?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "From: a@x.example\r\nMESSAGE-ID: <7@x.example>\r\n\r\nMessage-ID: <8@x.example>\r\n..\r\n.\r\n";

    async fn dialogue(stream: &mut BufReader<TcpStream>, said: &str) -> String {
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_line(&mut reply).await.unwrap();
        reply.trim_end().to_owned()
    }

    #[tokio::test]
    async fn whole_mails_count_for_the_notification_that_they_name() {
        let ledger = Ledger::new();
        let sink = MailSink::start(ledger.clone()).await.unwrap();
        let mut stream = BufReader::new(TcpStream::connect(sink.addr()).await.unwrap());
        assert_eq!(dialogue(&mut stream, "HELO x\r\n").await, "220 sink ESMTP");
        assert_eq!(dialogue(&mut stream, "MAIL FROM:<a@x.example>\r\n").await, "250 Well");
        assert_eq!(dialogue(&mut stream, "").await, "250 Well");
        assert_eq!(dialogue(&mut stream, "DATA\r\n").await, "354 Go on");
        assert_eq!(dialogue(&mut stream, MAIL).await, "250 Taken");
        sink.refuse_with(Some((451, "Later")));
        assert_eq!(dialogue(&mut stream, "data\r\n").await, "354 Go on");
        assert_eq!(dialogue(&mut stream, MAIL).await, "451 Later");
        sink.refuse_with(None);
        assert_eq!(dialogue(&mut stream, "DATA\r\n").await, "354 Go on");
        assert_eq!(dialogue(&mut stream, "\r\nno headers\r\n.\r\n").await, "250 Taken");
        assert_eq!(dialogue(&mut stream, "QUIT\r\n").await, "221 Until next time");
        assert_eq!(dialogue(&mut stream, "").await, "");
        assert_eq!((ledger.calls("7"), ledger.calls("8"), ledger.calls(ANONYMOUS), sink.received()), (2, 0, 1, 3));
    }

    #[tokio::test]
    async fn a_mail_that_is_cut_off_does_not_count() {
        let ledger = Ledger::new();
        let sink = MailSink::start(ledger.clone()).await.unwrap();
        let mut stream = BufReader::new(TcpStream::connect(sink.addr()).await.unwrap());
        assert_eq!(dialogue(&mut stream, "DATA\r\nMessage-ID: <7@x.example>\r\n\r\nhalf").await, "220 sink ESMTP");
        stream.shutdown().await.unwrap();
        assert_eq!(
            dialogue(&mut BufReader::new(TcpStream::connect(sink.addr()).await.unwrap()), "").await,
            "220 sink ESMTP"
        );
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!((rest.as_str(), sink.received()), ("354 Go on\r\n", 0));
    }
}
