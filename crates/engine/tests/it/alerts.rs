//! Telling somebody about dead letters.

use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::{MessageId, TenantId};
use tidings_core::ports::DeadLetters;
use tidings_core::ports::dead_letters::Review;
use tidings_engine::alerts;

use crate::world::{World, eventually, host, mail};

const OPERATORS: &str = "https://ops.example:443";
const REFUSING: &str = "https://refusing.example:443";

async fn world() -> World {
    let mut world = World::new().await;
    world.config.alerts = alerts::Config {
        pending: Some(1),
        age: None,
        every: Duration::from_secs(1),
        webhook_url: Some(OPERATORS.to_owned()),
        email: None,
    };
    world.sender.always(&host(REFUSING), Verdict::Reject);
    world
}

async fn die(world: &World) -> MessageId {
    let id = world.submit(world.webhook(REFUSING)).await;
    world.until_it_is(id, State::Dead).await;
    id
}

async fn alerted(world: &World, times: usize) {
    eventually(|| async { world.calls_to(&host(OPERATORS)).len() == times }).await;
}

#[tokio::test(start_paused = true)]
async fn one_crossing_raises_one_alert() {
    let world = world().await;
    let _engine = world.engine().await;
    let first = die(&world).await;
    world.no_more_calls_than(1, Duration::from_secs(5)).await;
    let second = die(&world).await;
    alerted(&world, 1).await;
    assert_eq!(world.metric("dead_letter_alert_raised"), 1);
    die(&world).await;
    let before = world.sender.calls().len();
    world.no_more_calls_than(before, Duration::from_secs(10)).await;

    for id in [first, second] {
        let discard = Review::Discard { note: None };
        world.store.review(TenantId::DEFAULT, id, discard, world.now()).await.unwrap().unwrap();
    }
    eventually(|| async { world.metric("dead_letter_alert_raised") == 0 }).await;
    die(&world).await;
    alerted(&world, 2).await;
    assert_eq!(world.metric("dead_letter_alerts_total"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_waits_too_long_raises_one() {
    let mut world = world().await;
    world.config.alerts.pending = None;
    world.config.alerts.age = Some(Duration::from_hours(1));
    let _engine = world.engine().await;
    die(&world).await;
    world.no_more_calls_than(1, Duration::from_secs(5)).await;
    world.advance(Duration::from_secs(3601));
    alerted(&world, 1).await;
}

#[tokio::test(start_paused = true)]
async fn alerts_go_by_mail_as_well() {
    let mut world = world().await;
    world.config.alerts.pending = Some(0);
    world.config.alerts.email = Some("ops@example.com".to_owned());
    let _engine = world.engine().await;
    die(&world).await;
    alerted(&world, 1).await;
    eventually(|| async { world.calls_to(&mail()).len() == 1 }).await;
    let alert = world.record(world.calls_to(&mail())[0].id).await.unwrap();
    let payload: serde_json::Value = serde_json::from_str(&alert.content.unwrap().payload).unwrap();
    assert_eq!(payload["to"], "ops@example.com");
    assert_eq!(payload["subject"], "Tidings: dead letters waiting: 1");
    assert_eq!(alert.summary.user, None);
}
