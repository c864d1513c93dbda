//! More than can be stored, and the same again and again: F38, F39.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_core::time::{Clock as _, SystemClock};
use tidings_testkit::faults::ledger::Outcome;
use tidings_testkit::faults::tier;
use tidings_testkit::faults::verdict::Verdict;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::program::USER;
use crate::verbs::{Answer, Door, PATIENCE, Stage, cpu_ticks, ratio};

/// How many notifications a batch has.
const BATCH: usize = 100;

/// What a batch is about, the most urgent first.
const CLASSES: [&str; 3] = ["urgent", "normal", "marketing"];

/// Far enough that nothing of it is due while a story is told.
fn in_a_month() -> Value {
    json!(SystemClock::default().now() + Duration::from_hours(24 * 30))
}

/// A batch of one class. Only its first notification is due now, and followed to its end: the rest is there to be stored.
fn batch(class: &str) -> Vec<u8> {
    let mut item = json!({"targetUserId": USER, "type": "in-app", "payload": {"title": "t"}});
    match class {
        "urgent" => item["priority"] = json!("high"),
        "marketing" => item["category"] = json!("marketing"),
        _ => {}
    }
    let mut later = item.clone();
    later["sendAt"] = in_a_month();
    let mut items = vec![later; BATCH];
    items[0] = item;
    json!({"notifications": items}).to_string().into_bytes()
}

/// What came of the batches of one class.
#[derive(Debug, Default)]
struct Tally {
    accepted: AtomicUsize,
    shed: AtomicUsize,
    unanswered: AtomicUsize,
}

/// Sends one batch, and writes down what came of it. Tells whether it was accepted.
async fn send(door: &Door, name: String, body: Vec<u8>, tally: &Tally) -> bool {
    let Ok(answer) = door.try_call(Method::POST, "/api/notifications/batch", Some(body)).await else {
        door.ledger.asked(&name, Outcome::Unknown);
        tally.unanswered.fetch_add(1, Ordering::Relaxed);
        return false;
    };
    match answer.status {
        202 => {
            let verdicts = answer.json();
            assert_eq!(verdicts["accepted"], BATCH, "a batch of one class is taken as a whole");
            let id = verdicts["results"][0]["messageId"].as_str().unwrap().to_owned();
            door.ledger.asked(&name, Outcome::Ok(id));
            tally.accepted.fetch_add(1, Ordering::Relaxed);
        }
        503 => {
            refused_in_order(&answer);
            door.ledger.asked(&name, Outcome::Refused(503));
            tally.shed.fetch_add(1, Ordering::Relaxed);
        }
        other => panic!("{other}: {}", answer.text),
    }
    answer.status == 202
}

/// A refusal says what it is and when to come again.
fn refused_in_order(answer: &Answer) {
    assert_eq!(answer.code(), "overloaded", "{}", answer.text);
    let wait = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
    let wait: u64 = wait.and_then(|value| value.parse().ok()).unwrap_or_default();
    assert!((1..=60).contains(&wait), "{answer:?}");
}

/// How long a client of the closed loop stays away after a refusal.
const REFUSED_FOR: Duration = Duration::from_millis(100);

/// How many batches a second are accepted from clients that each wait for the answer before they send the next one.
async fn saturate(door: &Door, clients: usize, during: Duration) -> f64 {
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let body = batch("urgent");
    let start = Instant::now();
    let mut working = JoinSet::new();
    for client in 0..clients {
        let (door, stop, tally, body) = (door.clone(), Arc::clone(&stop), Arc::clone(&tally), body.clone());
        working.spawn(async move {
            for number in 0_usize.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if !send(&door, format!("closed-{client}-{number}"), body.clone(), &tally).await {
                    tokio::time::sleep(REFUSED_FOR).await;
                }
            }
        });
    }
    tokio::time::sleep(during).await;
    stop.store(true, Ordering::Relaxed);
    working.join_all().await;
    per_second(&tally.accepted, start.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
fn per_second(count: &AtomicUsize, took: Duration) -> f64 {
    count.load(Ordering::Relaxed) as f64 / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_the_least_urgent_first_and_the_rest_is_served() {
    // A disk that needs 150 ms for each commit: so the store is the narrow place, on however fast a machine.
    let stage = Stage::set(&[("FAULTPOINTS", "store.before-commit=sleep(150)")]).await;
    let (program, door) = (&stage.program, &stage.door);
    let accepted_before = program.metric("notifications_accepted_total").await;
    let during = tier::lasting(Duration::from_secs(6), Duration::from_secs(40));
    let capacity = saturate(door, 16, during).await;
    assert!(capacity > 0.0, "nothing was accepted");

    let bodies = CLASSES.map(batch);
    let tallies: [Arc<Tally>; 3] = Default::default();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / (3.0 * capacity)));
    let mut sending = JoinSet::new();
    let start = Instant::now();
    for number in 0_usize.. {
        ticks.tick().await;
        if start.elapsed() >= during {
            break;
        }
        let class = number % CLASSES.len();
        let (door, body, tally) = (door.clone(), bodies[class].clone(), Arc::clone(&tallies[class]));
        sending.spawn(async move { send(&door, format!("open-{number}"), body, &tally).await });
    }
    sending.join_all().await;
    let took = start.elapsed();

    let totals = door.settle(Duration::from_mins(1)).await;
    let goodput: f64 = tallies.iter().map(|tally| per_second(&tally.accepted, took)).sum();
    let count = |of: fn(&Tally) -> &AtomicUsize| tallies.each_ref().map(|tally| of(tally).load(Ordering::Relaxed));
    let accepted = count(|tally| &tally.accepted);
    let shed = count(|tally| &tally.shed);
    let unanswered: usize = count(|tally| &tally.unanswered).iter().sum();
    let stored = program.metric("notifications_accepted_total").await - accepted_before;
    Verdict::of(
        "F38",
        "three times as much as can be stored",
        "batches of 100, a third each urgent, normal, marketing",
    )
    .totals(&totals)
    .measured("capacity", format!("{capacity:.1} batches/s"))
    .measured("goodput", format!("{goodput:.1} batches/s, {:.0} % of the capacity", 100.0 * goodput / capacity))
    .measured("accepted (urgent, normal, marketing)", format!("{accepted:?}"))
    .measured("refused (urgent, normal, marketing)", format!("{shed:?}"))
    .measured("without an answer", unanswered)
    .publish();
    totals.assert_clean();
    let all: usize = accepted.iter().chain(&shed).sum::<usize>() + unanswered;
    assert!(shed.iter().sum::<usize>() > 0, "three times the capacity and nobody was refused");
    assert!(unanswered * 20 <= all, "{unanswered} of {all} were not answered at all");
    assert!(shed[2] >= shed[1] && shed[1] >= shed[0], "marketing goes first, urgent last: {shed:?}");
    assert!(accepted[0] > accepted[2], "urgent before marketing: {accepted:?}");
    assert!(goodput >= 0.7 * capacity, "{goodput} of {capacity} batches/s");
    // Nothing of what was refused was stored: every notification that counts was acknowledged, or may have been.
    let known = totals.acknowledged + unanswered;
    assert!(
        stored <= f64::from(u32::try_from(known * BATCH).unwrap()),
        "{stored} are stored, {known} batches are known"
    );
}

const KEYS: usize = 1_000;

/// One request with a key. It is due in a month, so that what it costs is to take it and nothing else.
async fn with_key(door: &Door, key: &str, send_at: &Value) -> bool {
    let body = json!({
        "targetUserId": USER, "type": "in-app", "payload": {"title": "t"}, "sendAt": send_at, "idempotencyKey": key,
    });
    let answer = door.post("/api/notifications", &body).await;
    match answer.status {
        202 => {
            let id = answer.json()["messageId"].as_str().unwrap().to_owned();
            door.ledger.asked(key, Outcome::Ok(id));
        }
        // The first with the key is still under way.
        409 => door.ledger.asked(key, Outcome::Refused(409)),
        other => panic!("{other}: {}", answer.text),
    }
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// Sends every key once, from several clients at a time, and gives the ticks of the processor that the program needed.
async fn round(stage: &Stage, prefix: &'static str, send_at: &Value) -> u64 {
    const CLIENTS: usize = 8;
    let before = cpu_ticks(&stage.program);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (door, send_at) = (stage.door.clone(), send_at.clone());
        clients.spawn(async move {
            for number in (client..KEYS).step_by(CLIENTS) {
                with_key(&door, &format!("{prefix}-{number}"), &send_at).await;
            }
        });
    }
    clients.join_all().await;
    cpu_ticks(&stage.program) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn repeating_a_key_is_cheaper_than_a_new_one_and_leads_to_the_same_id() {
    let stage = Stage::set(&[]).await;
    let door = &stage.door;
    let send_at = in_a_month();
    // A storm first: many clients send the same keys at the same time, most of them before there is an answer.
    let mut storm = JoinSet::new();
    for _ in 0..16 {
        let (door, send_at) = (door.clone(), send_at.clone());
        storm.spawn(async move {
            let mut replayed = 0_usize;
            for number in 0..KEYS / 10 {
                replayed += usize::from(with_key(&door, &format!("storm-{number}"), &send_at).await);
            }
            replayed
        });
    }
    let replayed: usize = storm.join_all().await.into_iter().sum();
    let rounds = tier::repeat(3, 20);
    let mut accepts = 0;
    for prefix in ["key", "other", "third"] {
        accepts += round(&stage, prefix, &send_at).await;
    }
    let mut replays = 0;
    for _ in 0..rounds {
        replays += round(&stage, "key", &send_at).await;
    }
    let rounds = u64::try_from(rounds).unwrap();
    for id in door.ledger.acknowledged() {
        let answer = door.call(Method::POST, &format!("/api/notifications/{id}/cancel"), None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let totals = door.settle(PATIENCE).await;
    // A hundredth of a second for 1,000 requests is ten microseconds for each.
    let each = |ticks: u64, rounds: u64| format!("{:.0} us", 10.0 * ratio(ticks, rounds));
    Verdict::of("F39", "the same keys again and again", "16 clients with the same 100 keys; 1,000 keys without pause")
        .totals(&totals)
        .measured("processor time of an accept", each(accepts, 3))
        .measured("processor time of a replay", each(replays, rounds))
        .measured("an accept costs as much as", format!("{:.2} replays", ratio(accepts * rounds, replays * 3)))
        .publish();
    totals.assert_clean();
    assert!(replayed > 0, "no repetition was told to be one");
    assert_eq!(totals.acknowledged, 3 * KEYS + KEYS / 10, "one id for each key");
    assert!(replays * 3 < accepts * rounds, "{replays} ticks for {rounds} rounds, {accepts} for 3");
}
