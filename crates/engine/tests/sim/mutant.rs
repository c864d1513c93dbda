//! Stores with a fault of their own, to see that the checks can fail.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_core::error::StoreError;
use tidings_core::id::MessageId;
use tidings_core::idempotency::Idempotency;
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::ports::jobs::{Claim, Job, Lost, LostBy, Ready, Settled, Settlement};
use tidings_core::ports::{Intake, Jobs};
use tidings_core::time::Timestamp;
use tidings_testkit::FakeStore;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// It settles whoever holds the lease.
    IgnoresFence,
    /// It says that it has settled, and has not.
    LosesSettlement,
    /// It says that it has accepted, and has not.
    LosesNotification,
    /// It takes a key for a new one although it has seen it.
    ForgetsKey,
    /// It hands out a job that somebody has.
    HandsOutTwice,
}

impl Mutant {
    pub(crate) const ALL: [Self; 5] =
        [Self::IgnoresFence, Self::LosesSettlement, Self::LosesNotification, Self::ForgetsKey, Self::HandsOutTwice];
}

/// Each such call is the one that goes wrong.
const EVERY: usize = 3;

/// A store in memory with something wrong.
pub(crate) struct Broken {
    store: Arc<FakeStore>,
    mutant: Mutant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: usize,
    fences: HashMap<MessageId, i64>,
}

impl Broken {
    pub(crate) fn over(store: Arc<FakeStore>, mutant: Mutant) -> Self {
        Self { store, mutant, state: Mutex::default() }
    }

    /// Whether this is a store of that kind and it is time for its fault.
    fn strikes(&self, mutant: Mutant) -> bool {
        if self.mutant != mutant {
            return false;
        }
        let mut state = self.state.lock();
        state.calls += 1;
        state.calls.is_multiple_of(EVERY)
    }
}

#[async_trait]
impl Intake for Broken {
    async fn accept(&self, mut batch: Vec<Submission>) -> Result<Vec<Acceptance>, StoreError> {
        if self.strikes(Mutant::LosesNotification) {
            return Ok(batch.iter().map(|lost| Acceptance::Accepted(lost.notification.id)).collect());
        }
        if self.mutant == Mutant::ForgetsKey {
            for submission in &mut batch {
                submission.idempotency = None;
            }
        }
        self.store.accept(batch).await
    }

    async fn replay(&self, key: &Idempotency, now: Timestamp) -> Result<Option<Acceptance>, StoreError> {
        self.store.replay(key, now).await
    }
}

#[async_trait]
impl Jobs for Broken {
    async fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Result<Ready, StoreError> {
        self.store.ready(now, limit, depth).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Job>, StoreError> {
        let mut jobs = self.store.claim(claim).await?;
        self.state.lock().fences.extend(jobs.iter().map(|job| (job.lease.id, job.lease.fence)));
        if !jobs.is_empty() && self.strikes(Mutant::HandsOutTwice) {
            jobs.extend(jobs.first().cloned());
        }
        Ok(jobs)
    }

    async fn settle(&self, mut settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        if self.mutant == Mutant::IgnoresFence {
            let state = self.state.lock();
            for settlement in &mut settlements {
                let lease = &mut settlement.lease;
                lease.fence = state.fences.get(&lease.id).copied().unwrap_or(lease.fence);
            }
        }
        if self.strikes(Mutant::LosesSettlement) {
            return Ok(vec![Settled::Done; settlements.len()]);
        }
        self.store.settle(settlements).await
    }

    async fn lost(&self, by: LostBy, after: Option<MessageId>, limit: usize) -> Result<Vec<Lost>, StoreError> {
        self.store.lost(by, after, limit).await
    }
}
