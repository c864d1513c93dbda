//! What happens while the store fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_core::delivery::State;
use tidings_core::error::StoreError;
use tidings_core::id::MessageId;
use tidings_core::notification::NewNotification;
use tidings_core::ports::Jobs;
use tidings_core::ports::jobs::{Claim, Job, Lost, LostBy, Ready, Settled, Settlement};
use tidings_core::time::Timestamp;
use tidings_testkit::{FakeStore, sample};
use tokio::sync::watch;

use crate::world::{World, host, mail};

/// A queue that does what it is told to at the worst moment.
pub(crate) struct Meddler {
    store: Arc<FakeStore>,
    claims_are_held: watch::Sender<bool>,
    /// A settlement that can never be stored.
    poison: Mutex<Option<MessageId>>,
}

impl Meddler {
    pub(crate) fn over(store: &Arc<FakeStore>) -> Self {
        Self { store: store.clone(), claims_are_held: watch::Sender::new(false), poison: Mutex::default() }
    }

    /// From now on claims are made, but do not return.
    pub(crate) fn hold_claims(&self) {
        self.claims_are_held.send_replace(true);
    }

    pub(crate) fn release_claims(&self) {
        self.claims_are_held.send_replace(false);
    }
}

#[async_trait]
impl Jobs for Meddler {
    async fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Result<Ready, StoreError> {
        self.store.ready(now, limit, depth).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Job>, StoreError> {
        let jobs = self.store.claim(claim).await;
        let mut held = self.claims_are_held.subscribe();
        drop(held.wait_for(|held| !held).await);
        jobs
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        let poison = *self.poison.lock();
        if settlements.iter().any(|settlement| Some(settlement.lease.id) == poison) {
            return Err(StoreError::Inconsistent("on purpose".to_owned()));
        }
        self.store.settle(settlements).await
    }

    async fn lost(&self, by: LostBy, after: Option<MessageId>, limit: usize) -> Result<Vec<Lost>, StoreError> {
        self.store.lost(by, after, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_until_the_store_takes_it() {
    let world = World::new().await;
    world.sender.hold(&mail());
    let _engine = world.engine().await;
    let id = world.submit(world.email()).await;
    world.calls(1).await;
    world.store.fail_all(Some(StoreError::Unavailable("on purpose".to_owned())));
    world.sender.release(&mail());
    world.no_more_calls_than(1, Duration::from_secs(20)).await;
    world.store.fail_all(None);
    let record = world.until_it_is(id, State::Delivered).await;
    assert_eq!(record.summary.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn work_goes_on_when_the_store_is_back() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let id = world.id();
    let later = NewNotification { due_at: world.now() + Duration::from_mins(1), ..sample::email(id, world.now()) };
    world.submit(later).await;
    world.store.fail_all(Some(StoreError::Unavailable("on purpose".to_owned())));
    world.advance(Duration::from_mins(1));
    world.no_more_calls_than(0, Duration::from_secs(20)).await;
    world.store.fail_all(None);
    world.until_it_is(id, State::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_stored_harms_no_other() {
    let world = World::new().await;
    let jobs = Arc::new(Meddler::over(&world.store));
    let poisoned = sample::in_app(world.id(), sample::TESTUSER, world.now());
    let neighbour = sample::in_app(world.id(), sample::TESTUSER, world.now());
    let ids = (poisoned.id, neighbour.id);
    *jobs.poison.lock() = Some(ids.0);
    world.submit_all(vec![poisoned, neighbour]).await;
    let _engine = world.engine_on(jobs.clone()).await;
    world.until_it_is(ids.1, State::Delivered).await;
    assert_eq!(world.record(ids.0).await.unwrap().summary.state, State::Sending);

    // Once the store takes it, the rescue finds it.
    *jobs.poison.lock() = None;
    world.advance(world.config.attempt_timeout * 3);
    world.until_it_is(ids.0, State::Delivered).await;
}

#[tokio::test(start_paused = true)]
async fn results_of_many_attempts_are_stored() {
    let world = World::new().await;
    let _engine = world.engine().await;
    let webhooks: Vec<_> = (0..200).map(|n| world.webhook(&format!("https://host{}.example:443", n % 7))).collect();
    let ids: Vec<_> = webhooks.iter().map(|webhook| webhook.id).collect();
    world.submit_all(webhooks).await;
    for id in ids {
        world.until_it_is(id, State::Delivered).await;
    }
    assert_eq!(world.metric("notifications_delivered_total{type=\"webhook\"}"), 200);
    assert!(!world.calls_to(&host("https://host0.example:443")).is_empty());
}
