//! Power cuts (F22).

mod cutter;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tidings_testkit::faults::ledger::Ledger;
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::tier::repeat;
use tidings_testkit::faults::verdict::Verdict;
use tokio::time::{Instant, sleep};

use self::cutter::Cutter;
use crate::disk::front::{Front, assert_gapless, notice, steady, title};
use crate::load::{Load, settle};
use crate::program::{Program, create_user};

const PATIENCE: Duration = Duration::from_mins(1);
const RATE: f64 = 100.0;

/// What was so before a cut, and has to be so after it.
struct Before {
    acknowledged: BTreeSet<String>,
    key: String,
    id: String,
}

impl Before {
    /// What holds now. The request under `key` is the last one that is known to be answered.
    async fn of(front: &Front, ledger: &Ledger, number: usize) -> Self {
        let key = format!("just before cut {number}");
        let id = front.post_noted(ledger, &notice(&key, "in-app", &title())).await.unwrap().id();
        Self { acknowledged: ledger.acknowledged().into_iter().collect(), key, id }
    }

    /// Starts the program on what a cut has left and looks. Returns how long the start took, and what is lost.
    async fn compare(&self, data: &Path) -> (Duration, Vec<String>) {
        let began = Instant::now();
        // It lives in another world: nothing that it sends may reach the receivers of this one.
        let mut program = Program::at(data).env("OUTBOUND_ALLOW", "").start().await;
        let ready_after = began.elapsed();
        let front = Front::of(&program);
        let there = front.ids("").await;
        let lost = self.acknowledged.difference(&there).cloned().collect();
        let again = front.post(&notice(&self.key, "in-app", &title())).await.unwrap();
        assert_eq!(again.id(), self.id, "the same key has the same answer (I5)");
        let other = front.post(&notice(&self.key, "in-app", &json!({"title": "another"}))).await.unwrap();
        assert_eq!((other.status, other.code()), (422, "idempotency_mismatch"), "{other:?}");
        front.ended(&self.id, PATIENCE).await;
        assert_gapless(&front.inbox().await);
        assert!(program.terminate().await.success());
        tidings_store::sqlite::check(data).unwrap();
        (ready_after, lost)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_every_power_cut() {
    let cuts = repeat(20, 100);
    let cutter = Cutter::new();
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    let program = Program::at(cutter.live()).start().await;
    create_user(&program).await;
    let load = Load::start(&program, ledger.clone(), steady(RATE, &sink.url("/hook")));
    let front = Front::of(&program);

    let (mut lost, mut unflushed_lost, mut slowest_start) = (Vec::new(), 0, Duration::ZERO);
    for number in 0..cuts {
        // A different moment of the rhythm of commits and seals each time.
        sleep(Duration::from_millis(50 + 37 * (number as u64 % 11))).await;
        let before = Before::of(&front, &ledger, number).await;
        // Written and not flushed: if this survived, the cut would be none.
        std::fs::write(cutter.live().join("unflushed"), number.to_string()).unwrap();
        let image = cutter.cut(number);
        let remains = cutter.look_at(image);
        let survived = std::fs::read_to_string(remains.path().join("unflushed")).unwrap_or_default();
        unflushed_lost += usize::from(survived != number.to_string());
        let (ready_after, missing) = before.compare(remains.path()).await;
        slowest_start = slowest_start.max(ready_after);
        lost.extend(missing);
    }
    let latencies = load.stop().await;
    let totals = settle(&program, &ledger, PATIENCE).await;
    Verdict::of("F22", "power cut", format!("{cuts} cuts under {RATE} requests/s"))
        .totals(&totals)
        .measured("acknowledged and lost in a cut", lost.len())
        .measured("cuts that lost what was not flushed", unflushed_lost)
        .measured("slowest start after a cut", format!("{slowest_start:?}"))
        .measured("p99 meanwhile", format!("{:?}", latencies.p99()))
        .publish();
    assert!(lost.is_empty(), "acknowledged before a cut and lost by it: {lost:?}");
    // The control: had nothing at all been lost, nothing would have been cut.
    assert!(unflushed_lost > 0, "none of {cuts} cuts lost what was not flushed");
    totals.assert_clean();
}
