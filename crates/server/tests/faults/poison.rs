//! Notifications that are poison to whoever works on them: F31.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tidings_testkit::catcher::SmtpCatcher;
use tidings_testkit::faults::verdict::Verdict;

use crate::program::USER;
use crate::raw::{address, ask, post};
use crate::verbs::{Lags, PATIENCE, Stage, catcher};

/// Texts that do something to those who evaluate them, show them, or paste them into a protocol.
const TEXTS: [&str; 14] = [
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{#each this}}{{> self}}{{/each}}",
    "${jndi:ldap://127.0.0.1/a}",
    "#{7*7} ${{7*7}} <%= 7*7 %>",
    "%s%s%s%n%x",
    "'; DROP TABLE notifications; --",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "\u{fffe}\u{ffff}\u{10ffff}",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "%0d%0aBcc: eve@example.com",
    "=?utf-8?q?=0d=0aBcc:_eve@example.com?=",
    "\u{1f4a9}",
];

#[tokio::test]
async fn texts_that_are_code_elsewhere_are_text_here() {
    let stage = Stage::set(&[]).await;
    let door = &stage.door;
    let hook = catcher().await;
    for text in TEXTS {
        let payload = json!({"url": hook.url("/hook"), "event": "poison", "data": {"text": text}});
        let id = door.submit("webhook", payload).await;
        assert_eq!(door.ended(&id).await["status"], "processed", "{text}");
        let title = door.submit("in-app", json!({"title": "t", "message": text})).await;
        assert_eq!(door.ended(&title).await["payload"]["message"], text);
    }
    let caught = hook.requests();
    let texts: Vec<_> = caught.iter().map(|request| request.json()["data"]["text"].clone()).collect();
    assert_eq!(texts, TEXTS.map(|text| json!(text)), "they arrive as they were sent");
    door.heard(&caught);
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F31", "texts that are code elsewhere", format!("{} texts in webhooks and inboxes", TEXTS.len()))
        .totals(&totals)
        .publish();
    totals.assert_clean();
}

/// Mails that try to become several, or to get another header or recipient.
fn letters() -> Vec<(&'static str, serde_json::Value, bool)> {
    let letter = |to: &str, subject: &str, body: &str| json!({"to": to, "subject": subject, "body": body});
    let to = "ada@example.com";
    vec![
        ("CR and LF in the subject", letter(to, "a\r\nBcc: eve@example.com", "b"), false),
        ("LF in the subject", letter(to, "a\nBcc: eve@example.com", "b"), false),
        ("CR in the subject", letter(to, "a\rBcc: eve@example.com", "b"), false),
        ("NUL in the subject", letter(to, "a\0b", "b"), false),
        ("a line separator in the subject", letter(to, "a\u{2028}Bcc: eve@example.com", "b"), false),
        ("CR and LF in the address", letter("ada@example.com\r\nRCPT TO:<eve@example.com>", "s", "b"), false),
        ("a bracket in the address", letter("ada@example.com>\r\nRCPT TO:<eve@example.com", "s", "b"), false),
        ("two addresses", letter("ada@example.com, eve@example.com", "s", "b"), false),
        ("an encoded line break in the subject", letter(to, "=?utf-8?q?=0d=0aBcc:_eve@example.com?=", "b"), true),
        ("a percent-encoded line break in the subject", letter(to, "a%0d%0aBcc: eve@example.com", "b"), true),
        ("a subject that has to be folded", letter(to, &"long ".repeat(100), "b"), true),
        ("the end of a mail in the body", letter(to, "s", "a\r\n.\r\nMAIL FROM:<eve@example.com>\r\n"), true),
        (
            "the same with LF alone",
            letter(to, "s", "a\n.\nMAIL FROM:<eve@example.com>\nRCPT TO:<eve@example.com>\n"),
            true,
        ),
        ("the same with CR alone", letter(to, "s", "a\r.\rMAIL FROM:<eve@example.com>\r"), true),
        ("lines that are dots", letter(to, "s", ".\n..\n...\n"), true),
        ("a line of 100,000 letters", letter(to, "s", &"x".repeat(100_000)), true),
    ]
}

#[tokio::test]
async fn no_mail_becomes_two_or_gets_another_recipient() {
    let server = SmtpCatcher::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let relay = format!("smtp://{}?tls=none", server.addr());
    let stage = Stage::set(&[("SMTP_URL", &relay), ("SMTP_FROM", "Tidings <noreply@tidings.example>")]).await;
    let door = &stage.door;
    let mut sent = 0;
    for (what, payload, is_taken) in letters() {
        if !is_taken {
            let body = json!({"targetUserId": USER, "type": "email", "payload": payload});
            let answer = door.post("/api/notifications", &body).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_payload"), "{what}");
            continue;
        }
        let id = door.submit("email", payload).await;
        let record = door.ended(&id).await;
        assert_eq!(record["status"], "processed", "{what}: {record:#}");
        sent += 1;
        let mails = server.mails();
        assert_eq!(mails.len(), sent, "{what}: one mail each");
        let mail = mails.last().unwrap();
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("noreply@tidings.example", ["ada@example.com".to_owned()].as_slice()),
            "{what}"
        );
        assert_eq!(mail.header("bcc"), None, "{what}");
        door.ledger.received(&id);
    }
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F31", "mails that try to be more than one", format!("{} mails", letters().len()))
        .totals(&totals)
        .measured("mails that arrived", server.mails().len())
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
}

/// A request with a header that has bytes which are no text.
fn with_header(token: &str, name: &str, value: &[u8]) -> Vec<u8> {
    let body = format!("{{\"targetUserId\":\"{USER}\",\"type\":\"in-app\",\"payload\":{{\"title\":\"t\"}}}}");
    let mut request = b"POST /api/notifications HTTP/1.1\r\nhost: x\r\n".to_vec();
    if !name.eq_ignore_ascii_case("authorization") {
        request.extend_from_slice(format!("authorization: Bearer {token}\r\n").as_bytes());
    }
    request.extend_from_slice(format!("{name}: ").as_bytes());
    request.extend_from_slice(value);
    let rest = format!("\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    request.extend_from_slice(rest.as_bytes());
    request
}

#[tokio::test]
async fn headers_that_are_no_text_are_refused_or_replaced() {
    let stage = Stage::set(&[]).await;
    let (door, to): (_, SocketAddr) = (&stage.door, address(&stage.program));
    let values: [&[u8]; 6] = [b"\xff\xfe", b"\xc3\x28", b"a\xffb", b"\x80", b"caf\xe9", b"\xf0\x9f\x92\xa9"];
    let mut asked = 0;
    for value in values {
        for (name, allowed) in [
            ("X-Correlation-Id", [202, 202]),
            ("traceparent", [202, 202]),
            ("X-Anything", [202, 202]),
            ("Idempotency-Key", [400, 202]),
            ("Accept", [202, 202]),
            ("Authorization", [401, 401]),
            ("Content-Encoding", [415, 415]),
        ] {
            let heard = ask(to, with_header(&door.token, name, value)).await;
            let is_allowed = heard.status.is_some_and(|status| allowed.contains(&status));
            assert!(is_allowed, "{name}: {}: {heard:?}", value.escape_ascii());
            asked += 1;
        }
    }
    for headers in
        [json!({"x-a": "a\r\nx-b: c"}), json!({"x-a": "\u{e9}"}), json!({"x\r\ny": "a"}), json!({"x-a": "\0"})]
    {
        let payload = json!({"url": "http://127.0.0.1:9/", "headers": headers});
        let body = json!({"targetUserId": USER, "type": "webhook", "payload": payload}).to_string();
        let heard = ask(to, post(door, "/api/notifications", "", body.as_bytes())).await;
        assert_eq!((heard.status, heard.code().as_str()), (Some(400), "invalid_payload"), "{headers}");
        asked += 1;
    }
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F31", "headers that are no text", format!("{asked} requests")).totals(&totals).publish();
    totals.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_its_worker_panic_is_buried_and_its_neighbours_are_served() {
    const POISONED: usize = 3;
    let (poisoned, healthy) = (catcher().await, catcher().await);
    let points = format!("engine.before-send[webhook:http://{}]=panic", poisoned.addr());
    // Short attempts make short leases: what a worker leaves behind is taken up when its lease ends.
    let settings = [
        ("FAULTPOINTS", points.as_str()),
        ("ATTEMPT_TIMEOUT", "1s"),
        ("RETRY_SCHEDULE", "100ms"),
        ("MAX_RETRIES", "2"),
    ];
    let stage = Stage::set(&settings).await;
    let (program, door) = (&stage.program, &stage.door);
    let (count, every) = (150, Duration::from_millis(20));
    let urls = [healthy.url("/hook")];
    door.pace(&urls, count, every).await;
    let calm = healthy.wait_for(count, PATIENCE).await.unwrap();
    healthy.clear();
    let bad = door.submit_many(&poisoned.url("/hook"), POISONED).await;
    door.pace(&urls, count, every).await;
    let beside = healthy.wait_for(count, PATIENCE).await.unwrap();
    for caught in [&calm, &beside, &poisoned.requests()] {
        door.heard(caught);
    }
    let totals = door.settle(Duration::from_secs(90)).await;
    for id in &bad {
        let record = door.show(id).await;
        assert_eq!(record["deliveryStatus"], "dead", "{record:#}");
        assert!(record["errorMessage"].as_str().unwrap().contains("panicked"), "{record:#}");
    }
    let letters = door.get("/api/dead-letters?reviewStatus=pending").await.json();
    let (calm, beside) = (Lags::of(&calm), Lags::of(&beside));
    Verdict::of("F31", "a notification that makes its worker panic", format!("{POISONED} among {count} others"))
        .totals(&totals)
        .measured("dead letters", letters["items"].as_array().unwrap().len())
        .measured("p99 of the others, calm", format!("{:?}", calm.p99()))
        .measured("p99 of the others, beside", format!("{:?}", beside.p99()))
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
    assert_eq!(letters["items"].as_array().unwrap().len(), POISONED, "each is a dead letter once: {letters:#}");
    assert_eq!(program.health().await.0, 200);
    assert!(beside.p99() <= calm.p99() * 2 + Duration::from_millis(500), "{:?} {:?}", beside.p99(), calm.p99());
}
