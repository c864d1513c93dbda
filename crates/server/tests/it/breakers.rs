//! F26: a destination that refuses everything is left alone, what waits for it loses no attempt, and it is taken up again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_catcher::HttpAnswer;
use tidings_testkit::faults::ledger::{Ledger, Outcome};
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::verdict::Verdict;

use crate::harness::{PATIENCE, TESTUSER, World};

/// What is sent to the destination.
const COUNT: usize = 60;

/// The most calls that it may take to see that a destination is down.
const MOST_CALLS: usize = 20;

/// A breaker stays open for half a minute, and after each failed probe for twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(31);
const SECOND_PAUSE: Duration = Duration::from_secs(61);

async fn metric(world: &World, name: &str) -> f64 {
    let text = world.get("/metrics", &world.admin()).await.text;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// Waits until a metric has a value.
async fn reaches(world: &World, name: &str, wanted: f64) {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while (metric(world, name).await - wanted).abs() > 0.1 {
            ticks.tick().await;
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(outcome.is_ok(), "{name} is {} and not {wanted}", metric(world, name).await);
}

/// Waits until the dispatcher has looked at everything that is due, and all that it has begun has ended: something else
/// goes all the way through, twice, for the first may have been seen before the clock was moved.
async fn comes_to_rest(world: &World) {
    for _ in 0..2 {
        let id = world.submit("webhook", json!({"url": format!("http://{}/rest", world.web.addr())})).await;
        world.ended(&id).await;
        reaches(world, "attempts_in_flight", 0.0).await;
    }
}

async fn submit_many(world: &World, ledger: &Ledger, url: &str) -> Vec<String> {
    let item = json!({"targetUserId": TESTUSER, "type": "webhook", "payload": {"url": url}});
    let body = json!({"notifications": vec![item; COUNT]});
    let answer = world.post("/api/notifications/batch", &world.token(), &body).await.json();
    let ids: Vec<String> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["messageId"].as_str().unwrap().to_owned())
        .collect();
    for id in &ids {
        ledger.asked(id, Outcome::Ok(id.clone()));
    }
    ids
}

/// How many attempts each notification has used up.
async fn attempts(world: &World, ids: &[String]) -> BTreeMap<String, usize> {
    let mut attempts = BTreeMap::new();
    for id in ids {
        attempts.insert(id.clone(), world.show(id).await["attempts"].as_array().unwrap().len());
    }
    attempts
}

#[tokio::test]
async fn a_destination_that_is_down_is_left_alone_and_taken_up_again() {
    for status in [429, 500, 503] {
        let world = World::start().await;
        let ledger = Ledger::new();
        let sink = WebhookSink::start(ledger.clone()).await.unwrap();
        sink.answer_with(status);
        let ids = submit_many(&world, &ledger, &sink.url("/hook")).await;
        reaches(&world, "breaker_opened_total", 1.0).await;
        comes_to_rest(&world).await;
        let to_open = sink.received();
        let used = attempts(&world, &ids).await;
        let parked: Vec<&String> = used.iter().filter(|(_, used)| **used == 0).map(|(id, _)| id).collect();
        assert!(to_open <= MOST_CALLS, "{to_open} calls before the breaker opened");
        assert!(parked.len() >= COUNT - to_open, "{} are untouched", parked.len());

        // Within the pause nobody calls, however much is due.
        world.advance(Duration::from_secs(20));
        comes_to_rest(&world).await;
        assert_eq!(sink.received(), to_open, "somebody called in spite of the open breaker");

        // After it a probe or few do, and as they fail everybody stays away for longer.
        world.advance(FIRST_PAUSE.saturating_sub(Duration::from_secs(20)));
        reaches(&world, "breaker_opened_total", 2.0).await;
        comes_to_rest(&world).await;
        let probes = sink.received() - to_open;
        assert!((1..=3).contains(&probes), "{probes} probes");
        let before: usize = used.values().sum();
        let after: usize = attempts(&world, &ids).await.values().sum();
        assert_eq!(after - before, probes, "only calls use up attempts");

        sink.answer_with(200);
        let healed_at = world.clock.shift();
        world.advance(SECOND_PAUSE);
        for id in &ids {
            let record = world.ended(id).await;
            assert_eq!(record["status"], "processed", "{record:#}");
            assert!(record["retriesAttempted"].as_u64().unwrap() <= 3, "{record:#}");
            ledger.ended(id, Some(&record));
        }
        reaches(&world, "breakers_open", 0.0).await;
        let totals = ledger.check();
        let fault: &'static str = match status {
            429 => "429 to everything",
            500 => "500 to everything",
            _ => "503 to everything",
        };
        Verdict::of("F26", fault, format!("{COUNT} notifications to one destination"))
            .totals(&totals)
            .measured("calls until the breaker opened", to_open)
            .measured("parked without an attempt", parked.len())
            .measured("probes while down", probes)
            .measured("delivered after healing within", format!("{:?}", world.clock.shift().saturating_sub(healed_at)))
            .publish();
        totals.assert_clean();
        totals.assert_all_heard();
        world.stop().await;
    }
}

#[tokio::test]
async fn a_destination_that_says_when_is_not_asked_before() {
    let world = World::start().await;
    let ledger = Ledger::new();
    let later = HttpAnswer::status(429).with_header("retry-after", "120");
    world.web.script([later]);
    let id = world.submit("webhook", json!({"url": world.web.url("/busy")})).await;
    ledger.asked(&id, Outcome::Ok(id.clone()));
    let calls = |world: &World| world.web.requests().iter().filter(|request| request.path == "/busy").count();
    let tried = |record: &Value| record["deliveryStatus"] == "retrying";
    world.until(&id, tried).await;
    for _ in 0..3 {
        world.advance(Duration::from_secs(35));
        comes_to_rest(&world).await;
        assert_eq!(calls(&world), 1, "it was asked before it wanted to be");
    }
    world.advance(Duration::from_secs(35));
    let record = world.ended(&id).await;
    assert_eq!((&record["status"], &record["retriesAttempted"]), (&json!("processed"), &json!(1)), "{record:#}");
    for _ in 0..calls(&world) {
        ledger.received(&id);
    }
    ledger.ended(&id, Some(&record));
    let totals = ledger.check();
    Verdict::of("F26", "429 with Retry-After", "429 with 120 s, then 200")
        .totals(&totals)
        .measured("calls in 105 s", 1)
        .publish();
    totals.assert_clean();
    world.stop().await;
}
