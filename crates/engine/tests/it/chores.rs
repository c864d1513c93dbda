//! The work that nobody asks for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_core::delivery::{State, Verdict};
use tidings_core::error::StoreError;
use tidings_core::id::{TenantId, UserId};
use tidings_core::notification::{Content, NewNotification};
use tidings_core::ports::dead_letters::ReviewStatus;
use tidings_core::ports::streams::{Receipt, ReceiptFor};
use tidings_core::ports::upkeep::{Stats, Swept};
use tidings_core::ports::{Catalog, DeadLetters, Streams, Upkeep};
use tidings_core::retention::{Policy, Span};
use tidings_core::time::Timestamp;
use tidings_engine::Ports;
use tidings_testkit::{FakeStore, sample};

use crate::world::{BOOT, World, eventually, mail};

const DAY: Duration = Duration::from_hours(24);

/// A store that notes what retention looks at.
struct Watched {
    store: Arc<FakeStore>,
    sweeps: Mutex<Vec<Span>>,
}

impl Watched {
    fn over(world: &World) -> Arc<Self> {
        Arc::new(Self { store: world.store.clone(), sweeps: Mutex::default() })
    }

    /// Waits for so many more sweeps.
    async fn more_sweeps(&self, count: usize) {
        let before = self.sweeps.lock().len();
        eventually(|| async { self.sweeps.lock().len() >= before + count }).await;
    }
}

#[async_trait]
impl Upkeep for Watched {
    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats().await
    }

    async fn sweep(&self, policy: &Policy, span: Span, now: Timestamp, batch: usize) -> Result<Swept, StoreError> {
        let swept = self.store.sweep(policy, span, now, batch).await;
        self.sweeps.lock().push(span);
        swept
    }

    async fn forget_keys(&self, now: Timestamp, batch: usize) -> Result<usize, StoreError> {
        self.store.forget_keys(now, batch).await
    }

    async fn pending_erasures(&self, limit: usize) -> Result<Vec<(TenantId, UserId)>, StoreError> {
        self.store.pending_erasures(limit).await
    }

    async fn erase(&self, tenant: TenantId, user: UserId, now: Timestamp, batch: usize) -> Result<bool, StoreError> {
        self.store.erase(tenant, user, now, batch).await
    }
}

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
async fn a_pass_leaves_alone_what_cannot_be_due() {
    let world = World::new().await;
    let upkeep = Watched::over(&world);
    let _engine = world.engine_with(Ports { upkeep: upkeep.clone(), ..world.ports(BOOT) }).await;
    let id = world.submit(world.email()).await;
    world.until_it_is(id, State::Delivered).await;
    world.advance(4 * DAY);
    upkeep.more_sweeps(4).await;
    let sweeps = upkeep.sweeps.lock().clone();
    assert_eq!(sweeps[0], Span::ALL, "the first pass looks at everything");
    let later = &sweeps[2..];
    assert!(later.iter().all(|span| span.after.is_some_and(|after| after >= id)), "{later:?}");
    world.advance(3 * DAY);
    eventually(|| async { world.record(id).await.is_none() }).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_read_after_a_pass_is_deleted_in_time() {
    let world = World::new().await;
    let upkeep = Watched::over(&world);
    let _engine = world.engine_with(Ports { upkeep: upkeep.clone(), ..world.ports(BOOT) }).await;
    let id = world.submit(sample::in_app(world.id(), sample::TESTUSER, world.now())).await;
    world.until_it_is(id, State::Delivered).await;
    world.advance(3 * DAY + Duration::from_hours(1));
    upkeep.more_sweeps(2).await;
    let of = ReceiptFor::Numbers(vec![1]);
    let read = world.store.acknowledge(TenantId::DEFAULT, sample::TESTUSER, Receipt::Read, of, world.now()).await;
    assert_eq!(read.unwrap().unread, 0);
    world.advance(3 * DAY);
    eventually(|| async { world.record(id).await.is_none() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_is_interrupted_is_made_up_for() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.until_it_is(id, State::Delivered).await;
    world.store.fail_all(Some(StoreError::Unavailable("on purpose".to_owned())));
    world.advance(8 * DAY);
    tokio::time::sleep(Duration::from_mins(3)).await;
    world.store.fail_all(None);
    eventually(|| async { world.record(id).await.is_none() }).await;
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
