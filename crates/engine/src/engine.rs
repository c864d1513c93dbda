//! Puts the loops together, starts them and brings them to an orderly end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidings_core::error::StoreError;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::alerts::Alerts;
use crate::config::{Config, Ports, Shared};
use crate::decisions::Decisions;
use crate::destinations::Destinations;
use crate::dispatcher::{Dispatcher, INBOX_BATCHES_AHEAD};
use crate::leases::Leases;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::rescue::Rescue;
use crate::settler::Settler;
use crate::tasks::Tasks;
use crate::upkeep::Upkeep;
use crate::worker::{Tally, Worker};

/// How long an attempt that is cut short may take to notice.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// How long results that are already known may take to be stored, whatever time is left.
const FLUSH_GRACE: Duration = Duration::from_secs(2);

/// The running engine. Dropping it stops it as well, without waiting for anything.
pub struct Engine {
    shared: Arc<Shared>,
    /// Everything that begins work of its own.
    loops: Tasks,
    attempts: Arc<Tasks>,
    settling: Tasks,
    abort: CancellationToken,
    flush: CancellationToken,
    tally: Arc<Tally>,
    _stop_on_drop: DropGuard,
}

/// How the work in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Attempts that were finished.
    pub finished: usize,
    /// Jobs that were handed back unsent.
    pub handed_back: usize,
    /// Whether nothing was cut short and every result is stored. What was cut short is rescued after the next start.
    pub complete: bool,
}

impl Engine {
    /// Takes back what processes before this one left behind, and starts all loops.
    pub async fn start(config: Config, ports: Ports, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::new(config, ports, metrics));
        let decisions = Arc::new(Decisions::new(shared.clone()));
        let leases = Arc::<Leases>::default();
        let rescue = Arc::new(Rescue { shared: shared.clone(), decisions: decisions.clone(), leases: leases.clone() });
        let taken_back = rescue.take_over().await?;
        if taken_back > 0 {
            info!(count = taken_back, "Took back {taken_back} notifications that the last process was sending");
        }

        let engine = Self {
            loops: Tasks::default(),
            attempts: Arc::default(),
            settling: Tasks::default(),
            abort: CancellationToken::new(),
            flush: CancellationToken::new(),
            tally: Arc::default(),
            _stop_on_drop: shared.stop.clone().drop_guard(),
            shared,
        };
        engine.start_deliveries(decisions, leases);
        engine.keep_running("rescue", &rescue, Rescue::run);
        engine.start_upkeep();
        Ok(engine)
    }

    fn start_deliveries(&self, decisions: Arc<Decisions>, leases: Arc<Leases>) {
        let shared = &self.shared;
        let settler = Arc::new(Settler::new(shared.clone(), self.flush.clone()));
        let pipeline = Pipeline::new(shared.clone(), decisions);
        let worker = Worker::new(shared.clone(), pipeline, settler.clone(), self.abort.clone(), self.tally.clone());
        let dispatcher = Arc::new(Dispatcher {
            shared: shared.clone(),
            destinations: Arc::new(Destinations::new(shared.clone())),
            leases,
            worker: Arc::new(worker),
            attempts: self.attempts.clone(),
            inbox_ahead: Arc::new(Semaphore::new(INBOX_BATCHES_AHEAD)),
        });
        self.settling.keep_running("settler", &self.flush, move || settler.clone().run());
        self.keep_running("dispatcher", &dispatcher, Dispatcher::run);
    }

    fn start_upkeep(&self) {
        let upkeep = Arc::new(Upkeep::new(self.shared.clone()));
        self.keep_running("retention", &upkeep, Upkeep::run_retention);
        self.keep_running("keys", &upkeep, Upkeep::run_keys);
        self.keep_running("erasures", &upkeep, Upkeep::run_erasures);
        if self.shared.config.automatic_redrive {
            self.keep_running("redrives", &upkeep, Upkeep::run_redrives);
        }
        let config = &self.shared.config.alerts;
        if config.pending.is_some() || config.age.is_some() {
            let alerts = Arc::new(Alerts { shared: self.shared.clone() });
            self.keep_running("alerts", &alerts, Alerts::run);
        }
    }

    fn keep_running<T, W>(&self, name: &'static str, part: &Arc<T>, run: impl Fn(Arc<T>) -> W + Send + 'static)
    where
        T: Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let part = part.clone();
        self.loops.keep_running(name, &self.shared.stop, move || run(part.clone()));
    }

    /// Stops claiming, hands back what has not been sent, gives what is under way so much time, and stores every
    /// result.
    pub async fn drain(self, within: Duration) -> Drained {
        let deadline = Instant::now() + within;
        self.shared.stop.cancel();
        let mut complete = self.loops.finish(deadline).await;
        if !self.attempts.finish(deadline).await {
            complete = false;
            self.abort.cancel();
            if !self.attempts.finish(Instant::now() + ABORT_GRACE).await {
                warn!("Some attempts did not end although they were cut short");
            }
        }
        self.flush.cancel();
        complete &= self.settling.finish(deadline.max(Instant::now() + FLUSH_GRACE)).await;
        Drained {
            finished: self.tally.finished.load(Ordering::Relaxed),
            handed_back: self.tally.handed_back.load(Ordering::Relaxed),
            complete,
        }
    }
}
