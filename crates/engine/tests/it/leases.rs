//! Workers that go away, and workers that come back late.

use std::time::Duration;

use tidings_core::delivery::{LAST_CHANCE_WITHIN, State};
use tidings_core::fairness::{Lane, QueueKey};
use tidings_core::id::{BootId, MessageId, TenantId};
use tidings_core::journal::Event;
use tidings_core::notification::Priority;
use tidings_core::ports::Jobs;
use tidings_core::ports::jobs::{Claim, LostBy};
use tidings_testkit::sample;

use crate::world::{BOOT, EARLIER_BOOT, World, eventually, mail, story};

/// Claims one e-mail as a process would that goes away after this.
async fn claim_and_vanish(world: &World, owner: BootId) {
    let lane = Lane { queue: QueueKey { tenant: TenantId::DEFAULT, destination: mail() }, priority: Priority::Normal };
    let claim = Claim { owner, now: world.now(), lease: Duration::from_secs(65), lanes: vec![(lane, 1)] };
    let claimed = world.store.claim(claim).await.expect("nothing makes the store fail");
    assert_eq!(claimed.len(), 1);
}

async fn expect_second_attempt(world: &World, id: MessageId) {
    let record = world.until_it_is(id, State::Delivered).await;
    assert_eq!(story(&record), [Event::Accepted, Event::LeaseLost, Event::Delivered]);
    assert_eq!(record.summary.attempts, 2);
    let calls = world.sender.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].id, calls[0].attempt), (id, 2));
    assert_eq!(world.metric("leases_lost_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_was_sending_is_taken_back_at_the_start() {
    let world = World::new().await;
    let id = world.submit(world.email()).await;
    claim_and_vanish(&world, EARLIER_BOOT).await;
    let _engine = world.engine().await;
    expect_second_attempt(&world, id).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_is_taken_back() {
    let world = World::new().await;
    let id = world.submit(world.email()).await;
    claim_and_vanish(&world, BOOT).await;
    let _engine = world.engine().await;
    world.no_more_calls_than(0, Duration::from_secs(15)).await;
    world.advance(Duration::from_secs(65));
    expect_second_attempt(&world, id).await;
}

#[tokio::test(start_paused = true)]
async fn a_notification_whose_workers_keep_vanishing_is_dead_in_the_end() {
    let world = World::new().await;
    let id = world.submit(world.email()).await;
    for _ in 0..3 {
        claim_and_vanish(&world, EARLIER_BOOT).await;
        // It takes back what it finds, and is gone before it claims anything.
        drop(world.engine().await);
        world.advance(LAST_CHANCE_WITHIN);
    }
    let record = world.until_it_is(id, State::Dead).await;
    assert!(record.summary.error.unwrap().starts_with("Crash suspect"));
    assert!(world.sender.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_takes_no_lease_from_a_worker_at_work() {
    let world = World::new().await;
    world.sender.hold(&mail());
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.calls(1).await;
    world.advance(Duration::from_hours(1));
    world.no_more_calls_than(1, Duration::from_secs(20)).await;
    world.sender.release(&mail());
    let record = world.until_it_is(id, State::Delivered).await;
    assert_eq!(record.summary.attempts, 1);
    assert_eq!(world.metric("leases_lost_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_not_hidden_by_those_of_workers_at_work() {
    let mut world = World::new().await;
    world.config.concurrency = 1_000;
    // More than are looked at in one step, all of them older than the one that is lost.
    let held: Vec<_> = (0..300).map(|n| world.webhook(&format!("https://host{}.example:443", n % 100))).collect();
    for webhook in &held {
        world.sender.hold(&webhook.destination);
    }
    let lost = world.submit(world.email()).await;
    claim_and_vanish(&world, BOOT).await;
    let _engine = world.engine().await;
    world.submit_all(held).await;
    world.calls(300).await;
    // To the store all these leases have run out now.
    world.advance(Duration::from_hours(1));
    let record = world.until_it_is(lost, State::Delivered).await;
    assert_eq!(story(&record), [Event::Accepted, Event::LeaseLost, Event::Delivered]);
    assert_eq!(world.metric("leases_lost_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_comes_too_late_changes_nothing() {
    let world = World::new().await;
    world.sender.hold(&mail());
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.calls(1).await;
    // Another process believes that the lease has run out.
    let lost = world.store.lost(LostBy::Deadline(world.now() + Duration::from_hours(1)), None, 10).await.unwrap();
    world.store.settle(vec![sample::loss(&lost[0], world.now())]).await.unwrap();
    world.advance(Duration::ZERO);
    world.calls(2).await;
    world.sender.release(&mail());
    let record = world.until_it_is(id, State::Delivered).await;
    assert_eq!(story(&record), [Event::Accepted, Event::LeaseLost, Event::Delivered]);
    assert_eq!(record.summary.attempts, 2);
    eventually(|| async { world.metric("stale_settlements_total") == 1 }).await;
    assert_eq!(world.metric("notifications_delivered_total{type=\"email\"}"), 1);
}
