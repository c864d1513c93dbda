//! The program is killed: at random moments, in the middle of an attempt, and by what it was asked to deliver.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_testkit::faults::ledger::{Ledger, Outcome};
use tidings_testkit::faults::sinks::WebhookSink;
use tidings_testkit::faults::tier;
use tidings_testkit::faults::verdict::Verdict;
use tokio::time::{Instant, sleep};

use crate::load::settle;
use crate::program::{Program, USER, admin_token, http};
use crate::scene::{PATIENCE, Scene, until};

/// Requests each second while the program is killed again and again. Every restart costs a debug build much of a second
/// in which they queue up.
const RATE: f64 = 120.0;

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_under_load_it_loses_and_doubles_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut moments = fastrand::Rng::with_seed(seed);
    let kills = tier::repeat(50, 200);
    let mut scene = Scene::begin().await;
    let load = scene.load(RATE);
    let mut back_after = Vec::new();
    for _ in 0..kills {
        sleep(Duration::from_millis(moments.u64(250..700))).await;
        scene.restart().await;
        load.aim_at(scene.program.url());
        back_after.push(scene.program.ready_after());
    }
    let latencies = load.stop().await;
    let totals = scene.settle().await;
    assert!(totals.acknowledged > 20 * kills, "hardly a load: {totals}");
    back_after.sort_unstable();
    Verdict::of("F1", "kill -9 at random moments under load", format!("{kills} kills in a row, {RATE} requests/s"))
        .totals(&totals)
        .measured("back at ready, median", format!("{:?}", back_after[kills / 2]))
        .measured("back at ready, longest", format!("{:?}", back_after[kills - 1]))
        .measured("longest wait of a client", format!("{:?}", latencies.max()))
        .publish();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_receiver_takes_its_time_it_asks_once_more_under_the_same_id() {
    let mut scene = Scene::begin().await;
    scene.web.delay(Duration::from_secs(5));
    let payload = json!({"url": scene.web.url("/slow")});
    let id = ask(&scene.program, &scene.ledger, "slow", "webhook", &payload).await.unwrap();
    until("the receiver is called", || scene.web.received() == 1).await;
    scene.web.delay(Duration::ZERO);
    scene.restart().await;
    let back = Instant::now();
    until("the receiver is called again", || scene.web.received() == 2).await;
    let again_after = back.elapsed();
    let totals = scene.settle().await;
    assert_eq!((scene.ledger.calls(&id), totals.duplicated), (2, 1));

    let record = get(&scene.program, &format!("/api/notifications/{id}")).await;
    let story: Vec<&str> =
        record["journal"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(story, ["accepted", "lease-lost", "delivered"], "{record:#}");
    assert_eq!(record["attempts"][0]["number"], 2, "{record:#}");
    Verdict::of("F3", "kill -9 in the middle of an attempt", "a receiver that takes 5 s, killed while it does")
        .totals(&totals)
        .measured("called again after ready", format!("{again_after:?}"))
        .publish();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_brings_the_program_down_is_put_aside_and_its_neighbours_are_delivered() {
    let poisoned = WebhookSink::start(Ledger::new()).await.unwrap();
    let armed = format!("engine.before-send[webhook:http://{}]=abort", poisoned.addr());
    let mut scene = Scene::begin_with(&[("FAULTPOINTS", &armed)]).await;
    // So slow that its neighbours are in flight when the poison brings them down.
    scene.web.delay(Duration::from_millis(300));
    let good = json!({"url": scene.web.url("/good")});
    let mut neighbours = BTreeSet::new();
    for number in 0..8 {
        let key = format!("neighbour-{number}");
        neighbours.insert(ask(&scene.program, &scene.ledger, &key, "webhook", &good).await.unwrap());
    }
    let poison = json!({"url": poisoned.url("/poison")});
    // Whether the 202 arrives is a matter of luck; the client asks again when it can.
    ask(&scene.program, &scene.ledger, "poison", "webhook", &poison).await;

    let crashes = crash_until_quarantined(&mut scene, &armed).await;
    let id = ask(&scene.program, &scene.ledger, "poison", "webhook", &poison).await.unwrap();
    let totals = settle(&scene.program, &scene.ledger, PATIENCE).await;
    totals.assert_clean();
    totals.assert_all_heard();
    assert_eq!((crashes, poisoned.received()), (3, 0));

    let record = get(&scene.program, &format!("/api/notifications/{id}")).await;
    assert_eq!(record["deliveryStatus"], "dead", "{record:#}");
    assert!(record["errorMessage"].as_str().unwrap().starts_with("Crash suspect"), "{record:#}");
    let letters = get(&scene.program, "/api/dead-letters").await;
    let letters: Vec<&Value> = letters["items"].as_array().unwrap().iter().map(|letter| &letter["messageId"]).collect();
    assert_eq!(letters, [&json!(id)], "the poison and nothing else is a dead letter");
    for neighbour in &neighbours {
        let record = get(&scene.program, &format!("/api/notifications/{neighbour}")).await;
        assert_eq!(record["status"], "processed", "{record:#}");
    }
    Verdict::of("F32", "a notification that aborts the process", "1 poisoned and 8 good ones in flight with it")
        .totals(&totals)
        .measured("crashes until it was put aside", crashes)
        .publish();
}

/// Starts the program as often as it aborts, until there is a dead letter. Gives the number of aborts.
async fn crash_until_quarantined(scene: &mut Scene, armed: &str) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let mut crashes = 0;
    while Instant::now() < deadline {
        if let Some(status) = scene.program.wait(Duration::from_millis(50)).await {
            let said = scene.program.stderr();
            assert!(said.contains("Aborting at the fault point engine.before-send"), "{status}: {said}");
            crashes += 1;
            scene.web.delay(Duration::ZERO);
            scene.program = scene.builder().env("FAULTPOINTS", armed).spawn().await;
        } else if has_dead_letter(&scene.program).await {
            return crashes;
        }
    }
    panic!("no dead letter after {crashes} crashes");
}

async fn has_dead_letter(program: &Program) -> bool {
    let request = http().get(format!("{}/api/dead-letters", program.url())).bearer_auth(admin_token());
    let Ok(answer) = request.send().await else { return false };
    let Ok(body) = answer.json::<Value>().await else { return false };
    body["items"].as_array().is_some_and(|items| !items.is_empty())
}

/// Asks for one notification, once; gives its id if it was acknowledged.
async fn ask(program: &Program, ledger: &Ledger, key: &str, channel: &str, payload: &Value) -> Option<String> {
    let body = json!({"targetUserId": USER, "type": channel, "payload": payload, "idempotencyKey": key});
    let request = http().post(format!("{}/api/notifications", program.url())).bearer_auth(admin_token()).json(&body);
    let outcome = match request.send().await {
        Ok(answer) if answer.status() == 202 => match answer.json::<Value>().await {
            Ok(body) => Outcome::Ok(body["messageId"].as_str().unwrap().to_owned()),
            Err(_cut) => Outcome::Unknown,
        },
        Ok(answer) => Outcome::Refused(answer.status().as_u16()),
        Err(_cut) => Outcome::Unknown,
    };
    ledger.asked(key, outcome.clone());
    match outcome {
        Outcome::Ok(id) => Some(id),
        Outcome::Refused(_) | Outcome::Unknown => None,
    }
}

async fn get(program: &Program, path: &str) -> Value {
    let answer = http().get(format!("{}{path}", program.url())).bearer_auth(admin_token()).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}
