//! The work that nobody asks for.

use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::TenantId;
use tidings_core::notification::{Content, NewNotification};
use tidings_core::ports::dead_letters::ReviewStatus;
use tidings_core::ports::{Catalog, DeadLetters, Upkeep};
use tidings_testkit::sample;

use crate::world::{World, eventually, mail};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test(start_paused = true)]
async fn what_was_kept_long_enough_is_deleted() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.until_it_is(id, State::Delivered).await;
    world.advance(8 * DAY);
    let young = world.submit(world.email()).await;
    eventually(|| async { world.record(id).await.is_none() }).await;
    assert!(world.record(young).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_moved_makes_a_sweep_due() {
    let mut world = World::new().await;
    world.config.sweep_every = Duration::from_hours(1);
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.until_it_is(id, State::Delivered).await;
    world.advance(8 * DAY);
    let began = tokio::time::Instant::now();
    eventually(|| async { world.record(id).await.is_none() }).await;
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_erasure_is_completed() {
    let world = World::new().await;
    let before = world.engine().await;
    let id = world.submit(world.email()).await;
    world.until_it_is(id, State::Delivered).await;
    drop(before);
    assert!(world.store.delete_user(TenantId::DEFAULT, sample::TESTUSER, world.now()).await.unwrap());
    let _engine = world.engine().await;
    world.until(id, |record| record.content.is_none()).await;
    assert!(world.store.pending_erasures(10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_redriven_by_themselves_where_that_is_switched_on() {
    let mut world = World::new().await;
    world.config.automatic_redrive = true;
    world.sender.script(&mail(), [Verdict::Reject]);
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.until_it_is(id, State::Dead).await;
    let letter = world.store.dead_letter(TenantId::DEFAULT, id).await.unwrap().unwrap();
    assert_eq!(letter.next_redrive_at, Some(world.now() + Duration::from_mins(1)));
    world.no_more_calls_than(1, Duration::from_secs(10)).await;

    world.advance(Duration::from_mins(1));
    let calls = world.calls(2).await;
    let letter = world.store.dead_letter(TenantId::DEFAULT, id).await.unwrap().unwrap();
    assert_eq!((letter.review_status, letter.redriven_as), (ReviewStatus::Redriven, Some(calls[1].id)));
    let redriven = world.until_it_is(calls[1].id, State::Delivered).await;
    assert_eq!(redriven.summary.redrive_of, Some(id));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_redriven_is_not_in_the_way_of_others() {
    let mut world = World::new().await;
    world.config.automatic_redrive = true;
    world.sender.script(&mail(), [Verdict::Reject, Verdict::Reject]);
    let _engine = world.engine().await;
    let content = Content { payload: r#"{"refuse":"not any more"}"#.to_owned(), metadata: None };
    let stuck = NewNotification { content, ..world.email() };
    let stuck = world.submit(stuck).await;
    world.until_it_is(stuck, State::Dead).await;
    let good = world.submit(world.email()).await;
    world.until_it_is(good, State::Dead).await;
    world.advance(Duration::from_mins(1));
    let calls = world.calls(3).await;
    world.until_it_is(calls[2].id, State::Delivered).await;
    let letter = world.store.dead_letter(TenantId::DEFAULT, stuck).await.unwrap().unwrap();
    assert_eq!(letter.review_status, ReviewStatus::Pending);
}
