use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::lines::{Line, read_line};

const SOON: Duration = Duration::from_secs(10);

/// A client that speaks line by line.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn connect(catcher: &SmtpCatcher) -> Self {
        let stream = TcpStream::connect(catcher.addr()).await.unwrap();
        Self { stream: BufReader::new(stream) }
    }

    async fn greeted(catcher: &SmtpCatcher) -> Self {
        let mut client = Self::connect(catcher).await;
        assert_eq!(client.code().await, Some(220));
        assert_eq!(client.say("EHLO test").await, Some(250));
        client
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn say(&mut self, line: &str) -> Option<u16> {
        self.send(&format!("{line}\r\n")).await;
        self.code().await
    }

    /// The code of the next reply; `None` when the connection is closed instead.
    async fn code(&mut self) -> Option<u16> {
        loop {
            let mut line = Vec::new();
            let read = read_line(&mut self.stream, &mut line, 1_000);
            match tokio::time::timeout(SOON, read).await.unwrap().unwrap() {
                Line::Whole => {
                    let text = String::from_utf8(line).unwrap();
                    let (code, rest) = text.split_at_checked(3).unwrap();
                    if !rest.starts_with('-') {
                        return Some(code.parse().unwrap());
                    }
                }
                Line::End | Line::TooLong => return None,
            }
        }
    }

    /// Sends a mail and returns the first reply that was not the wished one, or the last.
    async fn mail(&mut self, content: &str) -> Option<u16> {
        for command in ["MAIL FROM:<a@x.example>", "RCPT TO:<b@x.example>"] {
            let code = self.say(command).await;
            if code != Some(250) {
                return code;
            }
        }
        match self.say("DATA").await {
            Some(354) => self.say(&format!("{content}\r\n.")).await,
            other => other,
        }
    }
}

async fn catcher() -> SmtpCatcher {
    SmtpCatcher::start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

#[tokio::test]
async fn every_mail_is_taken_as_sent() {
    let catcher = catcher().await;
    let mut client = Client::greeted(&catcher).await;
    assert_eq!(client.say("MAIL FROM:<ä@x.example> SIZE=100 SMTPUTF8 BODY=8BITMIME").await, Some(250));
    assert_eq!(client.say("rcpt to: <b@x.example>").await, Some(250));
    assert_eq!(client.say("RCPT TO:<c@x.example>").await, Some(250));
    assert_eq!(client.say("DATA").await, Some(354));
    assert_eq!(client.say("Subject: s\r\n\r\n..dot\r\nbare\nfeed\r\n.").await, Some(250));
    assert_eq!(client.mail("Subject: second\r\n\r\n").await, Some(250));
    assert_eq!(client.say("QUIT").await, Some(221));
    let mails = catcher.wait_for(2, SOON).await.unwrap();
    assert_eq!(mails[0].from, "ä@x.example");
    assert_eq!(mails[0].to, ["b@x.example", "c@x.example"]);
    assert_eq!(mails[0].raw, b"Subject: s\r\n\r\n.dot\r\nbare\nfeed\r\n");
    assert_eq!(mails[1].subject().as_deref(), Some("second"));
    catcher.clear();
    assert!(catcher.mails().is_empty());
}

#[tokio::test]
async fn commands_may_come_all_at_once() {
    let catcher = catcher().await;
    let mut client = Client::greeted(&catcher).await;
    client.send("NOOP\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n").await;
    for code in [250, 250, 250, 354] {
        assert_eq!(client.code().await, Some(code));
    }
    assert_eq!(client.say("x\r\n.").await, Some(250));
    assert_eq!(catcher.wait_for(1, SOON).await.unwrap()[0].from, "");
}

#[tokio::test]
async fn a_message_ends_nowhere_else_than_at_a_dot_between_crlfs() {
    let catcher = catcher().await;
    let mut client = Client::greeted(&catcher).await;
    let smuggled = "one\n.\r\nMAIL FROM:<evil@x.example>\r\n\n.\ntwo\r.\rthree";
    assert_eq!(client.mail(smuggled).await, Some(250));
    let mails = catcher.wait_for(1, SOON).await.unwrap();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].raw, format!("{smuggled}\r\n").into_bytes());
}

#[tokio::test]
async fn commands_out_of_order_are_refused() {
    let catcher = catcher().await;
    let mut client = Client::connect(&catcher).await;
    assert_eq!(client.code().await, Some(220));
    for (line, code) in [
        ("MAIL FROM:<a@x.example>", 503),
        ("EHLO test", 250),
        ("RCPT TO:<b@x.example>", 503),
        ("DATA", 503),
        ("MAIL TO:<a@x.example>", 501),
        ("MAIL FROM:<a@x.example> SIZE=99999999", 552),
        ("MAIL FROM:<a@x.example>", 250),
        ("MAIL FROM:<a@x.example>", 503),
        ("RCPT TO:<>", 501),
        ("DATA", 503),
        ("RSET", 250),
        ("RCPT TO:<b@x.example>", 503),
        ("NOOP\nQUIT", 500),
        ("STARTTLS", 502),
        ("x".repeat(5_000).as_str(), 500),
        ("QUIT", 221),
    ] {
        assert_eq!(client.say(line).await, Some(code), "{line}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let catcher = catcher().await;
    let mut client = Client::greeted(&catcher).await;
    let line = format!("{}\r\n", "x".repeat(998));
    assert_eq!(client.mail(&line.repeat(11_000)).await, Some(552));
    assert_eq!(client.mail("small").await, Some(250));
}

#[tokio::test]
async fn answers_are_given_in_order_at_their_stage() {
    let catcher = catcher().await;
    catcher.script([
        SmtpAnswer::refuse(Stage::Mail, 451, "later"),
        SmtpAnswer::refuse(Stage::Rcpt, 550, "no such user"),
        SmtpAnswer::refuse(Stage::Data, 452, "full"),
        SmtpAnswer::refuse(Stage::AfterData, 554, "spam"),
        SmtpAnswer::Accept,
        SmtpAnswer::refuse(Stage::Connect, 421, "busy"),
    ]);
    let mut client = Client::greeted(&catcher).await;
    for code in [451, 550] {
        assert_eq!(client.mail("x").await, Some(code));
        assert_eq!(client.say("RSET").await, Some(250));
    }
    for code in [452, 554, 250, 250] {
        assert_eq!(client.mail("x").await, Some(code));
    }
    let mut refused = Client::connect(&catcher).await;
    assert_eq!(refused.code().await, Some(421));
    assert_eq!(refused.code().await, None);
    assert_eq!(catcher.mails().len(), 2);
}

#[tokio::test]
async fn a_connection_can_be_cut_after_the_content() {
    let catcher = catcher().await;
    catcher.script([SmtpAnswer::CloseMidway]);
    let mut client = Client::greeted(&catcher).await;
    assert_eq!(client.mail("x").await, None);
    assert!(catcher.mails().is_empty());
}

#[tokio::test]
async fn silence_lasts_until_the_client_gives_up() {
    let catcher = catcher().await;
    catcher.script([SmtpAnswer::Silence]);
    let mut client = Client::connect(&catcher).await;
    client.send("EHLO test\r\n").await;
    client.stream.shutdown().await.unwrap();
    // Had it answered, there would be something to read before the end.
    let mut heard = Vec::new();
    client.stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"");
    let mut next = Client::greeted(&catcher).await;
    assert_eq!(next.mail("x").await, Some(250));
}

#[tokio::test]
async fn many_connections_are_served_at_once() {
    let catcher = catcher().await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Client::greeted(&catcher).await);
    }
    for client in &mut clients {
        assert_eq!(client.mail("x").await, Some(250));
    }
    assert_eq!(catcher.wait_for(50, SOON).await.unwrap().len(), 50);
}

#[tokio::test]
async fn dropping_it_ends_its_connections() {
    let catcher = catcher().await;
    let mut client = Client::greeted(&catcher).await;
    drop(catcher);
    assert_eq!(client.code().await, None);
}
