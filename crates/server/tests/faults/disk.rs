//! A disk that is full, and a disk that fails (F20, F21).

pub(crate) mod fiu;
pub(crate) mod front;
pub(crate) mod mount;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tidings_core::time::{Clock, SystemClock};
use tidings_testkit::faults::ledger::{Ledger, Totals};
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::verdict::Verdict;
use tokio::time::{Instant, sleep};

use self::fiu::Fiu;
use self::front::{Front, Reply, assert_gapless, notice, steady, title, until};
use self::mount::Mount;
use crate::load::{Load, settle};
use crate::program::{Program, create_user};

/// How long anything may take before a story gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The promise is 2 s until health shows a fault; the rest is for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);
/// The promise is 5 s until health has forgotten it; the rest is for a busy machine.
const CLEARED_WITHIN: Duration = Duration::from_secs(8);
/// The program seals its store a second after the last commit. After this long nothing is written any more.
const QUIET: Duration = Duration::from_secs(3);
/// How long a load runs before and after a fault.
const CALM: Duration = Duration::from_secs(2);
const RATE: f64 = 100.0;
const MIB: u64 = 1 << 20;

/// A program on a small disk of its own, under load. The order of the fields is that of taking it down.
struct SmallDisk {
    program: Program,
    load: Load,
    front: Front,
    ledger: Ledger,
    sink: WebhookSink,
    disk: Mount,
    _dir: TempDir,
}

/// How long it took until it showed that the disk is full, and until all was well again.
struct Course {
    noticed: Duration,
    cleared: Duration,
}

impl SmallDisk {
    async fn begin(min_free: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The disk is the data directory itself: what the program says on stderr is kept outside of it.
        let disk = Mount::tmpfs(&dir.path().join("data"), "96m");
        let ledger = Ledger::new();
        let sink = WebhookSink::start(ledger.clone()).await.unwrap();
        let program = Program::at(disk.path()).env("MIN_FREE_DISK", min_free).start().await;
        create_user(&program).await;
        let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
        let front = Front::of(&program);
        sleep(CALM).await;
        Self { program, load, front, ledger, sink, disk, _dir: dir }
    }

    /// Fills the disk up to `free` bytes, looks at what goes on and what does not, and makes room again.
    async fn fill_and_free(&self, free: u64) -> Course {
        let later = (SystemClock::default().now() + Duration::from_secs(6)).to_string();
        let mut body = notice("due while the disk is full", "webhook", &json!({"url": self.sink.url("/hook")}));
        body["sendAt"] = json!(later);
        let due = self.front.post_noted(&self.ledger, &body).await.unwrap().id();
        let ballast = self.disk.fill_up_to(free);

        let began = Instant::now();
        until(NOTICED_WITHIN, "health shows the full disk", async || self.is_unhealthy().await.then_some(())).await;
        let noticed = began.elapsed();
        let refused = until(PATIENCE, "a request is refused", async || self.refusal().await).await;
        assert_eq!((refused.status, refused.code()), (507, "storage_full"), "{refused:?}");
        assert_eq!(refused.header("content-type"), "application/problem+json");
        assert!(refused.header("retry-after").parse::<u64>().is_ok(), "{refused:?}");
        // What was accepted is read and delivered all the same.
        let record = self.front.ended(&due, PATIENCE).await;
        assert_eq!(record["deliveryStatus"], "delivered", "{record:#}");
        assert_eq!(self.ledger.calls(&due), 1);
        assert!(self.is_unhealthy().await, "the disk is still full");

        drop(ballast);
        let began = Instant::now();
        until(CLEARED_WITHIN, "health is good again", async || (!self.is_unhealthy().await).then_some(())).await;
        let cleared = began.elapsed();
        until(PATIENCE, "a request is accepted", async || self.acceptance().await).await;
        Course { noticed, cleared }
    }

    async fn is_unhealthy(&self) -> bool {
        self.program.health().await.0 == 503
    }

    async fn refusal(&self) -> Option<Reply> {
        let reply = self.front.post_noted(&self.ledger, &notice("refused at first", "in-app", &title())).await?;
        (reply.status != 202 && reply.status != 503).then_some(reply)
    }

    async fn acceptance(&self) -> Option<Reply> {
        let reply = self.front.post_noted(&self.ledger, &notice("refused at first", "in-app", &title())).await?;
        (reply.status == 202).then_some(reply)
    }

    /// Ends the load and compares the logs. Only these statuses may have come besides 202.
    async fn end(self, fault: &'static str, course: Course, allowed: &[u16]) {
        sleep(CALM).await;
        let latencies = self.load.stop().await;
        let errors = latencies.errors();
        assert!(errors.keys().all(|status| allowed.contains(status)), "{errors:?}");
        assert!(errors.contains_key(&507), "no request of the load met the full disk: {errors:?}");
        let totals = settle(&self.program, &self.ledger, PATIENCE).await;
        assert_gapless(&self.front.inbox().await);
        Verdict::of("F20", fault, format!("tmpfs of 96 MiB, filled and freed under {RATE} requests/s"))
            .totals(&totals)
            .measured("health shows it after", format!("{:?}", course.noticed))
            .measured("healthy again after", format!("{:?}", course.cleared))
            .publish();
        totals.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_limit_of_free_space_new_work_is_refused_and_accepted_work_finished() {
    let scene = SmallDisk::begin("24 MiB").await;
    let course = scene.fill_and_free(8 * MIB).await;
    scene.end("less free space than MIN_FREE_DISK", course, &[507]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_any_space_left_is_survived_on_the_reserve() {
    let scene = SmallDisk::begin("0 B").await;
    let reserve = scene.disk.path().join("reserve");
    assert!(reserve.exists(), "space is put aside at the start");
    let course = scene.fill_and_free(0).await;
    until(PATIENCE, "the reserve is put aside again", async || reserve.exists().then_some(())).await;
    scene.end("no byte free (ENOSPC)", course, &[503, 507]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_write_is_told_and_mended_and_a_second_one_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let fiu = Fiu::new(dir.path());
    let data = dir.path().join("data");
    let log = dir.path().join("log");
    let mut program = fiu.arm(Program::at(&data)).stdout(file(&log)).start().await;
    create_user(&program).await;
    let front = Front::of(&program);
    let one_failure = "enable name=posix/io/rw/pwrite,failinfo=5,onetime";
    let before = front.post(&notice("before", "in-app", &title())).await.unwrap().id();
    front.ended(&before, PATIENCE).await;
    sleep(QUIET).await;

    fiu.tell(&program, one_failure).await;
    let failed = front.post(&notice("first", "in-app", &title())).await.unwrap();
    assert_eq!((failed.status, failed.code()), (503, "store_unavailable"), "{failed:?}");
    let again = until(PATIENCE, "the store is open again", async || {
        front.post(&notice("first", "in-app", &title())).await.ok().filter(|reply| reply.status == 202)
    });
    let mended = again.await.id();
    front.ended(&mended, PATIENCE).await;
    until(CLEARED_WITHIN, "health is good again", async || (program.health().await.0 == 200).then_some(())).await;
    sleep(QUIET).await;

    fiu.tell(&program, one_failure).await;
    let outcome = front.post(&notice("second", "in-app", &title())).await;
    assert!(outcome.as_ref().map_or(true, |reply| reply.status == 503), "{outcome:?}");
    assert_ends_with_70(&mut program, &log).await;

    let program = Program::at(&data).start().await;
    let front = Front::of(&program);
    let second = until(PATIENCE, "the second request is repeated", async || {
        front.post(&notice("second", "in-app", &title())).await.ok().filter(|reply| reply.status == 202)
    });
    let second = second.await.id();
    for id in [&before, &mended, &second] {
        front.ended(id, PATIENCE).await;
    }
    assert_gapless(&front.inbox().await);
    Verdict::of("F21", "single failed writes", "EIO from one pwrite, and from another within a minute")
        .measured("lost", 0)
        .publish();
}

fn file(path: &Path) -> Stdio {
    Stdio::from(File::create(path).unwrap())
}

/// The process ends by itself and says why, in its log or at the very end.
async fn assert_ends_with_70(program: &mut Program, log: &Path) {
    let status = program.wait(PATIENCE).await.expect("a disk that fails twice ends the process");
    let said = std::fs::read_to_string(log).unwrap() + &program.stderr();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains("disk"), "{said}");
}

/// Lets a share of the calls of one kind fail under load, until the process has ended; starts it again on a good disk.
async fn a_failing_disk(fault: &'static str, kind: &str, share: &str) -> Totals {
    let dir = tempfile::tempdir().unwrap();
    let fiu = Fiu::new(dir.path());
    let data = dir.path().join("data");
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    let log = dir.path().join("log");
    let mut program = fiu.arm(Program::at(&data)).stdout(file(&log)).start().await;
    create_user(&program).await;
    let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
    sleep(CALM).await;
    let command = format!("enable_random name={kind},probability={share},failinfo=5");
    fiu.tell(&program, &command).await;
    assert_ends_with_70(&mut program, &log).await;

    let program = Program::at(&data).start().await;
    load.aim_at(program.url());
    sleep(CALM).await;
    drop(load.stop().await);
    let totals = settle(&program, &ledger, PATIENCE).await;
    assert_gapless(&Front::of(&program).inbox().await);
    Verdict::of("F21", fault, format!("EIO from {kind} with probability {share}, {RATE} requests/s"))
        .totals(&totals)
        .measured("exit code", 70)
        .publish();
    totals
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_writes_end_the_process_and_lose_nothing() {
    a_failing_disk("some writes fail", "posix/io/rw/pwrite", "0.05").await.assert_clean();
    a_failing_disk("all writes fail", "posix/io/rw/pwrite", "1").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_flushes_end_the_process_and_lose_nothing() {
    a_failing_disk("some flushes fail", "posix/io/sync/*", "0.05").await.assert_clean();
    a_failing_disk("all flushes fail", "posix/io/sync/*", "1").await.assert_clean();
}
