//! Clients that ask for what does not exist, and clients that hold on to what they were given: F15, F34.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tidings_testkit::faults::tier;
use tidings_testkit::faults::verdict::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::raw::{address, connect_from, head};
use crate::verbs::{Answer, Door, MIB, PATIENCE, Stage, watched};

/// Every route with an id in it, and a body that it takes.
const ROUTES: [(Method, &str, Option<&str>); 13] = [
    (Method::GET, "/api/notifications/{}", None),
    (Method::POST, "/api/notifications/{}/cancel", None),
    (Method::GET, "/api/dead-letters/{}", None),
    (Method::PATCH, "/api/dead-letters/{}", Some("{\"note\":\"n\"}")),
    (Method::POST, "/api/dead-letters/{}/redrive", None),
    (Method::POST, "/api/dead-letters/{}/discard", None),
    (Method::GET, "/api/users/{}", None),
    (Method::PATCH, "/api/users/{}", Some("{\"email\":\"a@example.com\"}")),
    (Method::DELETE, "/api/users/{}", None),
    (Method::GET, "/api/users/{}/inbox", None),
    (Method::GET, "/api/users/{}/inbox/unread", None),
    (Method::POST, "/api/users/{}/inbox/receipts", Some("{\"receipt\":\"read\",\"upTo\":1}")),
    (Method::GET, "/api/nothing/{}", None),
];

fn ids() -> Vec<String> {
    let known = [
        "00000000-0000-0000-0000-000000000000",
        "01941f29-7c00-7000-9a3c-6b8d0e1f2a3b",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "9FC81FDDFC9C49E39DF1A36DF7E1EC50",
        "-1",
        "9223372036854775808",
        "null",
        "%00",
        "%ff%fe",
        "%0d%0aset-cookie:%20a=b",
        "%F0%9F%92%A9",
        "..%2f..%2fetc%2fpasswd",
        "';drop%20table%20users;--",
        "{}",
    ];
    let long = ["a".repeat(2_000), "%41".repeat(2_000)];
    known.into_iter().map(str::to_owned).chain(long).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_mean_nothing_are_answered_counted_and_forgotten() {
    let stage = Stage::set(&[]).await;
    let (program, door) = (&stage.program, &stage.door);
    let counted = "http_request_duration_seconds_count";
    let before = (program.metric(counted).await, program.rss_bytes());
    let rounds = tier::repeat(3, 50);
    let mut asked = 0_u32;
    for _ in 0..rounds {
        for (method, route, body) in &ROUTES {
            for id in ids() {
                let path = route.replace("{}", &id);
                let body = body.map(|body| body.as_bytes().to_vec());
                let Answer { status, text, .. } = door.call(method.clone(), &path, body).await;
                // An inbox that never got anything is empty, whoever's it is.
                let is_empty_inbox = path.contains("/inbox") && (200..300).contains(&status);
                assert!((400..500).contains(&status) || is_empty_inbox, "{method} {path}: {status} {text}");
                asked += 1;
            }
        }
    }
    let after = program.metric(counted).await;
    assert!(after - before.0 >= f64::from(asked), "{after} {before:?} {asked}");
    let id = door.submit("in-app", json!({"title": "still here"})).await;
    assert_eq!(door.ended(&id).await["status"], "processed");
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F15", "requests about ids that nobody has", format!("{asked} requests on every route with an id"))
        .totals(&totals)
        .measured("memory grown by", format!("{} KiB", program.rss_bytes().saturating_sub(before.1) / 1024))
        .publish();
    totals.assert_clean();
}

/// What somebody does to a connection instead of using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Says nothing.
    Idle,
    /// Sends the head of a request a byte at a time.
    SlowHead,
    /// Sends a body a byte at a time.
    SlowBody,
    /// Asks for a lot and reads nothing.
    SlowRead,
}

impl Hold {
    /// Few read nothing: each of those binds a megabyte or so of the kernel.
    fn of(number: usize) -> Self {
        match (number % 50, number % 3) {
            (0, _) => Self::SlowRead,
            (_, 0) => Self::Idle,
            (_, 1) => Self::SlowHead,
            _ => Self::SlowBody,
        }
    }
}

/// How often one byte more is sent.
const DRIP: Duration = Duration::from_secs(1);

/// By when the program has to have let go of a connection that is held: its longest limit is half a minute.
const LET_GO: Duration = Duration::from_mins(1);

/// Holds a connection until the program closes it, and gives what it said last. `None` if it never did.
async fn hold(how: Hold, mut stream: TcpStream, door: Door) -> Option<String> {
    let first = match how {
        Hold::Idle => String::new(),
        Hold::SlowHead => "POST /api/notifications HTTP/1.1\r\n".to_owned(),
        Hold::SlowBody => format!("{}content-length: 100000\r\n\r\n{{", head(&door, "/api/notifications")),
        Hold::SlowRead => "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200),
    };
    if how == Hold::SlowRead {
        return read_nothing(stream, first.as_bytes()).await;
    }
    if stream.write_all(first.as_bytes()).await.is_err() {
        return Some(String::new());
    }
    let (mut reading, mut writing) = stream.split();
    let mut said = Vec::new();
    let drip = async {
        let piece: &[u8] = if how == Hold::Idle { b"" } else { b"x" };
        let mut ticks = interval(DRIP);
        while writing.write_all(piece).await.is_ok() {
            ticks.tick().await;
        }
        // Nobody takes it any more: what was said until then is still to be read.
        std::future::pending::<()>().await;
    };
    let listen = async {
        // An error is an end too: bytes of ours were on their way when the program hung up.
        drop(reading.read_to_end(&mut said).await);
    };
    let held = async {
        tokio::select! {
            () = drip => {}
            () = listen => {}
        }
    };
    timeout(LET_GO, held).await.ok()?;
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// Asks for more than fits anywhere and leaves the answers where they are, until it is cut off.
async fn read_nothing(mut stream: TcpStream, asking: &[u8]) -> Option<String> {
    let held = async {
        let mut next = asking;
        let mut ticks = interval(DRIP);
        while stream.write_all(next).await.is_ok() {
            ticks.tick().await;
            next = b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n";
        }
    };
    timeout(LET_GO, held).await.ok()?;
    Some(String::new())
}

/// The files that this process may have open: each connection is one.
fn raise_file_limit(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let current = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum }).unwrap();
    assert!(current >= wanted, "this story needs {wanted} open files; the limit is {current} (ulimit -Hn)");
}

/// The latencies of ordinary requests, one after the other on a client of their own, sorted.
async fn ordinary(door: &Door, count: usize) -> Vec<Duration> {
    let mut ticks = interval(Duration::from_millis(20));
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        ticks.tick().await;
        let start = Instant::now();
        door.submit("in-app", json!({"title": "ordinary"})).await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    took
}

/// Takes connections and holds each in its way; they come from twenty addresses, a hundred each.
async fn hold_many(to: SocketAddr, count: usize, door: &Door) -> JoinSet<(Hold, Option<String>)> {
    let mut held = JoinSet::new();
    for number in 0..count {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number % 20).unwrap());
        let stream = connect_from(from, to).await.unwrap();
        let (how, door) = (Hold::of(number), door.clone());
        held.spawn(async move { (how, hold(how, stream, door).await) });
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_held_are_taken_back_and_disturb_nobody() {
    const HELD: usize = 2_000;
    raise_file_limit(4_096);
    let stage = Stage::set(&[]).await;
    let (program, door, to) = (&stage.program, &stage.door, address(&stage.program));
    let calm = ordinary(door, 200).await;
    let before = (program.open_files(), program.rss_bytes());
    let mut while_held = 0;
    let ((mut held, beside), most) = watched(program, async {
        let held = hold_many(to, HELD, door).await;
        // Whoever came before an ordinary request was let in by the time it is answered.
        ordinary(door, 1).await;
        while_held = program.open_files();
        (held, ordinary(door, 200).await)
    })
    .await;
    let mut never = Vec::new();
    let mut told = 0;
    while let Some(ended) = held.join_next().await {
        let (how, said) = ended.unwrap();
        match said {
            None => never.push(how),
            Some(said) => told += usize::from(how == Hold::SlowBody && said.contains("request_timeout")),
        }
    }
    let totals = door.settle(PATIENCE).await;
    let p99 = |took: &[Duration]| took[took.len() * 99 / 100];
    let grown = most.saturating_sub(before.1);
    Verdict::of(
        "F34",
        "held connections",
        "2,000 that are silent, send heads or bodies a byte at a time, or do not read",
    )
    .totals(&totals)
    .measured("p99 of the others, calm", format!("{:?}", p99(&calm)))
    .measured("p99 of the others, beside", format!("{:?}", p99(&beside)))
    .measured("open files while held", while_held)
    .measured("open files after", program.open_files())
    .measured("memory grown by at most", format!("{} KiB", grown / 1024))
    .publish();
    totals.assert_clean();
    assert!(never.is_empty(), "connections were never taken back: {never:?}");
    assert!(told > 0, "nobody was told that a body was too slow");
    assert!(while_held > before.0 + HELD / 4, "the connections were not held at the same time: {while_held}");
    assert!(p99(&beside) <= p99(&calm) * 2 + Duration::from_millis(500), "{:?} {:?}", p99(&beside), p99(&calm));
    assert!(grown < 256 * MIB, "grown by {grown} bytes");
    assert_eq!(program.health().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_takes_no_more_than_its_share_of_the_connections() {
    const SHARE: usize = 50;
    let stage = Stage::set(&[("CONNECTIONS_PER_PEER", &SHARE.to_string())]).await;
    let (program, door, to) = (&stage.program, &stage.door, address(&stage.program));
    let before = program.open_files();
    let greedy = Ipv4Addr::new(127, 0, 2, 1);
    let mut streams = Vec::new();
    for _ in 0..4 * SHARE {
        streams.push(connect_from(greedy, to).await.unwrap());
    }
    // Somebody else is served at once, and by then the program has seen all of them.
    let id = door.submit("in-app", json!({"title": "somebody else"})).await;
    assert_eq!(door.ended(&id).await["status"], "processed");
    let mut closed = 0;
    for stream in &mut streams {
        let end = timeout(Duration::from_millis(20), stream.read(&mut [0; 256])).await;
        closed += usize::from(end.is_ok());
    }
    let opened = program.open_files().saturating_sub(before);
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F34", "one peer with very many connections", format!("{} from one address", 4 * SHARE))
        .totals(&totals)
        .measured("turned away", closed)
        .measured("held", opened)
        .publish();
    totals.assert_clean();
    assert!(closed >= 3 * SHARE, "{closed} were turned away");
    // Its own files move a little; the connections of the peer may not.
    assert!(opened <= SHARE + 20, "{opened} more files are open");
    // Whoever goes makes room.
    drop(streams);
    let again = async {
        let mut ticks = interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let mut stream = connect_from(greedy, to).await.unwrap();
            let asked = stream.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            let mut said = String::new();
            if asked.is_ok() && stream.read_to_string(&mut said).await.is_ok() && said.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("the peer is let in again");
}
