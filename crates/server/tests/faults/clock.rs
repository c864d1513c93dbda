//! A wall clock that jumps while the program runs (F30).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tidings_core::time::{Clock, SystemClock};
use tidings_testkit::faults::ledger::Ledger;
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::verdict::Verdict;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::disk::front::{Front, assert_gapless, notice, steady, until};
use crate::disk::mount::library;
use crate::load::{Load, settle};
use crate::program::{Builder, Program, create_user};

const PATIENCE: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_secs(2);
const RATE: f64 = 100.0;
const HOUR: i64 = 3600;
/// What was due soon before a jump is due soon after it.
const SOON: Duration = Duration::from_secs(20);
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// How often leases that ran out are looked for is five seconds; this is longer.
const RESCUE_HAS_LOOKED: Duration = Duration::from_secs(7);
/// A breaker is open for 30 s at first; the rest is for probes and a busy machine.
const BREAKER_CLOSES_WITHIN: Duration = Duration::from_mins(1);
/// More failures in a row than open a breaker.
const FAILURES: usize = 12;

/// The wall clock of one program, by libfaketime (Debian: libfaketime). The monotonic clock stays as it is.
struct WallClock {
    file: PathBuf,
}

impl WallClock {
    fn arm(&self, program: Builder) -> Builder {
        self.jump_to(0);
        self.environment().into_iter().fold(program, |program, (name, value)| program.env(name, &value))
    }

    fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", library(LIBRARY, "libfaketime").display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// What a program sees that asks this clock, in seconds since 1970.
    async fn shown(&self) -> i64 {
        let output = Command::new("date").arg("+%s").envs(self.environment()).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    /// From now on the clock is this many seconds ahead of the true time.
    fn jump_to(&self, seconds: i64) {
        // The program reads the file at any moment, and half a number would be another time.
        let draft = self.file.with_extension("draft");
        fs::write(&draft, format!("{seconds:+}\n")).unwrap();
        fs::rename(&draft, &self.file).unwrap();
    }
}

/// A program with a clock to move, and receivers. The order of the fields is that of taking it down.
struct Scene {
    program: Program,
    front: Front,
    clock: WallClock,
    ledger: Ledger,
    sink: WebhookSink,
    _dir: TempDir,
}

impl Scene {
    async fn begin(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = WallClock { file: dir.path().join("clock") };
        let ledger = Ledger::new();
        let sink = WebhookSink::start(ledger.clone()).await.unwrap();
        let builder = clock.arm(Program::at(&dir.path().join("data")));
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        let program = builder.start().await;
        create_user(&program).await;
        let front = Front::of(&program);
        Self { program, front, clock, ledger, sink, _dir: dir }
    }

    fn load(&self) -> Load {
        Load::start(&self.program, self.ledger.clone(), steady(RATE, &self.sink.url("/hook")))
    }

    /// A webhook to another receiver; gives its id.
    async fn post_to(&self, sink: &WebhookSink, key: &str) -> String {
        let body = notice(key, "webhook", &json!({"url": sink.url("/hook")}));
        self.front.post_noted(&self.ledger, &body).await.unwrap().id()
    }

    /// A token of a new user, valid for as long as TOKEN_TTL says.
    async fn register(&self) -> String {
        let account =
            json!({"username": "ada", "email": "ada@example.com", "password": "correct horse battery staple"});
        let reply = self.front.post_to("/api/auth/register", &account).await.unwrap();
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.body["token"].as_str().unwrap().to_owned()
    }

    async fn status_with(&self, token: &str) -> u16 {
        self.front.with_token(token).get("/api/notifications", PATIENCE).await.unwrap().status
    }

    /// Lets the clock jump, and makes sure that it has jumped and that it is the clock of the program.
    async fn jump_to(&self, seconds: i64) {
        self.clock.jump_to(seconds);
        let ahead = self.clock.shown().await - SystemClock::default().now().as_seconds();
        assert!((ahead - seconds).abs() < 30, "the clock is {ahead} s ahead");
        let loaded = fs::read_to_string(format!("/proc/{}/maps", self.program.pid())).unwrap();
        assert!(loaded.contains(LIBRARY), "the program has the true clock");
    }

    /// A number of the metrics that has to be nought.
    async fn assert_none(&self, metric: &str) {
        let count = self.program.metric(metric).await;
        assert!(count < 0.5, "{metric} is {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_ends_no_lease_early_and_revives_no_token() {
    let scene = Scene::begin(&[("TOKEN_TTL", "30m"), ("REGISTRATION", "true")]).await;
    let token = scene.register().await;
    assert_eq!(scene.status_with(&token).await, 200);
    // So that attempts are under way at the jump.
    scene.sink.delay(Duration::from_millis(300));
    let load = scene.load();
    sleep(CALM).await;
    until(PATIENCE, "attempts are under way", async || {
        (scene.program.metric("attempts_in_flight").await > 0.0).then_some(())
    })
    .await;
    scene.jump_to(HOUR).await;
    assert_eq!(scene.status_with(&token).await, 401, "the token has expired");
    sleep(RESCUE_HAS_LOOKED).await;
    scene.assert_none("leases_lost_total").await;
    scene.assert_none("stale_settlements_total").await;
    drop(load.stop().await);
    let totals = settle(&scene.program, &scene.ledger, PATIENCE).await;
    assert_gapless(&scene.front.inbox().await);
    Verdict::of("F30", "clock ahead", format!("+1 h under {RATE} requests/s, attempts under way"))
        .totals(&totals)
        .measured("leases lost", 0)
        .publish();
    assert_eq!(totals.duplicated, 0, "nothing is sent twice for the sake of a clock");
    totals.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_stops_no_delivery_and_loses_no_retry() {
    let scene = Scene::begin(&[("RETRY_SCHEDULE", "4s")]).await;
    let healing = WebhookSink::start(scene.ledger.clone()).await.unwrap();
    healing.answer_with(503);
    let load = scene.load();
    sleep(CALM).await;
    let retried = scene.post_to(&healing, "due again soon").await;
    until(PATIENCE, "the first attempt has failed", async || {
        let record = scene.front.record(&retried).await;
        (record["deliveryStatus"] == "retrying").then_some(())
    })
    .await;
    scene.jump_to(-2 * HOUR).await;
    healing.answer_with(200);
    let began = Instant::now();
    let new = scene.post_to(&scene.sink, "accepted after the jump").await;
    scene.front.ended(&new, SOON).await;
    let record = scene.front.ended(&retried, SOON).await;
    let retried_after = began.elapsed();
    assert_eq!(record["deliveryStatus"], "delivered", "{record:#}");
    assert_eq!(scene.ledger.calls(&retried), 2, "one failed attempt and one retry: {record:#}");
    sleep(CALM).await;
    drop(load.stop().await);
    let totals = settle(&scene.program, &scene.ledger, PATIENCE).await;
    assert_gapless(&scene.front.inbox().await);
    scene.assert_none("leases_lost_total").await;
    scene.assert_none("stale_settlements_total").await;
    Verdict::of("F30", "clock back", format!("-2 h under {RATE} requests/s, a retry due 4 s later"))
        .totals(&totals)
        .measured("the retry ended after", format!("{retried_after:?}"))
        .publish();
    totals.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_does_not_stay_open_for_as_long_as_the_clock_was_set_back() {
    let scene = Scene::begin(&[("RETRY_SCHEDULE", "1s"), ("MAX_RETRIES", "50")]).await;
    scene.sink.answer_with(503);
    let mut ids = Vec::new();
    for number in 0..FAILURES {
        ids.push(scene.post_to(&scene.sink, &format!("to a dead endpoint {number}")).await);
    }
    until(PATIENCE, "the breaker opens", async || (scene.program.metric("breakers_open").await > 0.0).then_some(()))
        .await;
    scene.jump_to(-2 * HOUR).await;
    scene.sink.answer_with(200);
    let began = Instant::now();
    let totals = settle(&scene.program, &scene.ledger, BREAKER_CLOSES_WITHIN).await;
    let settled_after = began.elapsed();
    for id in &ids {
        let record = scene.front.record(id).await;
        assert_eq!(record["deliveryStatus"], "delivered", "{record:#}");
    }
    Verdict::of("F30", "clock back while a breaker is open", "-2 h")
        .totals(&totals)
        .measured("all delivered after", format!("{settled_after:?}"))
        .publish();
    totals.assert_clean();
}
