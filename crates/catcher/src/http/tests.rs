use std::io::ErrorKind;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const SOON: Duration = Duration::from_secs(10);

async fn catcher() -> HttpCatcher {
    HttpCatcher::start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

async fn send(catcher: &HttpCatcher, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(catcher.addr()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// All that is answered until the server closes.
async fn rest(mut stream: TcpStream) -> io::Result<String> {
    let mut heard = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut heard)).await.unwrap()?;
    Ok(String::from_utf8(heard).unwrap())
}

async fn ask(catcher: &HttpCatcher, text: &str) -> String {
    rest(send(catcher, text).await).await.unwrap()
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn every_request_is_caught_whole() {
    let catcher = catcher().await;
    let mut news = catcher.subscribe();
    let answer = ask(&catcher, &post("/hook?a=b", r#"{"x":1}"#)).await;
    assert_eq!((status(&answer), body(&answer)), (200, json!({ "ok": true })));
    let caught = catcher.wait_for(1, SOON).await.unwrap().remove(0);
    assert_eq!((caught.number, caught.method.as_str()), (1, "POST"));
    assert_eq!((caught.path.as_str(), caught.path_only()), ("/hook?a=b", "/hook"));
    assert_eq!((caught.header("HOST"), caught.json()), (Some("x"), json!({ "x": 1 })));
    assert_eq!(news.recv().await.unwrap().number, 1);
    let view = serde_json::to_value(caught.view()).unwrap();
    assert_eq!(view["headers"][0], json!({ "name": "host", "value": "x" }));
    assert_eq!(view["body"], r#"{"x":1}"#);
    catcher.clear();
    assert!(catcher.requests().is_empty());
}

#[tokio::test]
async fn a_connection_carries_many_requests() {
    let catcher = catcher().await;
    let requests =
        format!("GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /status/204 HTTP/1.1\r\n\r\n{}", post("/4", ""));
    let answers = ask(&catcher, &requests).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(answers.matches("HTTP/1.1 204 No Content\r\n").count(), 1);
    assert_eq!(answers.matches(r#"{"ok":true}"#).count(), 2);
    assert_eq!(catcher.requests().len(), 4);
}

#[tokio::test]
async fn the_path_chooses_the_status() {
    let catcher = catcher().await;
    for (path, expected) in [("/status/503", 503), ("/status/410", 410), ("/status/99", 400), ("/status/x", 400)] {
        assert_eq!(status(&ask(&catcher, &post(path, "")).await), expected, "{path}");
    }
}

#[tokio::test]
async fn texts_are_taken_as_twilio_takes_them() {
    let catcher = catcher().await;
    let path = "/2010-04-01/Accounts/AC1/Messages.json";
    let taken = ask(&catcher, &post(path, "To=%2B15005550006&From=%2B15005550001&Body=hello")).await;
    assert_eq!((status(&taken), &body(&taken)["status"]), (201, &json!("queued")));
    assert_eq!(body(&taken)["sid"], format!("SM{:032x}", 1));
    let refused = ask(&catcher, &post(path, "To=123&From=%2B15005550001&Body=hello")).await;
    assert_eq!((status(&refused), &body(&refused)["code"]), (400, &json!(21211)));
}

#[tokio::test]
async fn prepared_answers_come_first_and_in_order() {
    let catcher = catcher().await;
    catcher.script([
        HttpAnswer::status(429).with_header("Retry-After", "7"),
        HttpAnswer::status(200).with_body("late").delayed(Duration::from_millis(1)),
    ]);
    let first = ask(&catcher, &post("/status/500", "")).await;
    assert_eq!(status(&first), 429);
    assert!(first.contains("Retry-After: 7\r\n"));
    assert!(ask(&catcher, &post("/status/500", "")).await.ends_with("late"));
    assert_eq!(status(&ask(&catcher, &post("/status/500", "")).await), 500);
}

#[tokio::test]
async fn a_reset_after_the_body_is_seen_as_one() {
    let catcher = catcher().await;
    catcher.script([HttpAnswer::CloseAfterBody]);
    let error = rest(send(&catcher, &post("/", "taken")).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(catcher.requests()[0].text(), "taken");
}

#[tokio::test]
async fn a_reset_before_reading_catches_nothing() {
    let catcher = catcher().await;
    catcher.script([HttpAnswer::CloseBeforeReading]);
    let error = rest(send(&catcher, &post("/", "lost")).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(catcher.requests().is_empty());
}

#[tokio::test]
async fn a_hanging_answer_says_nothing() {
    let catcher = catcher().await;
    for (script, path) in [(vec![HttpAnswer::Hang], "/"), (Vec::new(), "/hang")] {
        catcher.script(script);
        let mut stream = send(&catcher, &post(path, "")).await;
        stream.shutdown().await.unwrap();
        assert_eq!(rest(stream).await.unwrap(), "", "{path}");
    }
    assert_eq!(catcher.requests().len(), 2);
}

#[tokio::test]
async fn a_dripping_answer_goes_on() {
    let catcher = catcher().await;
    catcher.script([HttpAnswer::Drip { bytes_per_tick: 2 }]);
    let mut stream = send(&catcher, &post("/", "")).await;
    let mut heard = String::new();
    while heard.matches("2\r\nxx\r\n").count() < 3 {
        let mut part = [0; 256];
        let length = tokio::time::timeout(SOON, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(length > 0, "it ended after {heard:?}");
        heard.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
}

#[tokio::test]
async fn a_huge_answer_has_the_length_it_says() {
    let catcher = catcher().await;
    catcher.script([HttpAnswer::Huge { bytes: 1_000_000 }]);
    let answer = ask(&catcher, &post("/", "")).await;
    assert!(answer.contains("content-length: 1000000\r\n"));
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 1_000_000);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let catcher = catcher().await;
    assert_eq!(status(&ask(&catcher, "hello\r\n\r\n").await), 400);
    assert!(catcher.requests().is_empty());
}
