//! Destinations that fail are left alone, and tried again.

use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::MessageId;

use crate::world::{FAILS, World, host};

const TARGET: &str = "https://broken.example:443";

/// Submits webhooks to a host that fails, until its breaker is open.
async fn broken(world: &World) -> Vec<MessageId> {
    world.sender.always(&host(TARGET), FAILS);
    let webhooks = world.webhooks(TARGET, 20);
    let ids = webhooks.iter().map(|webhook| webhook.id).collect();
    world.submit_all(webhooks).await;
    world.calls(10).await;
    world.no_more_calls_than(13, Duration::from_secs(10)).await;
    ids
}

#[tokio::test(start_paused = true)]
async fn ten_failures_in_a_row_open_the_breaker() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let ids = broken(&world).await;
    assert_eq!(world.metric("breaker_opened_total"), 1);
    assert_eq!(world.metric("breakers_open"), 1);

    let last = world.until_it_is(ids[19], State::Queued).await;
    assert_eq!(last.summary.attempts, 0, "waiting at a breaker costs no attempt");
}

#[tokio::test(start_paused = true)]
async fn probes_that_succeed_close_it() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let ids = broken(&world).await;
    world.sender.always(&host(TARGET), Verdict::Delivered);
    world.advance(world.config.breaker.open_for);
    for id in ids {
        world.until_it_is(id, State::Delivered).await;
    }
    assert_eq!(world.metric("breakers_open"), 0);
    assert_eq!(world.metric("breaker_opened_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_it_for_longer() {
    let world = World::new().await;
    let _engine = world.engine().await;
    broken(&world).await;
    let before = world.sender.calls().len();
    world.advance(world.config.breaker.open_for);
    world.calls(before + 1).await;
    world.no_more_calls_than(before + world.config.breaker.probes, Duration::from_secs(10)).await;
    assert_eq!(world.metric("breaker_opened_total"), 2);
    assert_eq!(world.metric("breakers_open"), 1);

    let before = world.sender.calls().len();
    world.advance(world.config.breaker.open_for);
    world.no_more_calls_than(before, Duration::from_secs(10)).await;
    world.advance(world.config.breaker.open_for);
    world.calls(before + 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_makes_its_pause_no_longer() {
    let world = World::new().await;
    let _engine = world.engine().await;
    broken(&world).await;
    world.sender.always(&host(TARGET), Verdict::Delivered);
    world.clock.set(world.now() - Duration::from_hours(2));
    world.no_more_calls_than(world.sender.calls().len(), Duration::from_secs(5)).await;
    let before = world.sender.calls().len();
    world.clock.advance(world.config.breaker.open_for);
    world.submit(world.webhook(TARGET)).await;
    world.calls(before + 1).await;
    assert_eq!(world.metric("breaker_opened_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_open_it() {
    let world = World::new().await;
    let _engine = world.engine().await;
    world.sender.always(&host(TARGET), Verdict::Reject);
    world.submit_all(world.webhooks(TARGET, 30)).await;
    world.calls(30).await;
    assert_eq!(world.metric("breaker_opened_total"), 0);
}
