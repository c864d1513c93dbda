//! Bodies that are no JSON, or nearly: each gets a 4xx with a stable code, none an error of ours or silence.
//!
//! In the manner of Nicolas Seriot's JSON parsing test suite, with cases of our own.

use serde_json::Value;
use tidings_testkit::faults::verdict::Verdict;

use crate::program::USER;
use crate::raw::{address, ask, post};
use crate::verbs::{PATIENCE, Stage};

/// What no parser of RFC 8259 takes, as the value of a field.
const BROKEN: &[&[u8]] = &[
    b"",
    b"nul",
    b"truth",
    b"fals",
    b"True",
    b"NaN",
    b"-NaN",
    b"Infinity",
    b"-Infinity",
    b"undefined",
    b"+1",
    b"01",
    b"-01",
    b"-",
    b"--1",
    b".5",
    b"1.",
    b"1.e1",
    b"1e",
    b"1e+",
    b"0x10",
    b"1_000",
    b"1 2",
    b"'single'",
    b"\"open",
    b"\"\\\"",
    b"\"\\x41\"",
    b"\"\\u12\"",
    b"\"\\u12g4\"",
    b"\"\\u\"",
    b"\"\\",
    b"\"tab\there\"",
    b"\"line\nbreak\"",
    b"\"nul\0byte\"",
    b"\"\\ud800\"",
    b"\"\\udc00\"",
    b"\"\\ud800\\u0041\"",
    b"\"\xff\"",
    b"\"\xc0\xaf\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\xe2\x82\"",
    b"[",
    b"[1",
    b"[1,",
    b"[1,]",
    b"[,1]",
    b"[1 2]",
    b"[1}",
    b"]",
    b"{",
    b"{\"a\"",
    b"{\"a\":",
    b"{\"a\":1",
    b"{\"a\":1,",
    b"{\"a\":1,}",
    b"{\"a\" 1}",
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b"{\"a\":1]",
    b"{,}",
    b"{\"a\":1}}",
    b"/* comment */ 1",
    b"1 // comment",
    b"# comment",
    b"\xef\xbb\xbf1",
    b"\x0c1",
    b"\xc2\xa01",
];

/// What the grammar allows, but nobody has to like. It is taken or refused, in order.
const ODD: &[&[u8]] = &[
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"123456789012345678901234567890",
    b"-0",
    b"\"\\u0000\"",
    b"\"\\ufffe\"",
    b"\"\\ud83d\\ude00\"",
    b"\"\xe2\x80\xae\"",
    b"{\"\":1}",
    b"{\"a\":1,\"a\":2}",
    b"{\"__proto__\":{\"a\":1}}",
    b"[[[[[[[[[[]]]]]]]]]]",
    b" \t\r\n1 \t\r\n",
];

/// A notification with the value in its payload.
fn with(value: &[u8]) -> Vec<u8> {
    let start =
        format!("{{\"targetUserId\":\"{USER}\",\"type\":\"in-app\",\"payload\":{{\"title\":\"t\",\"orderId\":7,\"x\":");
    [start.as_bytes(), value, b"}}"].concat()
}

fn shown(body: &[u8]) -> String {
    body.escape_ascii().to_string()
}

#[tokio::test]
async fn no_malformed_body_is_an_error_of_ours() {
    let stage = Stage::set(&[]).await;
    let (door, to) = (&stage.door, address(&stage.program));
    let mut refused = 0;
    for value in BROKEN {
        for body in [value.to_vec(), with(value)] {
            let heard = ask(to, post(door, "/api/notifications", "", &body)).await;
            assert_eq!(heard.status, Some(400), "{}: {}", shown(&body), heard.body);
            let code = heard.code();
            let known = ["invalid_json", "json_too_complex", "missing_fields", "invalid_field"];
            assert!(known.contains(&code.as_str()), "{}: {code}", shown(&body));
            refused += 1;
        }
    }
    for value in ODD {
        let heard = ask(to, post(door, "/api/notifications", "", &with(value))).await;
        assert!(matches!(heard.status, Some(202 | 400)), "{}: {:?} {}", shown(value), heard.status, heard.body);
        let heard = ask(to, post(door, "/api/notifications/batch", "", value)).await;
        assert_eq!(heard.status, Some(400), "{}: {}", shown(value), heard.body);
        refused += 1;
    }
    let metadata = [b"{\"targetUserId\":null,\"type\":[],\"payload\":0,\"metadata\":".as_slice(), b"\xff}"].concat();
    for path in ["/api/users", "/api/dead-letters/redrive", "/api/auth/login", "/api/notifications/batch"] {
        let heard = ask(to, post(door, path, "", &metadata)).await;
        assert!(heard.status.is_some_and(|status| (400..500).contains(&status)), "{path}: {heard:?}");
        refused += 1;
    }
    let id = door.submit("in-app", serde_json::json!({"title": "still here"})).await;
    assert_eq!(door.ended(&id).await["status"], "processed");
    let totals = door.settle(PATIENCE).await;
    let list: Value = door.get("/api/notifications?status=failed").await.json();
    Verdict::of("F33", "malformed JSON", format!("{} bodies", refused + ODD.len()))
        .totals(&totals)
        .measured("refused", refused)
        .publish();
    totals.assert_clean();
    assert_eq!(list["items"], serde_json::json!([]), "something broken was taken and failed later");
}
