//! A layer directly over the store that sees what is really done, faults or not, and keeps books of its own about leases.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_core::delivery::{Next, Transition};
use tidings_core::error::StoreError;
use tidings_core::id::MessageId;
use tidings_core::journal::{Entry, Event};
use tidings_core::ports::Jobs;
use tidings_core::ports::jobs::{Claim, Job, Lost, LostBy, Ready, Settled, Settlement};
use tidings_core::retry::Policies;
use tidings_core::time::Timestamp;
use tidings_testkit::sim::Process;

use crate::trace::Trace;

/// A run with more calls than this does not rest when there is nothing to do.
const MOST_CALLS: usize = 50_000;

/// The auditor of a queue.
pub(crate) struct Audit {
    jobs: Arc<dyn Jobs>,
    process: Arc<Process>,
    trace: Arc<Trace>,
    policies: Policies,
    books: Mutex<Books>,
}

/// What was really done.
#[derive(Clone, Default)]
pub(crate) struct Books {
    calls: usize,
    /// The fences of the leases that are held.
    held: HashMap<MessageId, i64>,
    /// The greatest fence of each notification.
    fences: HashMap<MessageId, i64>,
    /// The journal entries of settlements that were answered with `Done`.
    pub(crate) settled: BTreeMap<MessageId, Vec<Entry>>,
    /// What those stored besides.
    pub(crate) follow_ups: Vec<MessageId>,
}

impl Audit {
    pub(crate) fn over(jobs: Arc<dyn Jobs>, process: Arc<Process>, trace: Arc<Trace>, policies: Policies) -> Self {
        Self { jobs, process, trace, policies, books: Mutex::default() }
    }

    pub(crate) fn books(&self) -> Books {
        self.books.lock().clone()
    }

    /// Ends a run that never rests.
    async fn count(&self) {
        let calls = {
            let mut books = self.books.lock();
            books.calls += 1;
            books.calls
        };
        if calls > MOST_CALLS {
            self.trace.violation("the engine calls the store without rest");
            self.process.end::<()>().await;
        }
    }

    fn note_claim(&self, job: &Job, now: Timestamp) {
        let (id, fence) = (job.lease.id, job.lease.fence);
        self.trace.note(format_args!("claim {id} fence {fence} attempt {}", job.delivery.attempts));
        let (held, before) = {
            let mut books = self.books.lock();
            (books.held.insert(id, fence), books.fences.insert(id, fence).unwrap_or(0))
        };
        if held.is_some() {
            self.trace.violation(format_args!("{id} was handed out although it is leased"));
        }
        if fence <= before {
            self.trace.violation(format_args!("the fence of {id} went from {before} to {fence}"));
        }
        if job.notification.due_at > now {
            self.trace.violation(format_args!("{id} was handed out before it was due"));
        }
    }

    fn note_settlement(&self, settlement: &Settlement, answer: Settled) {
        let Settlement { lease, transition, follow_up, .. } = settlement;
        let (id, fence) = (lease.id, lease.fence);
        let state = transition.next.state().as_str();
        self.trace.note(format_args!("settle {id} fence {fence}: {state}, {answer:?}"));
        if answer == Settled::Stale {
            return;
        }
        let mut books = self.books.lock();
        let held = books.held.remove(&id);
        books.settled.entry(id).or_default().extend(transition.entry.clone());
        books.follow_ups.extend(follow_up.as_ref().map(|new| new.id));
        drop(books);
        if held != Some(fence) {
            self.trace.violation(format_args!("{id} was settled under fence {fence}, but its lease has {held:?}"));
        }
        if self.is_too_early(transition) {
            self.trace.violation(format_args!("the retry of {id} is due too early: {transition:?}"));
        }
    }

    /// Whether a retry comes before its schedule allows.
    fn is_too_early(&self, transition: &Transition) -> bool {
        let (Next::Queue { due_at }, Some(entry)) = (transition.next, &transition.entry) else {
            return false;
        };
        let judged = transition.attempts.saturating_sub(transition.lost_leases);
        let least = self.policies.default.delay(judged, None, 0.0);
        // Stored times have whole milliseconds.
        let waits = due_at.since(entry.at) + Duration::from_millis(1);
        entry.event == Event::RetryScheduled && least.is_none_or(|least| waits < least)
    }
}

#[async_trait]
impl Jobs for Audit {
    async fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Result<Ready, StoreError> {
        self.count().await;
        self.jobs.ready(now, limit, depth).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Job>, StoreError> {
        self.count().await;
        let now = claim.now;
        let jobs = self.jobs.claim(claim).await?;
        for job in &jobs {
            self.note_claim(job, now);
        }
        Ok(jobs)
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        self.count().await;
        let answers = self.jobs.settle(settlements.clone()).await?;
        if answers.len() != settlements.len() {
            self.trace.violation("the store does not answer every settlement");
        }
        for (settlement, answer) in settlements.iter().zip(&answers) {
            self.note_settlement(settlement, *answer);
        }
        Ok(answers)
    }

    async fn lost(&self, by: LostBy, after: Option<MessageId>, limit: usize) -> Result<Vec<Lost>, StoreError> {
        self.count().await;
        self.jobs.lost(by, after, limit).await
    }
}
