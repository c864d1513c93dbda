//! The dialogue of one connection (RFC 5321).

use std::io;
use std::ops::ControlFlow;
use std::str::SplitWhitespace;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{SmtpAnswer, Stage};
use crate::lines::{Line, read_line};
use crate::mail::Mail;
use crate::moment;
use crate::script::Script;
use crate::server::IDLE;
use crate::shelf::Shelf;

/// The longest command; RFC 5321 asks for 512 octets, extensions for more.
const MAX_COMMAND: usize = 2_048;
/// The largest message.
const MAX_MESSAGE: usize = 10 * 1024 * 1024;
/// The most recipients of one message.
const MAX_RECIPIENTS: usize = 1_000;

/// Whether the dialogue goes on.
type Step = io::Result<ControlFlow<()>>;

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());
const HANG_UP: ControlFlow<()> = ControlFlow::Break(());

pub(crate) struct Session {
    stream: BufReader<TcpStream>,
    shelf: Arc<Shelf<Mail>>,
    script: Arc<Script<SmtpAnswer>>,
    is_greeted: bool,
    envelope: Option<Envelope>,
}

/// A mail on its way, and what will happen to it.
struct Envelope {
    from: String,
    to: Vec<String>,
    answer: SmtpAnswer,
}

impl Envelope {
    /// The reply that is prepared for a stage.
    fn reply_at(&self, wanted: Stage) -> Option<(u16, String)> {
        match &self.answer {
            SmtpAnswer::Reply { stage, code, text } if *stage == wanted => Some((*code, text.clone())),
            _ => None,
        }
    }
}

enum Content {
    Whole(Vec<u8>),
    TooLarge,
    CutOff,
}

impl Session {
    pub(crate) fn new(stream: TcpStream, shelf: Arc<Shelf<Mail>>, script: Arc<Script<SmtpAnswer>>) -> Self {
        Self { stream: BufReader::new(stream), shelf, script, is_greeted: false, envelope: None }
    }

    pub(crate) async fn run(mut self) -> io::Result<()> {
        self.stream.get_ref().set_nodelay(true)?;
        if self.greet().await?.is_break() {
            return Ok(());
        }
        let mut line = Vec::new();
        loop {
            let step = match timeout(IDLE, read_line(&mut self.stream, &mut line, MAX_COMMAND)).await {
                Err(_too_slow) => self.reply(421, "You have been silent for too long").await?,
                Ok(read) => match read? {
                    Line::End => HANG_UP,
                    Line::TooLong => self.reply(500, "The line is too long").await?,
                    Line::Whole => self.obey(&line).await?,
                },
            };
            if step.is_break() {
                return self.stream.shutdown().await;
            }
        }
    }

    async fn greet(&mut self) -> Step {
        let at_hand = |answer: &SmtpAnswer| {
            matches!(answer, SmtpAnswer::Silence | SmtpAnswer::Reply { stage: Stage::Connect, .. })
        };
        match self.script.take_if(at_hand) {
            Some(SmtpAnswer::Reply { code, text, .. }) => {
                self.say(code, &text).await?;
                Ok(HANG_UP)
            }
            Some(_silence) => self.fall_silent().await,
            None => self.reply(220, "catcher ESMTP").await,
        }
    }

    async fn obey(&mut self, line: &[u8]) -> Step {
        let Ok(line) = std::str::from_utf8(line) else {
            return self.reply(500, "The command is not UTF-8").await;
        };
        if line.contains(['\r', '\n', '\0']) {
            return self.reply(500, "A line ends with CR and LF").await;
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.extended_hello().await,
            "HELO" => {
                self.start_over();
                self.reply(250, "catcher").await
            }
            "MAIL" => self.mail(rest).await,
            "RCPT" => self.recipient(rest).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.envelope = None;
                self.reply(250, "Forgotten").await
            }
            "NOOP" => self.reply(250, "Still here").await,
            "VRFY" => self.reply(252, "Every address is good").await,
            "QUIT" => self.reply(221, "Until next time").await,
            _ => self.reply(502, "The command is not known here").await,
        }
    }

    fn start_over(&mut self) {
        self.is_greeted = true;
        self.envelope = None;
    }

    async fn extended_hello(&mut self) -> Step {
        self.start_over();
        let reply =
            format!("250-catcher\r\n250-SIZE {MAX_MESSAGE}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n");
        self.stream.write_all(reply.as_bytes()).await?;
        Ok(GO_ON)
    }

    async fn mail(&mut self, rest: &str) -> Step {
        if !self.is_greeted {
            return self.reply(503, "Say EHLO first").await;
        }
        if self.envelope.is_some() {
            return self.reply(503, "A mail is already under way").await;
        }
        let Some((from, mut parameters)) = path(rest, "FROM:") else {
            return self.reply(501, "Use MAIL FROM:<address>").await;
        };
        let too_large = |parameter: &str| declared_size(parameter).is_some_and(|size| size > MAX_MESSAGE as u64);
        if parameters.any(too_large) {
            return self.reply(552, "The message is too large").await;
        }
        let at_hand = |answer: &SmtpAnswer| !matches!(answer, SmtpAnswer::Reply { stage: Stage::Connect, .. });
        let answer = self.script.take_if(at_hand).unwrap_or(SmtpAnswer::Accept);
        if answer == SmtpAnswer::Silence {
            return self.fall_silent().await;
        }
        let envelope = Envelope { from: from.to_owned(), to: Vec::new(), answer };
        if let Some((code, text)) = envelope.reply_at(Stage::Mail) {
            return self.reply(code, &text).await;
        }
        self.envelope = Some(envelope);
        self.reply(250, "Go on").await
    }

    async fn recipient(&mut self, rest: &str) -> Step {
        let Some(envelope) = &mut self.envelope else {
            return self.reply(503, "Say MAIL first").await;
        };
        if let Some((code, text)) = envelope.reply_at(Stage::Rcpt) {
            return self.reply(code, &text).await;
        }
        if envelope.to.len() >= MAX_RECIPIENTS {
            return self.reply(452, "Too many recipients").await;
        }
        match path(rest, "TO:") {
            Some((to, _)) if !to.is_empty() => envelope.to.push(to.to_owned()),
            _ => return self.reply(501, "Use RCPT TO:<address>").await,
        }
        self.reply(250, "Go on").await
    }

    async fn data(&mut self) -> Step {
        let Some(envelope) = self.envelope.take_if(|envelope| !envelope.to.is_empty()) else {
            return self.reply(503, "Say MAIL and RCPT first").await;
        };
        if let Some((code, text)) = envelope.reply_at(Stage::Data) {
            return self.reply(code, &text).await;
        }
        self.say(354, "End with a line that has only a dot").await?;
        let raw = match timeout(IDLE, self.content()).await {
            Ok(Ok(Content::Whole(raw))) => raw,
            Ok(Ok(Content::TooLarge)) => return self.reply(552, "The message is too large").await,
            Ok(Ok(Content::CutOff)) => return Ok(HANG_UP),
            Ok(Err(error)) => return Err(error),
            Err(_too_slow) => return self.reply(421, "The message took too long").await,
        };
        if envelope.answer == SmtpAnswer::CloseMidway {
            return Ok(HANG_UP);
        }
        if let Some((code, text)) = envelope.reply_at(Stage::AfterData) {
            return self.reply(code, &text).await;
        }
        let mail = self.shelf.put(raw.len(), |number| Mail {
            number,
            from: envelope.from,
            to: envelope.to,
            raw,
            at: moment::now(),
        });
        self.reply(250, &format!("Caught as number {}", mail.number)).await
    }

    /// Reads a message up to the line that has only a dot, and takes off the dots that were added to others.
    async fn content(&mut self) -> io::Result<Content> {
        let (mut raw, mut line, mut is_too_large) = (Vec::new(), Vec::new(), false);
        loop {
            match read_line(&mut self.stream, &mut line, MAX_MESSAGE).await? {
                Line::End => return Ok(Content::CutOff),
                Line::TooLong => is_too_large = true,
                Line::Whole if line == b"." => break,
                Line::Whole => {
                    let text = line.strip_prefix(b".").unwrap_or(&line);
                    is_too_large |= raw.len() + text.len() > MAX_MESSAGE;
                    if !is_too_large {
                        raw.extend_from_slice(text);
                        raw.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
        Ok(if is_too_large { Content::TooLarge } else { Content::Whole(raw) })
    }

    /// Listens on without a word until the client gives up.
    async fn fall_silent(&mut self) -> Step {
        loop {
            let heard = self.stream.fill_buf().await?.len();
            if heard == 0 {
                return Ok(HANG_UP);
            }
            self.stream.consume(heard);
        }
    }

    /// Says one line. The codes 221 and 421 announce that the connection is closed.
    async fn reply(&mut self, code: u16, text: &str) -> Step {
        self.say(code, text).await?;
        Ok(if matches!(code, 221 | 421) { HANG_UP } else { GO_ON })
    }

    async fn say(&mut self, code: u16, text: &str) -> io::Result<()> {
        let text = text.replace(['\r', '\n'], " ");
        self.stream.write_all(format!("{code} {text}\r\n").as_bytes()).await
    }
}

/// The address of `FROM:<address> PARAMETERS`, and the parameters.
pub(super) fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, SplitWhitespace<'a>)> {
    let (start, rest) = rest.trim_start().split_at_checked(keyword.len())?;
    if !start.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, parameters) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    Some((address, parameters.split_whitespace()))
}

fn declared_size(parameter: &str) -> Option<u64> {
    let (name, value) = parameter.split_once('=')?;
    if name.eq_ignore_ascii_case("SIZE") { value.parse().ok() } else { None }
}
