//! From the queue to the provider.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::State;
use tidings_core::id::TenantId;
use tidings_core::journal::{Event, Outcome};
use tidings_core::notification::NewNotification;
use tidings_core::ports::streams::InboxRange;
use tidings_core::ports::{Catalog, Intake, Streams};
use tidings_engine::Ports;
use tidings_testkit::sample;
use tidings_testkit::sim::{Call, Fault, FaultyStore, Layers};

use crate::world::{BOOT, World, mail, story};

#[tokio::test(start_paused = true)]
async fn what_is_due_is_delivered() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    let record = world.until_it_is(id, State::Delivered).await;
    assert_eq!(story(&record), [Event::Accepted, Event::Delivered]);
    let attempt = record.journal[1].attempt.clone().unwrap();
    assert_eq!((attempt.number, attempt.provider.as_str(), attempt.outcome), (1, "fake", Outcome::Delivered));

    let call = &world.calls(1).await[0];
    assert_eq!((call.id, call.attempt), (id, 1));
    assert_eq!(call.contacts.email.as_deref(), Some("testuser@example.com"));
    assert_eq!(world.metric("notifications_delivered_total{type=\"email\"}"), 1);
    assert_eq!(world.metric("delivery_attempts_total{type=\"email\",provider=\"fake\",outcome=\"delivered\"}"), 1);
    assert_eq!(world.metric("message_delivery_latency_seconds_count"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_is_filled_in_order_without_gaps() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let entries: Vec<NewNotification> =
        (0..600).map(|_| sample::in_app(world.id(), sample::TESTUSER, world.now())).collect();
    let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    world.submit_all(entries).await;
    world.until_it_is(ids[599], State::Delivered).await;

    let inbox = world.store.read_inbox(TenantId::DEFAULT, sample::TESTUSER, InboxRange::After(0), 1000).await.unwrap();
    assert!(inbox.entries.iter().map(|entry| entry.number).eq(1..=600));
    assert!(inbox.entries.iter().map(|entry| entry.id).eq(ids));
    assert!(world.sender.calls().is_empty(), "nothing is sent for an inbox");
}

#[tokio::test(start_paused = true)]
async fn what_is_scheduled_waits_for_its_time() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let later = NewNotification { due_at: world.now() + Duration::from_hours(1), ..world.email() };
    let id = world.submit(later).await;
    world.no_more_calls_than(0, Duration::from_secs(10)).await;
    world.advance(Duration::from_hours(1));
    world.until_it_is(id, State::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_is_noticed_without_a_hint() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let later = NewNotification { due_at: world.now() + Duration::from_hours(1), ..world.email() };
    let id = world.submit(later).await;
    world.no_more_calls_than(0, Duration::from_secs(3)).await;
    world.clock.advance(Duration::from_hours(1));
    world.until_it_is(id, State::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_not_sent() {
    let world = World::new().await;
    let short = NewNotification { expires_at: Some(world.now() + Duration::from_secs(5)), ..world.email() };
    let id = world.submit(short).await;
    world.clock.advance(Duration::from_secs(5));
    let _engine = world.engine().await;
    let record = world.until_it_is(id, State::Expired).await;
    assert_eq!(record.summary.attempts, 0);
    assert!(world.sender.calls().is_empty());
    assert_eq!(world.metric("notifications_failed_total{type=\"email\",state=\"expired\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_expires_while_its_recipient_is_looked_up_is_not_sent() {
    let world = World::new().await;
    let catalog = Arc::new(FaultyStore::over(Layers::of(&world.store), Arc::default()));
    catalog.arm(Call::User, Fault::DelayBefore(Duration::from_secs(10)));
    let _engine = world.engine_with(Ports { catalog, ..world.ports(BOOT) }).await;
    let short = NewNotification { expires_at: Some(world.now() + Duration::from_secs(5)), ..world.email() };
    let id = world.submit(short).await;
    // The catalog is being asked, and takes its time.
    world.no_more_calls_than(0, Duration::from_secs(1)).await;
    assert_eq!(world.record(id).await.unwrap().summary.state, State::Sending);
    world.advance(Duration::from_secs(5));
    let record = world.until_it_is(id, State::Expired).await;
    assert_eq!(story(&record), [Event::Accepted, Event::Expired]);
    assert_eq!(record.summary.attempts, 0);
    assert!(world.sender.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_a_user_who_is_gone() {
    let world = World::new().await;
    let id = world.submit(world.email()).await;
    assert!(world.store.delete_user(TenantId::DEFAULT, sample::TESTUSER, world.now()).await.unwrap());
    let _engine = world.engine().await;
    let record = world.until_it_is(id, State::Cancelled).await;
    assert_eq!(record.summary.attempts, 0);
    assert!(world.calls_to(&mail()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_tidings_itself_sends_needs_no_user() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let id = world.submit(sample::system(world.id(), world.now())).await;
    world.until_it_is(id, State::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn hints_may_be_lost() {
    let world = World::new().await;
    let _engine = world.engine().await;
    world.no_more_calls_than(0, Duration::from_secs(3)).await;
    let unannounced = world.email();
    let id = unannounced.id;
    world.store.accept(vec![sample::unkeyed(unannounced)]).await.unwrap();
    world.until_it_is(id, State::Delivered).await;
}
