//! Works on claimed jobs: one task for each attempt, and inbox jobs many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings_core::delivery::Refused;
use tidings_core::error::StoreError;
use tidings_core::ports::jobs::Job;
use tidings_core::ports::sender::Reach;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::Shared;
use crate::destinations::Seat;
use crate::leases::Held;
use crate::pipeline::{Course, Done, Pipeline, Why};
use crate::settler::{Batch, Item, Settler};
use crate::tasks::pause;

/// How long a job keeps its slot when the store could not say who its recipient is. Without this it would be claimed
/// anew at once, and again.
const STORE_FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Works on claimed jobs.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    settler: Arc<Settler>,
    /// Cancelled when attempts under way have to be given up.
    abort: CancellationToken,
    tally: Arc<Tally>,
}

/// A claimed job and the note that we hold it.
pub(crate) struct Claimed {
    pub(crate) job: Job,
    pub(crate) held: Held,
}

/// What became of the jobs that were in hand when the stop came.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) finished: AtomicUsize,
    pub(crate) handed_back: AtomicUsize,
    pub(crate) abandoned: AtomicUsize,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        pipeline: Pipeline,
        settler: Arc<Settler>,
        abort: CancellationToken,
        tally: Arc<Tally>,
    ) -> Self {
        Self { shared, pipeline, settler, abort, tally }
    }

    /// Makes one attempt and hands its result to the settler. The seat is free once the settler has it.
    pub(crate) async fn attempt(self: Arc<Self>, claimed: Claimed, mut seat: Seat) {
        let Claimed { job, held } = claimed;
        let run = self.pipeline.run(&job, &held, Reach::Remote);
        // Only the run can be cut short. What it has decided is always handed on.
        let Some(result) = self.abort.run_until_cancelled(run).await else {
            self.tally.abandoned.fetch_add(1, Ordering::Relaxed);
            let id = job.lease.id;
            warn!(messageId = %id, "The attempt of {id} was cut short by the stop; what came of it is not known");
            return;
        };
        let Some(Done { settlement, course }) = accept(&job, result) else {
            return;
        };
        if let Course::Attempted { healthy: Some(healthy) } = course {
            seat.judge(healthy);
        }
        if course == Course::Unsent(Why::StoreFailed) {
            pause(&self.shared.stop, STORE_FAILED_PAUSE).await;
        }
        self.count(course);
        let item = Item::new(job.notification, settlement, held);
        self.settler.submit(Batch { items: vec![item], ahead: None }).await;
    }

    /// Takes inbox jobs through the pipeline, which does no more than decide, and hands them to the settler as one
    /// batch. `ahead` is given back when they are settled.
    pub(crate) async fn append(
        &self,
        claimed: Vec<Claimed>,
        ahead: Option<OwnedSemaphorePermit>,
    ) -> Result<(), StoreError> {
        let mut items = Vec::with_capacity(claimed.len());
        let mut store_failed = false;
        for Claimed { job, held } in claimed {
            let result = if store_failed {
                self.pipeline.hand_back(&job, Reach::Inbox)
            } else {
                self.pipeline.run(&job, &held, Reach::Inbox).await
            };
            if let Some(Done { settlement, course }) = accept(&job, result) {
                store_failed |= course == Course::Unsent(Why::StoreFailed);
                self.count(course);
                items.push(Item::new(job.notification, settlement, held));
            }
        }
        tidings_faultpoints::point("engine.before-append");
        self.settler.submit(Batch { items, ahead }).await;
        if store_failed {
            return Err(StoreError::Unavailable("recipients could not be looked up".to_owned()));
        }
        Ok(())
    }

    fn count(&self, course: Course) {
        if !self.shared.stop.is_cancelled() {
            return;
        }
        let counter = match course {
            Course::Unsent(Why::HandedBack | Why::StoreFailed) => &self.tally.handed_back,
            Course::Attempted { .. } | Course::Unsent(_) => &self.tally.finished,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was decided, unless the store handed out a job that was not being sent.
fn accept(job: &Job, result: Result<Done, Refused>) -> Option<Done> {
    result
        .inspect_err(|refused| {
            let id = job.lease.id;
            error!(messageId = %id, "The store handed out {id}, but {refused}; its lease is left to run out");
        })
        .ok()
}
