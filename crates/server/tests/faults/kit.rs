//! The kit itself: what it measures is there, and what it is to find is found.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tidings_core::id::MessageId;
use tidings_testkit::faults::ledger::Outcome;

use crate::load::settle;
use crate::program::{Program, create_user, http};
use crate::scene::{PATIENCE, Scene, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_measured_stopped_and_asked_to_end() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let said = dir.path().join("stdout");
    let log = File::create(&said).unwrap();
    let builder = Program::at(&data).env("LOG_LEVEL", "info").arg("--set").arg("log.format=json");
    let mut program = builder.open_files_limit(256).stdout(Stdio::from(log)).start().await;
    create_user(&program).await;
    assert_eq!(program.url(), format!("http://127.0.0.1:{}", program.port()));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains(" 256 ")), "{limits}");
    assert!(program.rss_bytes() > 1 << 20 && program.threads() > 1 && program.open_files() > 3);
    assert!(program.ready_after() > Duration::ZERO);
    assert_eq!(program.health().await.0, 200);

    program.pause();
    let impatient = http().get(format!("{}/ready", program.url())).timeout(Duration::from_millis(200));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    program.resume();
    until("it says something", || !std::fs::read(&said).unwrap().is_empty()).await;
    assert!(program.wait(Duration::from_millis(1)).await.is_none());
    assert_eq!(program.terminate().await.code(), Some(0), "{}", program.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_counted_on_both_sides_and_what_is_missing_is_found() {
    let scene = Scene::begin().await;
    let load = scene.load(200.0);
    until("requests are acknowledged", || scene.ledger.requests() > 200).await;
    let latencies = load.stop().await;
    assert!(
        Duration::ZERO < latencies.p50() && latencies.p50() <= latencies.p99() && latencies.p99() <= latencies.max()
    );
    assert!(latencies.errors().is_empty(), "{:?}", latencies.errors());
    let totals = scene.settle().await;
    assert_eq!((totals.attempted, totals.acknowledged, totals.ok), (totals.ok, totals.ok, totals.ok));
    let (hooks, mails) = (scene.web.received(), scene.mail.received());
    assert!(hooks > 50 && mails > 50, "{hooks} webhooks, {mails} mails");
    assert_eq!(scene.program.metric("notifications_accepted_total").await.to_string(), totals.ok.to_string());

    let [missing, phantom] = [1, 2].map(|number| MessageId::from_integer(number).unwrap().to_string());
    scene.ledger.asked("missing", Outcome::Ok(missing.clone()));
    scene.ledger.received(&phantom);
    let totals = settle(&scene.program, &scene.ledger, PATIENCE).await;
    assert_eq!((totals.lost, totals.unexpected), (vec![missing], vec![phantom]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_point_that_does_not_exist_is_told_at_the_start() {
    let dir = TempDir::new().unwrap();
    let mut program =
        Program::at(&dir.path().join("data")).env("FAULTPOINTS", "store.no-such-point=abort").spawn().await;
    let status = program.wait(PATIENCE).await.expect("it ends");
    assert!(!status.success() && program.stderr().contains("there is no point `store.no-such-point`"));
}
