//! Who is served when there is more to do than can be done at once.

use std::time::Duration;

use tidings_core::delivery::State;
use tidings_core::id::TenantId;
use tidings_core::notification::{NewNotification, Priority};
use tidings_core::ports::Catalog;
use tidings_core::user::{NewUser, User};
use tidings_testkit::sample;

use crate::world::{FAILS, SOON, World, eventually, host};

const DEAD: &str = "https://dead.example:443";
const LIVE: &str = "https://live.example:443";

#[tokio::test(start_paused = true)]
async fn ten_thousand_for_a_host_that_hangs_do_not_delay_one_for_a_live_host() {
    let world = World::new().await;
    world.sender.hold(&host(DEAD));
    let _engine = world.engine().await;
    world.submit_all(world.webhooks(DEAD, 10_000)).await;
    world.calls(4).await;
    let began = tokio::time::Instant::now();
    let id = world.submit(world.webhook(LIVE)).await;
    world.until_it_is(id, State::Delivered).await;
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_for_a_host_that_fails_do_not_delay_one_for_a_live_host() {
    let world = World::new().await;
    world.sender.always(&host(DEAD), FAILS);
    let mut all = world.webhooks(DEAD, 10_000);
    let live = world.webhook(LIVE);
    let id = live.id;
    all.push(live);
    world.submit_all(all).await;
    let _engine = world.engine().await;
    world.until_it_is(id, State::Delivered).await;
    let calls = world.sender.calls();
    let position = calls.iter().position(|call| call.id == id).unwrap();
    assert!(position < world.config.concurrency, "{position}");
    world.no_more_calls_than(14, Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn many_hosts_that_hang_leave_slots_for_others() {
    let world = World::new().await;
    let hanging: Vec<String> = (0..3).map(|n| format!("https://hanging{n}.example:443")).collect();
    for target in &hanging {
        world.sender.hold(&host(target));
    }
    let _engine = world.engine().await;
    world.submit_all(hanging.iter().flat_map(|target| world.webhooks(target, 100)).collect()).await;
    world.calls(8).await;
    let id = world.submit(world.webhook(LIVE)).await;
    let began = tokio::time::Instant::now();
    world.until_it_is(id, State::Delivered).await;
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn more_blocked_lanes_than_are_looked_at_hide_no_other() {
    let mut world = World::new().await;
    world.config.per_destination = 1;
    world.config.breaker.consecutive_failures = 1;
    let _engine = world.engine().await;
    let targets: Vec<String> = (0..300).map(|n| format!("https://broken{n}.example:443")).collect();
    for target in &targets {
        world.sender.always(&host(target), FAILS);
    }
    let webhooks = targets.iter().flat_map(|target| world.webhooks(target, 3)).collect();
    world.submit_all(webhooks).await;
    eventually(|| async { world.metric("breakers_open") == 300 }).await;
    world.clock.advance(Duration::from_millis(1));
    let id = world.submit(world.webhook(LIVE)).await;
    world.until_it_is(id, State::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn a_loud_tenant_does_not_delay_a_quiet_one() {
    let world = World::new().await;
    let loud = world.store.tenant("loud", world.now()).await.unwrap();
    let user = sample::user(sample::USER1, "loud-user", world.now());
    let user = NewUser { user: User { tenant: loud, ..user.user }, ..user };
    world.store.create_user(user).await.unwrap().unwrap();
    let shout = |n: usize| NewNotification {
        tenant: loud,
        user: Some(sample::USER1),
        priority: Priority::Critical,
        ..world.webhook(&format!("https://loud{}.example:443", n % 50))
    };
    let mut all: Vec<NewNotification> = (0..1000).map(shout).collect();
    let quiet = world.webhooks(LIVE, 5);
    let ids: Vec<_> = quiet.iter().map(|notification| notification.id).collect();
    all.extend(quiet);
    world.submit_all(all).await;
    let _engine = world.engine().await;
    for id in &ids {
        world.until_it_is(*id, State::Delivered).await;
    }
    let calls = world.sender.calls();
    let last = calls.iter().rposition(|call| ids.contains(&call.id)).unwrap();
    assert!(last < 3 * world.config.concurrency, "{last}");
    assert_ne!(loud, TenantId::DEFAULT);
}

#[tokio::test(start_paused = true)]
async fn one_destination_takes_no_more_than_its_share() {
    let mut world = World::new().await;
    world.config.per_destination = 2;
    world.sender.hold(&host(LIVE));
    let _engine = world.engine().await;
    let webhooks = world.webhooks(LIVE, 20);
    let last = webhooks[19].id;
    world.submit_all(webhooks).await;
    world.calls(2).await;
    world.no_more_calls_than(2, Duration::from_secs(5)).await;
    world.sender.release(&host(LIVE));
    world.until_it_is(last, State::Delivered).await;
    assert_eq!(world.sender.most_at_once(&host(LIVE)), 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_run_at_once_than_allowed() {
    let mut world = World::new().await;
    world.config.concurrency = 3;
    let targets: Vec<String> = (0..8).map(|n| format!("https://slow{n}.example:443")).collect();
    for target in &targets {
        world.sender.hold(&host(target));
    }
    let _engine = world.engine().await;
    world.submit_all(targets.iter().map(|target| world.webhook(target)).collect()).await;
    world.calls(3).await;
    assert_eq!(world.metric("attempts_in_flight"), 3);
    world.no_more_calls_than(3, Duration::from_secs(5)).await;
    for target in &targets {
        world.sender.release(&host(target));
    }
    assert!(world.sender.wait_for_calls(8, SOON).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn inboxes_are_filled_while_all_slots_are_taken() {
    let mut world = World::new().await;
    world.config.concurrency = 1;
    world.sender.hold(&host(DEAD));
    let _engine = world.engine().await;
    world.submit(world.webhook(DEAD)).await;
    world.calls(1).await;
    let id = world.submit(sample::in_app(world.id(), sample::TESTUSER, world.now())).await;
    world.until_it_is(id, State::Delivered).await;
}
