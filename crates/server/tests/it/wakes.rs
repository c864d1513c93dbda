//! F15: wake-ups are hints. They come out of nothing and in floods, and nothing follows from them but a look at the store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_testkit::faults::ledger::{Ledger, Outcome};
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::tier::repeat;
use tidings_testkit::faults::verdict::Verdict;

use crate::harness::World;

/// How many notifications are under way meanwhile.
const COUNT: usize = 200;

async fn send(world: &World, ledger: &Ledger, sink: &WebhookSink) {
    for number in 0..COUNT {
        let (channel, payload) = if number.is_multiple_of(2) {
            ("in-app", json!({"title": "t"}))
        } else {
            ("webhook", json!({"url": sink.url("/hook")}))
        };
        let id = world.submit(channel, payload).await;
        ledger.asked(&id, Outcome::Ok(id.clone()));
    }
}

/// Rings for nothing, and lets others work in between.
async fn ring(world: &World, times: usize) {
    for number in 0..times {
        world.advance(Duration::ZERO);
        if number.is_multiple_of(50) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn wake_ups_out_of_nothing_lead_to_nothing() {
    let world = World::start().await;
    let ledger = Ledger::new();
    let sink = WebhookSink::start(ledger.clone()).await.unwrap();
    let rings = repeat(100_000, 5_000_000);
    ring(&world, rings / 10).await;
    tokio::join!(ring(&world, rings), send(&world, &ledger, &sink));
    let mut attempts = BTreeMap::<u64, usize>::new();
    for id in ledger.acknowledged() {
        let record: Value = world.ended(&id).await;
        assert_eq!(record["status"], "processed", "{record:#}");
        *attempts.entry(record["attempts"].as_array().unwrap().len() as u64).or_default() += 1;
        ledger.ended(&id, Some(&record));
    }
    let totals = ledger.check();
    Verdict::of("F15", "wake-ups out of nothing", format!("{rings} beside {COUNT} notifications"))
        .totals(&totals)
        .measured("attempts for each", format!("{attempts:?}"))
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
    assert_eq!((totals.duplicated, sink.received()), (0, COUNT / 2));
    assert_eq!(attempts, BTreeMap::from([(1, COUNT)]));
    world.stop().await;
}
