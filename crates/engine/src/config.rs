//! What the engine is told, what it is given, and what its parts share.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::breaker;
use tidings_core::id::{BootId, IdGen};
use tidings_core::ports::{Broker, Catalog, DeadLetters, Intake, Jobs, Sender, Upkeep};
use tidings_core::time::{Clock, Timestamp};
use tidings_core::{retention, retry};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alerts;
use crate::metrics::Metrics;

/// How the engine works.
#[derive(Clone)]
pub struct Config {
    /// How many attempts run at once; at least 1.
    pub concurrency: usize,
    /// How many attempts to one destination run at once; at least 1.
    pub per_destination: usize,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// When attempts are repeated.
    pub policies: retry::Policies,
    /// When a destination is left alone.
    pub breaker: breaker::Settings,
    /// How long notifications are kept.
    pub retention: retention::Policy,
    /// How often what is kept too long is looked for.
    pub sweep_every: Duration,
    /// Whether dead letters are redriven by themselves.
    pub automatic_redrive: bool,
    /// Where the ends of notifications are reported to.
    pub events_url: Option<String>,
    /// When somebody is told about dead letters.
    pub alerts: alerts::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 10,
            per_destination: 16,
            attempt_timeout: Duration::from_secs(30),
            policies: retry::Policies::default(),
            breaker: breaker::Settings::default(),
            retention: retention::Policy::default(),
            sweep_every: Duration::from_mins(1),
            automatic_redrive: false,
            events_url: None,
            alerts: alerts::Config::default(),
        }
    }
}

impl Config {
    /// How long a claim lasts: an attempt, twice over, and the time around it.
    pub(crate) fn lease(&self) -> Duration {
        2 * self.attempt_timeout + Duration::from_secs(5)
    }
}

/// What the engine works with.
#[derive(Clone)]
pub struct Ports {
    /// The queue.
    pub jobs: Arc<dyn Jobs>,
    /// Where alerts become notifications.
    pub intake: Arc<dyn Intake>,
    /// Who can be told.
    pub catalog: Arc<dyn Catalog>,
    /// What is redriven by itself.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// What keeps the store in order.
    pub upkeep: Arc<dyn Upkeep>,
    /// The channels.
    pub sender: Arc<dyn Sender>,
    /// Who says that there is work.
    pub broker: Arc<dyn Broker>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The ids.
    pub ids: Arc<dyn IdGen>,
    /// This start of this process.
    pub boot: BootId,
}

/// What all parts of one engine have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) ports: Ports,
    pub(crate) metrics: Arc<Metrics>,
    /// Cancelled when nothing new is to be begun.
    pub(crate) stop: CancellationToken,
    /// Rung when the dispatcher has a reason to look again.
    pub(crate) bell: Notify,
}

impl Shared {
    pub(crate) fn new(config: Config, ports: Ports, metrics: Arc<Metrics>) -> Self {
        Self { config, ports, metrics, stop: CancellationToken::new(), bell: Notify::new() }
    }

    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// The present for pauses and windows, which nobody can set.
    pub(crate) fn steady(&self) -> Timestamp {
        self.ports.clock.steady()
    }
}
