//! The metrics of the whole process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tidings_core::ports::Upkeep;
use tidings_core::ports::upkeep::Stats;
use tidings_core::time::{Clock, Timestamp};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::process::Process;
pub use super::reference::metrics_markdown;

/// How often the store is asked how it is.
const READ_EVERY: Duration = Duration::from_secs(2);

/// The metrics of the whole process.
pub struct Metrics {
    /// Those of the HTTP interface.
    pub api: Arc<tidings_api::Metrics>,
    /// Those of the delivery engine.
    pub engine: Arc<tidings_engine::Metrics>,
    /// Those of the store.
    pub store: StoreGauges,
    registry: Arc<Registry>,
}

impl Metrics {
    /// Registers everything there is.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("tidings_build", "Which Tidings this is", Info::new(version));
        let api = Arc::new(tidings_api::Metrics::register(&mut registry));
        let engine = Arc::new(tidings_engine::Metrics::register(&mut registry));
        let store = StoreGauges::register(&mut registry);
        registry.register_collector(Box::new(Process));
        Self { api, engine, store, registry: Arc::new(registry) }
    }

    /// Gives the text of `/metrics`.
    pub fn exposition(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let registry = self.registry.clone();
        Arc::new(move || encode(&registry))
    }

    #[cfg(test)]
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    match text::encode(&mut text, registry) {
        Ok(()) => text,
        // Half an exposition would pass for a whole one.
        Err(fmt::Error) => String::new(),
    }
}

type Count = Gauge<u64, AtomicU64>;
type Seconds = Gauge<f64, AtomicU64>;

/// How the store is, read every two seconds.
#[derive(Clone, Debug, Default)]
pub struct StoreGauges {
    up: Count,
    queue_depth: Count,
    jobs_leased: Count,
    oldest_due: Seconds,
    dead_letters_pending: Count,
    oldest_dead_letter: Seconds,
    size: Count,
    waiting_writes: Count,
}

impl StoreGauges {
    fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        let counts = [
            ("store_up", "Whether the store answers", &gauges.up),
            ("queue_depth", "Notifications waiting to be sent, due or not", &gauges.queue_depth),
            ("jobs_leased", "Notifications being sent", &gauges.jobs_leased),
            ("dead_letters_pending", "Dead letters that nobody has decided about", &gauges.dead_letters_pending),
            ("store_size_bytes", "Size of the store on disk, its log included", &gauges.size),
            ("store_waiting_writes", "Writes waiting for the next commit", &gauges.waiting_writes),
        ];
        for (name, help, gauge) in counts {
            registry.register(name, help, gauge.clone());
        }
        let ages = [
            ("oldest_due_seconds", "For how long the notification that waits longest has been due", &gauges.oldest_due),
            (
                "oldest_dead_letter_seconds",
                "For how long the oldest undecided dead letter has waited",
                &gauges.oldest_dead_letter,
            ),
        ];
        for (name, help, gauge) in ages {
            registry.register(name, help, gauge.clone());
        }
        gauges
    }

    /// Keeps the gauges fresh until told to stop.
    pub(crate) async fn follow(self, upkeep: Arc<dyn Upkeep>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let stats = upkeep.stats().await;
            self.up.set(u64::from(stats.is_ok()));
            if let Ok(stats) = stats {
                self.show(&stats, clock.now());
            }
        }
    }

    fn show(&self, stats: &Stats, now: Timestamp) {
        let age = |since: Option<Timestamp>| since.map_or(0.0, |since| now.since(since).as_secs_f64());
        self.queue_depth.set(stats.queued);
        self.jobs_leased.set(stats.leased);
        self.oldest_due.set(age(stats.oldest_due));
        self.dead_letters_pending.set(stats.dead_letters_pending);
        self.oldest_dead_letter.set(age(stats.oldest_dead_letter));
        self.size.set(stats.size_bytes);
        self.waiting_writes.set(stats.waiting_writes);
    }
}
