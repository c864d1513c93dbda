//! What becomes of attempts that fail.

use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::TenantId;
use tidings_core::journal::{Event, Outcome};
use tidings_core::notification::NewNotification;
use tidings_core::ports::DeadLetters;
use tidings_core::retry::{Guarantee, Policy, Rule};

use crate::world::{FAILS, World, eventually, mail, said, story};

#[tokio::test(start_paused = true)]
async fn three_retries_follow_on_schedule_and_then_it_is_dead() {
    let world = World::new().await;
    world.sender.always(&mail(), FAILS);
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    for (attempts, seconds) in [(1, 2), (2, 10), (3, 60)] {
        let failed_at = world.now();
        let record = world.until_retry_after(id, attempts).await;
        let delay = record.summary.due_at.since(failed_at);
        let base = Duration::from_secs(seconds);
        assert!(delay >= base.mul_f64(0.8) && delay <= base.mul_f64(1.2), "{delay:?} after attempt {attempts}");
        world.clock.set(record.summary.due_at - Duration::from_millis(1));
        world.advance(Duration::ZERO);
        world.no_more_calls_than(attempts as usize, Duration::from_millis(1)).await;
        world.advance(Duration::from_millis(1));
    }
    let record = world.until_it_is(id, State::Dead).await;
    let expected = [Event::Accepted, Event::RetryScheduled, Event::RetryScheduled, Event::RetryScheduled, Event::Dead];
    assert_eq!(story(&record), expected);
    assert!(world.calls(4).await.iter().map(|call| call.attempt).eq(1..=4));
    assert_eq!(world.metric("delivery_retries_total{type=\"email\"}"), 3);
    assert_eq!(world.metric("notifications_failed_total{type=\"email\",state=\"dead\"}"), 1);
    let letter = world.store.dead_letter(TenantId::DEFAULT, id).await.unwrap().unwrap();
    assert_eq!((letter.attempts, letter.next_redrive_at), (4, None));
}

#[tokio::test(start_paused = true)]
async fn a_provider_may_ask_for_more_time() {
    let world = World::new().await;
    let wait = Duration::from_secs(90);
    world.sender.script(&mail(), [Verdict::Retry { after: Some(wait) }]);
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    let record = world.until_retry_after(id, 1).await;
    assert_eq!(record.summary.due_at, world.now() + wait);
    world.advance(Duration::from_mins(1));
    world.no_more_calls_than(1, Duration::from_secs(5)).await;
    world.advance(Duration::from_secs(30));
    world.until_it_is(id, State::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_dies_at_once() {
    let world = World::new().await;
    world.sender.script(&mail(), [Verdict::Reject]);
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    let record = world.until_it_is(id, State::Dead).await;
    assert_eq!(story(&record), [Event::Accepted, Event::Dead]);
    assert_eq!(record.summary.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_not_waited_for() {
    let world = World::new().await;
    world.sender.hold(&mail());
    let _engine = world.engine().await;
    let began = tokio::time::Instant::now();
    let id = world.submit(world.email()).await;
    world.calls(1).await;
    eventually(|| async { world.record(id).await.is_some_and(|record| record.journal.len() == 2) }).await;
    assert!(began.elapsed() >= world.config.attempt_timeout && began.elapsed() < Duration::from_secs(32));
    let record = world.until_retry_after(id, 1).await;
    assert_eq!(said(&record), ["no answer within 30 s"]);
    let attempt = record.journal[1].attempt.clone().unwrap();
    assert_eq!((attempt.provider.as_str(), attempt.outcome), ("email", Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_provider_module_that_panics_harms_only_its_notification() {
    let world = World::new().await;
    world.sender.panic_next(&mail());
    let _engine = world.engine().await;
    let poison = world.submit(world.email()).await;
    let record = world.until_retry_after(poison, 1).await;
    assert_eq!(said(&record), ["the provider module panicked"]);
    let neighbour = world.submit(world.email()).await;
    world.until_it_is(neighbour, State::Delivered).await;
    world.advance(Duration::from_secs(3));
    world.until_it_is(poison, State::Delivered).await;
    assert_eq!(world.metric("attempts_in_flight"), 0);
}

#[tokio::test(start_paused = true)]
async fn panics_do_not_close_a_destination() {
    let world = World::new().await;
    let _engine = world.engine().await;
    for _ in 0..12 {
        world.sender.panic_next(&mail());
        let id = world.submit(world.email()).await;
        world.until_retry_after(id, 1).await;
    }
    assert_eq!(world.metric("breaker_opened_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_may_have_arrived_is_not_sent_again() {
    let mut world = World::new().await;
    let policy = Policy { guarantee: Guarantee::AtMostOnce, ..Policy::default() };
    world.config.policies.rules.push(Rule { pattern: "notification.*.otp".parse().unwrap(), policy });
    world.sender.always(&mail(), Verdict::Unknown);
    let _engine = world.engine().await;
    let id = world.submit(NewNotification { category: "otp".to_owned(), ..world.email() }).await;
    let record = world.until_it_is(id, State::Dead).await;
    assert_eq!(record.summary.attempts, 1);
    world.advance(Duration::from_hours(1));
    world.no_more_calls_than(1, Duration::from_secs(5)).await;
}
