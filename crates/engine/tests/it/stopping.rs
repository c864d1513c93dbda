//! The end of a process, orderly or not.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::State;
use tidings_core::error::StoreError;
use tidings_core::id::BootId;
use tidings_core::journal::Event;
use tidings_engine::{Drained, Engine, Metrics};
use tidings_testkit::sample;

use crate::storing::Meddler;
use crate::world::{BOOT, World, mail, story};

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_finished() {
    let world = World::new().await;
    world.sender.hold(&mail());
    let engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.calls(1).await;
    let let_go = async {
        tokio::task::yield_now().await;
        world.sender.release(&mail());
    };
    let (drained, ()) = tokio::join!(engine.drain(Duration::from_secs(10)), let_go);
    assert_eq!(drained, Drained { finished: 1, handed_back: 0, complete: true });
    assert_eq!(world.record(id).await.unwrap().summary.state, State::Delivered);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_claimed() {
    let world = World::new().await;
    let engine = world.engine().await;
    world.until_it_is(world.submit(world.email()).await, State::Delivered).await;
    let drained = engine.drain(Duration::from_secs(10)).await;
    assert_eq!(drained, Drained { finished: 0, handed_back: 0, complete: true });
    world.submit(world.email()).await;
    world.no_more_calls_than(1, Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_left_to_the_rescue() {
    let world = World::new().await;
    world.sender.hold(&mail());
    let engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.calls(1).await;
    let began = tokio::time::Instant::now();
    let drained = engine.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, Drained { finished: 0, handed_back: 0, complete: false });
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(world.record(id).await.unwrap().summary.state, State::Sending);

    world.sender.release(&mail());
    let next_boot = BootId(sample::TESTUSER.0);
    let _engine = world.engine_with(world.ports(next_boot)).await;
    let record = world.until_it_is(id, State::Delivered).await;
    assert_eq!(story(&record), [Event::Accepted, Event::LeaseLost, Event::Delivered]);
}

#[tokio::test(start_paused = true)]
async fn what_was_claimed_but_not_begun_is_handed_back() {
    let world = World::new().await;
    let jobs = Arc::new(Meddler::over(&world.store));
    jobs.hold_claims();
    let engine = world.engine_on(jobs.clone()).await;
    let id = world.submit(world.email()).await;
    world.until_it_is(id, State::Sending).await;
    let let_go = async {
        tokio::task::yield_now().await;
        jobs.release_claims();
    };
    let (drained, ()) = tokio::join!(engine.drain(Duration::from_secs(10)), let_go);
    assert_eq!(drained, Drained { finished: 0, handed_back: 1, complete: true });
    let record = world.record(id).await.unwrap();
    assert_eq!((record.summary.state, record.summary.attempts), (State::Queued, 0));
    assert_eq!(story(&record), [Event::Accepted]);
    assert!(world.sender.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_dropped_claims_nothing_more() {
    let world = World::new().await;
    drop(world.engine().await);
    world.submit(world.email()).await;
    world.no_more_calls_than(0, Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_the_start_is_told_to_the_caller() {
    let world = World::new().await;
    world.store.fail_next(StoreError::Unavailable("on purpose".to_owned()));
    let metrics = Arc::new(Metrics::register(&mut prometheus_client::registry::Registry::default()));
    let started = Engine::start(world.config.clone(), world.ports(BOOT), metrics).await;
    assert!(matches!(started.err(), Some(StoreError::Unavailable(_))));
}
