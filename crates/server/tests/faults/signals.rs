//! A process that is paused, asked to stop, and told twice (F5, F6, F40).

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tidings_testkit::faults::ledger::{Ledger, Outcome};
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::tier::repeat;
use tidings_testkit::faults::verdict::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::disk::front::{Front, assert_gapless, notice, steady, title, until};
use crate::load::{Load, settle};
use crate::program::{Program, admin_token, create_user};

const PATIENCE: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_secs(2);
const RATE: f64 = 100.0;
/// The promise for a stop with everything in hand.
const STOPS_WITHIN: Duration = Duration::from_secs(25);
/// How many requests are half sent when the program is told to stop.
const HALF_SENT: u32 = 4;

/// A request whose head and half of whose body were sent.
struct HalfSent {
    key: String,
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HalfSent {
    async fn begin(program: &Program, body: &Value) -> Self {
        let key = body["idempotencyKey"].as_str().unwrap().to_owned();
        let body = body.to_string();
        let head = format!(
            "POST /api/notifications HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            admin_token(),
            body.len()
        );
        let (first, rest) = body.as_bytes().split_at(body.len() / 2);
        let mut stream = TcpStream::connect(("127.0.0.1", program.port())).await.unwrap();
        stream.write_all(&[head.as_bytes(), first].concat()).await.unwrap();
        Self { key, stream, rest: rest.to_vec() }
    }

    /// Sends the rest and reads until the server closes. The answer has to be 202; it is noted.
    async fn finish(mut self, ledger: &Ledger) {
        self.stream.write_all(&self.rest).await.unwrap();
        let mut answer = String::new();
        let reading = timeout(PATIENCE, self.stream.read_to_string(&mut answer)).await;
        reading.expect("the connection is closed after the answer").expect("and not reset before it");
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        let (_head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        ledger.asked(&self.key, Outcome::Ok(body["messageId"].as_str().unwrap().to_owned()));
    }
}

fn signal(program: &Program, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(program.pid()).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// Waits until the program takes no more work: it says so, or nobody listens any more.
async fn draining(front: &Front) {
    until(PATIENCE, "the program begins to stop", async || {
        let ready = front.get("/ready", Duration::from_secs(1)).await;
        ready.map_or(true, |reply| reply.status == 503).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_paused_for_longer_than_its_leases_ends_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    // So that attempts are under way whenever the pause comes.
    sink.delay(Duration::from_millis(300));
    // A lease is twice the time of an attempt and five seconds more: seven.
    let program = Program::at(&dir.path().join("data"))
        .env("ATTEMPT_TIMEOUT", "1s")
        .env("WORKER_CONCURRENCY", "32")
        .env("PER_DESTINATION", "32")
        .start()
        .await;
    create_user(&program).await;
    let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
    sleep(CALM).await;
    until(PATIENCE, "attempts are under way", async || {
        (program.metric("attempts_in_flight").await > 0.0).then_some(())
    })
    .await;
    program.pause();
    sleep(Duration::from_secs(9)).await;
    program.resume();
    sleep(CALM).await;
    drop(load.stop().await);
    let totals = settle(&program, &ledger, PATIENCE).await;
    assert_gapless(&Front::of(&program).inbox().await);
    Verdict::of("F5", "paused beyond its leases", "SIGSTOP for 9 s with leases of 7 s, attempts under way")
        .totals(&totals)
        .measured("leases lost", program.metric("leases_lost_total").await)
        .measured("late settlements refused", program.metric("stale_settlements_total").await)
        .publish();
    totals.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_process_answers_nothing_and_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::at(&dir.path().join("data")).start().await;
    create_user(&program).await;
    let front = Front::of(&program);
    let with_category = |category: &str| {
        let mut body = notice(category, "in-app", &title());
        body["category"] = json!(category);
        body
    };
    let (half, whole) = (with_category("half"), with_category("whole"));
    let half = HalfSent::begin(&program, &half).await;
    until(PATIENCE, "the half is under way", async || {
        (program.metric("http_requests_in_flight").await > 1.0).then_some(())
    })
    .await;

    program.pause();
    // What a load balancer does: two seconds, then it sends nothing there any more.
    let health = front.get("/health", Duration::from_secs(2)).await;
    assert!(health.is_err_and(|error| error.is_timeout()), "a paused process cannot answer");
    let unknown = front.post_within(&whole, Duration::from_secs(1)).await;
    assert!(unknown.is_err_and(|error| error.is_timeout()), "a paused process cannot answer");
    drop(half);
    program.resume();

    let began = Instant::now();
    until(PATIENCE, "it is healthy again", async || (program.health().await.0 == 200).then_some(())).await;
    let back = began.elapsed();
    let id = front.post(&whole).await.unwrap().id();
    front.ended(&id, PATIENCE).await;
    assert_eq!(front.ids("&category=whole").await, BTreeSet::from([id]), "one key, one notification");
    assert_eq!(front.ids("&category=half").await, BTreeSet::new(), "half a request is none");
    assert_gapless(&front.inbox().await);
    Verdict::of("F6", "paused while it is asked", "SIGSTOP with half a request read and another one waiting")
        .measured("half-written", 0)
        .measured("healthy after SIGCONT", format!("{back:?}"))
        .publish();
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_break_no_request_off_and_repeat_no_delivery() {
    let restarts = repeat(3, 20);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    sink.delay(Duration::from_millis(50));
    let mut program = Program::at(&data).start().await;
    create_user(&program).await;
    let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
    let mut slowest = Duration::ZERO;
    for restart in 0..restarts {
        let front = Front::of(&program);
        let mut half_sent = Vec::new();
        for number in 0..HALF_SENT {
            let body = notice(&format!("restart {restart}, request {number}"), "in-app", &title());
            half_sent.push(HalfSent::begin(&program, &body).await);
        }
        sleep(CALM).await;
        until(PATIENCE, "the halves are under way", async || {
            (program.metric("http_requests_in_flight").await > f64::from(HALF_SENT)).then_some(())
        })
        .await;
        let began = Instant::now();
        signal(&program, Signal::TERM);
        draining(&front).await;
        for request in half_sent {
            request.finish(&ledger).await;
        }
        let status = program.wait(STOPS_WITHIN).await.expect("it stops in time");
        assert!(status.success(), "{status}: {}", program.stderr());
        slowest = slowest.max(began.elapsed());
        program = Program::at(&data).start().await;
        load.aim_at(program.url());
    }
    sleep(CALM).await;
    let latencies = load.stop().await;
    let errors = latencies.errors();
    let totals = settle(&program, &ledger, PATIENCE).await;
    assert_gapless(&Front::of(&program).inbox().await);
    Verdict::of("F40", "restarts under load", format!("{restarts} times SIGTERM and a new start, {RATE} requests/s"))
        .totals(&totals)
        .measured("answers of 500 and above", errors.range(500..).map(|(_status, count)| count).sum::<usize>())
        .measured("slowest stop", format!("{slowest:?}"))
        .publish();
    assert!(errors.keys().all(|status| *status < 500), "{errors:?}");
    assert_eq!(totals.duplicated, 0, "a stop in order repeats nothing");
    totals.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    let mut program = Program::at(&data).start().await;
    create_user(&program).await;
    let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
    sleep(CALM).await;
    // From now on a stop in order would take this long.
    sink.delay(Duration::from_secs(20));
    until(PATIENCE, "attempts hang", async || (program.metric("attempts_in_flight").await > 1.0).then_some(())).await;
    let front = Front::of(&program);
    signal(&program, Signal::TERM);
    draining(&front).await;
    let began = Instant::now();
    signal(&program, Signal::TERM);
    let status = program.wait(Duration::from_secs(5)).await.expect("it ends at once");
    let ended_after = began.elapsed();
    assert_eq!(status.code(), Some(143), "{}", program.stderr());

    sink.delay(Duration::ZERO);
    let program = Program::at(&data).start().await;
    load.aim_at(program.url());
    sleep(CALM).await;
    drop(load.stop().await);
    let totals = settle(&program, &ledger, PATIENCE).await;
    assert_gapless(&Front::of(&program).inbox().await);
    Verdict::of("F40", "a second SIGTERM", "while attempts hang and the first one is being obeyed")
        .totals(&totals)
        .measured("ended after", format!("{ended_after:?}"))
        .publish();
    totals.assert_clean();
}
