//! Requests that are larger, deeper or more numerous inside than anybody should send, and requests that two readers
//! may read in two ways: F33.

use std::iter::{once, repeat};

use tidings_testkit::faults::tier;
use tidings_testkit::faults::verdict::Verdict;

use crate::program::USER;
use crate::raw::{address, ask, gzip_bomb, head, post, talk};
use crate::verbs::{Door, MIB, PATIENCE, Stage, watched};

const SINGLE: &str = "/api/notifications";
const BATCH: &str = "/api/notifications/batch";

/// The pieces of a request, as far as somebody takes them.
type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// Something huge, and what it has to be answered with.
struct Huge {
    what: &'static str,
    pieces: Pieces,
    status: u16,
    code: &'static str,
}

fn whole(request: Vec<u8>) -> Pieces {
    Box::new(once(request))
}

/// A request that announces ten gibibytes and sends as many as are taken.
fn announced(door: &Door, path: &str) -> Pieces {
    let start = format!("{}content-length: 10737418240\r\n\r\n", head(door, path)).into_bytes();
    Box::new(once(start).chain(repeat(vec![b' '; 0x10000])))
}

/// A request whose chunks never end.
fn endless(door: &Door, path: &str) -> Pieces {
    let start = format!("{}transfer-encoding: chunked\r\n\r\n", head(door, path)).into_bytes();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).into_bytes();
    Box::new(once(start).chain(repeat(chunk)))
}

fn recipients(count: usize) -> Vec<u8> {
    let item = format!("{{\"targetUserId\":\"{USER}\",\"type\":\"in-app\",\"payload\":{{\"title\":\"t\"}}}}");
    format!("{{\"notifications\":[{}]}}", vec![item; count].join(",")).into_bytes()
}

fn keys(count: usize) -> Vec<u8> {
    let keys: Vec<String> = (0..count).map(|number| format!("\"{number:x}\":0")).collect();
    format!("{{{}}}", keys.join(",")).into_bytes()
}

fn bodies(door: &Door) -> Vec<Huge> {
    const MILLION: usize = 1_000_000;
    let large = "body_too_large";
    let complex = "json_too_complex";
    let huge = |what, pieces, status, code| Huge { what, pieces, status, code };
    let batch = |what, body: Vec<u8>, status, code| huge(what, whole(post(door, BATCH, "", &body)), status, code);
    let bomb = gzip_bomb(128 * MIB);
    let packed = |what, encoding: &str| {
        let further = format!("content-encoding: {encoding}\r\n");
        huge(what, whole(post(door, SINGLE, &further, &bomb)), 415, "unsupported_media_type")
    };
    let mut same_key = b"{\"a\":0".to_vec();
    same_key.extend_from_slice(&b",\"a\":0".repeat(MILLION));
    same_key.push(b'}');
    vec![
        huge("10 GiB announced", announced(door, SINGLE), 413, large),
        huge("10 GiB announced for a batch", announced(door, BATCH), 413, large),
        huge("chunks without end", endless(door, SINGLE), 413, large),
        huge("chunks without end for a batch", endless(door, BATCH), 413, large),
        batch("a million arrays deep", vec![b'['; MILLION], 400, complex),
        batch("a million objects deep", b"{\"a\":".repeat(MILLION), 400, complex),
        batch("half a million keys", keys(MILLION / 2), 400, complex),
        batch("one key a million times", same_key, 400, complex),
        batch("100,000 recipients", recipients(100_000), 413, large),
        batch("50,000 recipients", recipients(50_000), 400, complex),
        batch("1,001 recipients", recipients(1_001), 400, "invalid_field"),
        packed("a gzip bomb", "gzip"),
        packed("a bomb in a bomb", "gzip, gzip"),
        packed("brotli", "br"),
        packed("zstd", "zstd"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_bodies_are_refused_and_cost_no_memory() {
    let stage = Stage::set(&[]).await;
    let (program, door, to) = (&stage.program, &stage.door, address(&stage.program));
    let rounds = tier::repeat(2, 10);
    let mut asked = 0;
    let mut before = 0;
    let mut most = 0;
    // The first round warms up what every program has, such as the buffers of its threads.
    for round in 0..=rounds {
        let ((), peak) = watched(program, async {
            for Huge { what, pieces, status, code } in bodies(door) {
                let heard = talk(to, pieces).await;
                assert_eq!((heard.status, heard.code().as_str()), (Some(status), code), "{what}: {}", heard.body);
                asked += 1;
            }
        })
        .await;
        if round == 0 {
            before = program.rss_bytes();
        } else {
            most = peak.max(most);
        }
    }
    let id = door.submit("in-app", serde_json::json!({"title": "still here"})).await;
    assert_eq!(door.ended(&id).await["status"], "processed");
    let totals = door.settle(PATIENCE).await;
    let grown = most.saturating_sub(before);
    Verdict::of(
        "F33",
        "huge requests",
        "10 GiB, endless chunks, a million levels, a million keys, bombs, 100,000 recipients",
    )
    .totals(&totals)
    .measured("requests refused", asked)
    .measured("memory grown by at most", format!("{} KiB", grown / 1024))
    .publish();
    totals.assert_clean();
    // A batch may have 8 MiB, is collected in a buffer that doubles, and several buffers may wait to be given back.
    assert!(grown < 48 * MIB, "grown by {grown} bytes");
}

/// What comes before the body is limited too, and what is ambiguous is refused.
fn heads(door: &Door) -> Vec<(&'static str, Vec<u8>)> {
    let token = &door.token;
    let start = head(door, SINGLE);
    let get = |further: &str| format!("GET /ready HTTP/1.1\r\nhost: x\r\n{further}\r\n").into_bytes();
    let with = |further: &str| format!("{start}{further}").into_bytes();
    let many = "x-many: v\r\n".repeat(10_000);
    let long_line = "x".repeat(1_000_000);
    vec![
        ("a header of 1 MB", get(&format!("x-long: {long_line}\r\n"))),
        ("10,000 headers", get(&many)),
        ("a path of 1 MB", format!("GET /{long_line} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()),
        (
            "a token of 1 MB",
            format!("GET {SINGLE} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}{long_line}\r\n\r\n")
                .into_bytes(),
        ),
        ("two lengths", with("content-length: 2\r\ncontent-length: 3\r\n\r\n{}")),
        ("a length and chunks", with("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("a list of lengths", with("content-length: 2, 3\r\n\r\n{}")),
        ("a signed length", with("content-length: +2\r\n\r\n{}")),
        ("a negative length", with("content-length: -1\r\n\r\n{}")),
        ("a length in hexadecimal", with("content-length: 0x2\r\n\r\n{}")),
        ("an immense length", with("content-length: 99999999999999999999999\r\n\r\n{}")),
        ("an unknown transfer encoding", with("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("chunked, and something after it", with("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
        ("a space before the colon", with("transfer-encoding : chunked\r\n\r\n0\r\n\r\n")),
        ("a folded header", with("x-a: 1\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("a chunk size that is none", with("transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")),
        ("a chunk size beyond 64 bits", with("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n")),
        (
            "a chunk extension of 1 MB",
            with(&format!("transfer-encoding: chunked\r\n\r\n2;{long_line}\r\n{{}}\r\n0\r\n\r\n")),
        ),
        ("a chunk that is longer than it says", with("transfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n")),
        ("NUL in a header", get("x-a: \0\r\n")),
        ("a bare CR in a header", get("x-a: a\rb\r\n")),
        ("a header without a name", get(": a\r\n")),
        ("a version that does not exist", b"GET /ready HTTP/9.9\r\nhost: x\r\n\r\n".to_vec()),
        ("no HTTP at all", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03hello, is this TLS?\r\n\r\n".to_vec()),
        ("a greeting in SMTP", b"EHLO example.com\r\nMAIL FROM:<a@example.com>\r\n\r\n".to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_and_ambiguous_heads_are_refused() {
    let stage = Stage::set(&[]).await;
    let (door, to) = (&stage.door, address(&stage.program));
    let heads = heads(door);
    let asked = heads.len();
    for (what, request) in heads {
        let heard = ask(to, request).await;
        // Closing without a word is an answer too.
        assert!(heard.status.is_none_or(|status| (400..500).contains(&status)), "{what}: {heard:?}");
    }
    let id = door.submit("in-app", serde_json::json!({"title": "still here"})).await;
    assert_eq!(door.ended(&id).await["status"], "processed");
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F33", "oversize and ambiguous heads", format!("{asked} heads")).totals(&totals).publish();
    totals.assert_clean();
}
