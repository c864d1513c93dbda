//! Takes back what was being sent by somebody who went away.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::Event;
use tidings_core::error::StoreError;
use tidings_core::ports::jobs::{Job, Lost, LostBy, Settled, Settlement};
use tidings_core::ports::sender::Reach;
use tracing::{error, warn};

use crate::config::Shared;
use crate::decisions::Decisions;
use crate::leases::Leases;
use crate::tasks::pause;

/// How often leases that ran out are looked for.
const EVERY: Duration = Duration::from_secs(5);

/// How many are taken back in one step.
const STEP: usize = 256;

/// Takes back lost leases.
pub(crate) struct Rescue {
    pub(crate) shared: Arc<Shared>,
    pub(crate) decisions: Arc<Decisions>,
    pub(crate) leases: Arc<Leases>,
}

impl Rescue {
    /// Takes back all leases of processes before this one. The caller knows that none of them is alive.
    pub(crate) async fn take_over(&self) -> Result<usize, StoreError> {
        self.take_back(LostBy::OtherThan(self.shared.ports.boot)).await
    }

    /// Takes back leases that ran out, until the stop.
    pub(crate) async fn run(self: Arc<Self>) {
        while pause(&self.shared.stop, EVERY).await {
            match self.take_back(LostBy::Deadline(self.shared.now())).await {
                Ok(0) => {}
                Ok(_) => self.shared.bell.notify_one(),
                Err(error) => warn!("Lost leases could not be taken back and are looked for again: {error}"),
            }
        }
    }

    async fn take_back(&self, by: LostBy) -> Result<usize, StoreError> {
        let (mut taken_back, mut after) = (0, None);
        loop {
            let lost = self.shared.ports.jobs.lost(by, after, STEP).await?;
            tidings_faultpoints::point("engine.in-rescue");
            let is_last = lost.len() < STEP;
            // A page may hold nothing but leases whose workers are at work, and those after it be lost all the same.
            after = lost.last().map(|lost| lost.lease.id);
            taken_back += self.settle(lost).await?;
            if is_last || self.shared.stop.is_cancelled() {
                return Ok(taken_back);
            }
        }
    }

    async fn settle(&self, lost: Vec<Lost>) -> Result<usize, StoreError> {
        let (jobs, settlements): (Vec<Job>, Vec<Settlement>) =
            lost.into_iter().filter(|lost| !self.leases.has(&lost.lease)).filter_map(|lost| self.decide(lost)).unzip();
        if settlements.is_empty() {
            return Ok(0);
        }
        let transitions: Vec<_> = settlements.iter().map(|settlement| settlement.transition.clone()).collect();
        let answers = self.shared.ports.jobs.settle(settlements).await?;
        let mut settled = 0;
        for ((job, transition), answer) in jobs.iter().zip(&transitions).zip(answers) {
            // Stale: its worker was only slow, and has settled it in the meantime.
            if answer == Settled::Done {
                settled += 1;
                let (id, notification) = (job.lease.id, &job.notification);
                let state = transition.next.state().as_str();
                warn!(
                    messageId = %id,
                    "type" = notification.channel,
                    correlationId = notification.context.correlation_id,
                    attempt = job.delivery.attempts,
                    "The worker of {id} went away during the attempt; it is {state} now"
                );
                self.shared.metrics.leases_lost.inc();
                self.shared.metrics.settled(&notification.channel, notification.accepted_at, transition);
            }
        }
        Ok(settled)
    }

    fn decide(&self, lost: Lost) -> Option<(Job, Settlement)> {
        let job = Job { lease: lost.lease, notification: lost.notification, delivery: lost.delivery };
        // An inbox is written by the settlement itself: without one nothing has happened.
        let event = match self.shared.ports.sender.reach(&job.notification.channel) {
            Some(Reach::Inbox) => Event::Released,
            Some(Reach::Remote) | None => Event::LeaseLost,
        };
        match self.decisions.settle(&job, event, Reach::Remote) {
            Ok(settlement) => Some((job, settlement)),
            Err(refused) => {
                let id = job.lease.id;
                error!(messageId = %id, "The store calls the lease of {id} lost, but {refused}");
                None
            }
        }
    }
}
