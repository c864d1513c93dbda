//! From what happened to a claimed job to the settlement that the store is to make durable.

use std::sync::Arc;

use tidings_core::delivery::{CRASH_SUSPECT_AFTER, Event, Next, Refused, State, step};
use tidings_core::ports::jobs::{Job, Settlement};
use tidings_core::ports::sender::Reach;
use tidings_core::retry::{self, Guarantee};
use tidings_core::time::Timestamp;

use crate::config::Shared;
use crate::events::Events;

/// Decides what becomes of jobs.
pub(crate) struct Decisions {
    shared: Arc<Shared>,
    events: Option<Events>,
}

impl Decisions {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let url = shared.config.events_url.as_deref();
        let events = url.and_then(|url| Events::to(url, shared.ports.sender.as_ref()));
        Self { shared, events }
    }

    /// The settlement of a job on a channel that reaches people like this. Refused if the store handed out a job that
    /// was not being sent.
    pub(crate) fn settle(&self, job: &Job, event: Event, reach: Reach) -> Result<Settlement, Refused> {
        let (config, ports) = (&self.shared.config, &self.shared.ports);
        let notification = &job.notification;
        let now = ports.clock.now();
        let policy = config.policies.of(&notification.routing_key());
        let transition = step(&job.delivery, event, policy, now, fastrand::f64())?;
        let end = match transition.next {
            Next::End(state) => Some(state),
            Next::Queue { .. } => None,
        };
        // What may have arrived, or brings workers down, is for people to decide about.
        let may_repeat = policy.guarantee == Guarantee::AtLeastOnce && transition.lost_leases < CRASH_SUSPECT_AFTER;
        let redrive_at = if end == Some(State::Dead) && config.automatic_redrive && may_repeat {
            let in_time = |at: &Timestamp| notification.expires_at.is_none_or(|expires_at| *at < expires_at);
            retry::automatic_redrive(notification.redrives, now).filter(in_time)
        } else {
            None
        };
        let events = self.events.as_ref();
        Ok(Settlement {
            lease: job.lease,
            to_inbox: reach == Reach::Inbox && end == Some(State::Delivered),
            redrive_at,
            follow_up: end.and_then(|state| events?.of_end(ports, notification, &transition, state)).map(Box::new),
            transition,
        })
    }
}
