use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::testing::install_tls_provider;

/// What the relay of a test says: the words of the client, or `<data>` for a whole message, become a reply. No reply
/// is silence, an empty one closes the connection.
type Script = fn(words: &str, connection: usize) -> Option<&'static str>;

/// Replies as a relay does that takes everything.
#[expect(clippy::unnecessary_wraps, reason = "one script of several; others fall silent")]
fn polite(words: &str) -> Option<&'static str> {
    Some(match words.split(' ').next().unwrap_or_default() {
        "<greeting>" => "220 relay.example",
        "EHLO" => "250-relay.example\r\n250 8BITMIME",
        "DATA" => "354 go ahead",
        _ => "250 2.0.0 ok",
    })
}

struct TestRelay {
    smtp: Smtp,
    connections: Arc<AtomicUsize>,
}

impl TestRelay {
    async fn start(script: Script) -> Self {
        install_tls_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}?tls=none", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(converse(stream, script, number));
            }
        });
        let smtp = Smtp::new(Relay::parse(&url).unwrap(), "example.com", Duration::from_millis(400));
        Self { smtp, connections }
    }

    async fn send(&self) -> Answer {
        self.smtp.exchange(&mail("ada@example.org")).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn converse(stream: TcpStream, script: Script, connection: usize) {
    let mut stream = BufReader::new(stream);
    let mut words = "<greeting>".to_owned();
    loop {
        match script(&words, connection) {
            None => std::future::pending().await,
            Some("") => return,
            Some(reply) => stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap(),
        }
        let ends = if words == "DATA" { "\r\n.\r\n" } else { "\r\n" };
        let mut text = String::new();
        while !text.ends_with(ends) {
            if stream.read_line(&mut text).await.unwrap_or(0) == 0 {
                return;
            }
        }
        words = if ends == "\r\n" { text.trim_end().to_owned() } else { "<data>".to_owned() };
    }
}

fn mail(to: &str) -> Mail {
    Mail {
        from: "news@example.com".parse().unwrap(),
        to: to.parse().unwrap(),
        message: b"Subject: Hi\r\n\r\n.dot\r\n".to_vec(),
    }
}

fn code(answer: Answer) -> u16 {
    match answer {
        Answer::Mail(answer) => answer.code,
        Answer::Failed(failure) => panic!("{failure:?}"),
        Answer::Http(_) => panic!("HTTP"),
    }
}

fn failed(answer: Answer) -> Failure {
    match answer {
        Answer::Failed(failure) => failure,
        Answer::Mail(answer) => panic!("{} {}", answer.code, answer.text),
        Answer::Http(_) => panic!("HTTP"),
    }
}

#[tokio::test]
async fn mails_share_a_connection() {
    let relay = TestRelay::start(|words, _| polite(words)).await;
    assert_eq!(code(relay.send().await), 250);
    assert_eq!(code(relay.send().await), 250);
    assert_eq!(relay.connections(), 1);
}

#[tokio::test]
async fn refusals_come_back_with_their_code_at_every_step() {
    let at_the_sender =
        TestRelay::start(|words, _| if words.starts_with("MAIL") { Some("451 4.3.0 later") } else { polite(words) })
            .await;
    assert_eq!(code(at_the_sender.send().await), 451);
    let at_the_recipient =
        TestRelay::start(|words, _| if words.starts_with("RCPT") { Some("550 5.1.1 who?") } else { polite(words) })
            .await;
    assert_eq!(code(at_the_recipient.send().await), 550);
    let after_the_data =
        TestRelay::start(|words, _| if words == "<data>" { Some("554 5.7.1 spam") } else { polite(words) }).await;
    assert_eq!(code(after_the_data.send().await), 554);
    assert_eq!(code(after_the_data.send().await), 554);
    assert_eq!(after_the_data.connections(), 1);
}

#[tokio::test]
async fn a_relay_that_is_not_there_got_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}?tls=none", listener.local_addr().unwrap());
    drop(listener);
    let smtp = Smtp::new(Relay::parse(&url).unwrap(), "example.com", Duration::from_millis(400));
    let Failure::NotSent(reason) = failed(smtp.exchange(&mail("ada@example.org")).await) else { panic!("it was sent") };
    assert!(reason.starts_with("the mail relay could not be reached"), "{reason}");
}

#[tokio::test]
async fn a_relay_that_refuses_us_refuses_no_mail() {
    let relay =
        TestRelay::start(|words, _| if words == "<greeting>" { Some("554 go away") } else { polite(words) }).await;
    assert_eq!(
        failed(relay.send().await),
        Failure::NotSent("the mail relay refused the connection: 554 go away".to_owned())
    );
}

#[tokio::test]
async fn before_the_data_nothing_was_sent() {
    let silent = TestRelay::start(|words, _| if words == "DATA" { None } else { polite(words) }).await;
    assert!(matches!(failed(silent.send().await), Failure::NotSent(_)));
    let cut = TestRelay::start(|words, _| if words.starts_with("RCPT") { Some("") } else { polite(words) }).await;
    assert!(matches!(failed(cut.send().await), Failure::NotSent(_)));
    let closing =
        TestRelay::start(|words, _| if words.starts_with("MAIL") { Some("421 closing") } else { polite(words) }).await;
    assert!(matches!(failed(closing.send().await), Failure::NotSent(_)));
}

#[tokio::test]
async fn after_the_data_the_outcome_is_open() {
    let silent = TestRelay::start(|words, _| if words == "<data>" { None } else { polite(words) }).await;
    assert_eq!(failed(silent.send().await), Failure::Lost("the mail relay did not confirm in time".to_owned()));
    let cut = TestRelay::start(|words, _| if words == "<data>" { Some("") } else { polite(words) }).await;
    assert_eq!(failed(cut.send().await), Failure::Lost("the connection was cut after the mail was sent".to_owned()));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let relay = TestRelay::start(|words, connection| {
        if connection == 1 && words == "MAIL FROM:<second@example.com>" { Some("") } else { polite(words) }
    })
    .await;
    assert_eq!(code(relay.send().await), 250);
    let second = Mail { from: "second@example.com".parse().unwrap(), ..mail("ada@example.org") };
    assert_eq!(code(relay.smtp.exchange(&second).await), 250);
    assert_eq!(relay.connections(), 2);
}

#[tokio::test]
async fn an_unfinished_conversation_is_never_continued() {
    let relay =
        TestRelay::start(|words, connection| if connection == 1 && words == "<data>" { None } else { polite(words) })
            .await;
    assert!(matches!(failed(relay.send().await), Failure::Lost(_)));
    assert_eq!(code(relay.send().await), 250);
    assert_eq!(relay.connections(), 2);
}

#[tokio::test]
async fn addresses_beyond_ascii_need_a_relay_that_takes_them() {
    let plain = TestRelay::start(|words, _| polite(words)).await;
    let refused = plain.smtp.exchange(&mail("adä@example.org")).await;
    assert!(matches!(failed(refused), Failure::Unsendable(_)));
    let modern = TestRelay::start(|words, _| {
        if words.starts_with("EHLO") {
            Some("250-relay.example\r\n250-8BITMIME\r\n250 SMTPUTF8")
        } else {
            polite(words)
        }
    })
    .await;
    assert_eq!(code(modern.smtp.exchange(&mail("adä@example.org")).await), 250);
}
