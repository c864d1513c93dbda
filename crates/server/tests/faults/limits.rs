//! Too few file handles, and a log that nobody reads (F44, F45).

use std::process::Stdio;
use std::time::Duration;

use tidings_testkit::faults::ledger::Ledger;
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::verdict::Verdict;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::disk::front::{Front, assert_gapless, notice, steady, title, until};
use crate::load::{Load, settle};
use crate::program::{Program, create_user};

const PATIENCE: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_secs(2);
/// How long the crowd stays: shorter than the server keeps a connection that says nothing.
const CROWDED: Duration = Duration::from_secs(4);
/// A breaker that opened for want of handles may be open for 30 s.
const SETTLED_WITHIN: Duration = Duration::from_secs(75);
const RATE: f64 = 50.0;
/// How many clients talk nonsense at once, and how much each says before somebody looks at the log.
const CHATTERERS: usize = 8;
const SENTENCES: usize = 100;
const DROPPED: &str = "tidings_log_lines_dropped_total";
/// Longer than this, a request hangs on something.
const STUCK: Duration = Duration::from_secs(5);

/// Connections that say nothing. Those that cannot be had in time are left out.
async fn crowd(port: u16, size: u64) -> Vec<TcpStream> {
    let mut connecting = JoinSet::new();
    for _one in 0..size {
        connecting.spawn(timeout(Duration::from_secs(1), TcpStream::connect(("127.0.0.1", port))));
    }
    connecting.join_all().await.into_iter().filter_map(|connected| connected.ok()?.ok()).collect()
}

/// Twice as many connections as the program may have files, for some seconds, under load.
async fn short_of_file_handles(fault: &'static str, files: u64) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    let mut program = Program::at(&dir.path().join("data"))
        .env("RETRY_SCHEDULE", "1s")
        .env("MAX_RETRIES", "50")
        .open_files_limit(files)
        .start()
        .await;
    create_user(&program).await;
    let front = Front::of(&program);
    let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
    sleep(CALM).await;
    front.post_noted(&ledger, &notice("before", "in-app", &title())).await.unwrap().id();

    let crowd = crowd(program.port(), 2 * files).await;
    assert!(crowd.len() as u64 > files / 2, "only {} came", crowd.len());
    let during = front.post_noted(&ledger, &notice("during", "in-app", &title())).await;
    let during = during.map(|reply| reply.status);
    assert!(during.is_none_or(|status| matches!(status, 202 | 503)), "served, shed or turned away: {during:?}");
    sleep(CROWDED).await;
    assert!(program.wait(Duration::from_millis(1)).await.is_none(), "it ended: {}", program.stderr());
    let open_files = program.open_files();
    // A file that was inherited under a high number lies beyond the limit.
    assert!(open_files as u64 <= files + 4, "{open_files}");

    drop(crowd);
    let began = Instant::now();
    let newcomer = Front::of(&program);
    until(PATIENCE, "a new client is served", async || {
        let reply = newcomer.post_noted(&ledger, &notice("after", "in-app", &title())).await?;
        (reply.status == 202).then_some(())
    })
    .await;
    let back = began.elapsed();
    sleep(CALM).await;
    drop(load.stop().await);
    let totals = settle(&program, &ledger, SETTLED_WITHIN).await;
    assert_gapless(&front.inbox().await);
    Verdict::of("F44", fault, format!("at most {files} open files, and {} idle connections", 2 * files))
        .totals(&totals)
        .measured("a new client is served after", format!("{back:?}"))
        .publish();
    totals.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_very_few_file_handles_it_sheds_and_recovers() {
    short_of_file_handles("very few file handles", 64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_file_handles_it_sheds_and_recovers() {
    short_of_file_handles("few file handles", 256).await;
}

/// Requests that are refused, which costs little and makes a line of the log each.
async fn chatter(front: &Front) {
    let mut chatterers = JoinSet::new();
    for _one in 0..CHATTERERS {
        let front = front.clone();
        chatterers.spawn(async move {
            for _sentence in 0..SENTENCES {
                let reply = front.get("/api/notifications/nonsense", PATIENCE).await.unwrap();
                assert_eq!(reply.status, 404, "{reply:?}");
            }
        });
    }
    chatterers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    let (unread, stdout) = std::io::pipe().unwrap();
    let mut program = Program::at(&dir.path().join("data"))
        .env("LOG_LEVEL", "debug")
        .env("LOG_FORMAT", "json")
        .stdout(Stdio::from(stdout))
        .start()
        .await;
    create_user(&program).await;
    let front = Front::of(&program);
    until(Duration::from_mins(1), "the log overflows", async || {
        chatter(&front).await;
        (program.metric(DROPPED).await > 0.0).then_some(())
    })
    .await;

    let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
    sleep(CALM * 2).await;
    let latencies = load.stop().await;
    let totals = settle(&program, &ledger, PATIENCE).await;
    assert_gapless(&front.inbox().await);
    Verdict::of("F45", "a log that nobody reads", "a full pipe as standard output, LOG_LEVEL=debug")
        .totals(&totals)
        .measured("lines dropped", program.metric(DROPPED).await)
        .measured("p99", format!("{:?}", latencies.p99()))
        .publish();
    assert!(latencies.errors().is_empty(), "{:?}", latencies.errors());
    assert!(latencies.max() < STUCK, "a request waited for {:?}", latencies.max());
    totals.assert_clean();
    assert!(program.terminate().await.success(), "it stops although its last lines cannot be written");
    drop(unread);
}
