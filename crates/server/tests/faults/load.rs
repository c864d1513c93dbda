//! A steady load of clients that note everything in a ledger, and the comparison in the end.

mod clients;
mod settling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use serde_json::Value;
use tidings_testkit::faults::ledger::Ledger;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::program::{Program, admin_token, http};
use clients::{Clients, Job};

pub(crate) use settling::settle;

/// How many requests may wait for a free client.
const WAITING: usize = 100_000;

/// What is sent, and how.
pub(crate) struct Plan {
    /// Requests each second, whatever becomes of them: an open loop.
    pub(crate) rate: f64,
    /// How many requests are under way at once, at most.
    pub(crate) clients: usize,
    /// Channels and the payloads for them, in turn. Each payload gets a member `n` of its own.
    pub(crate) channels: Vec<(&'static str, Value)>,
    /// The share of acknowledged requests that are sent once more under the same key.
    pub(crate) resend: f64,
    /// How long a client repeats what failed or has no answer.
    pub(crate) retry_for: Duration,
}

/// A load under way. Dropping it ends it at once.
pub(crate) struct Load {
    clients: Arc<Clients>,
    tasks: JoinSet<Latencies>,
}

/// How long clients waited, from the moment their request was due to the answer that accepted it, repetitions included.
#[derive(Default)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
    errors: BTreeMap<u16, usize>,
}

impl Load {
    /// Starts.
    pub(crate) fn start(program: &Program, ledger: Ledger, plan: Plan) -> Self {
        static LOADS: AtomicUsize = AtomicUsize::new(0);
        let (count, pause) = (plan.clients, Duration::from_secs(1).div_f64(plan.rate));
        let clients = Arc::new(Clients {
            name: format!("load-{}", LOADS.fetch_add(1, Ordering::Relaxed)),
            target: RwLock::new(program.url().to_owned()),
            http: http(),
            token: admin_token(),
            ledger,
            plan,
            stop: CancellationToken::new(),
        });
        let (sender, receiver) = mpsc::channel(WAITING);
        let jobs = Arc::new(Mutex::new(receiver));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            tasks.spawn(Arc::clone(&clients).work(Arc::clone(&jobs)));
        }
        tasks.spawn(beat(clients.stop.clone(), pause, sender));
        Self { clients, tasks }
    }

    /// Sends to another address from now on.
    pub(crate) fn aim_at(&self, url: &str) {
        url.clone_into(&mut self.clients.target.write());
    }

    /// Begins no further request and waits for those under way.
    pub(crate) async fn stop(mut self) -> Latencies {
        self.clients.stop.cancel();
        let mut all = Latencies::default();
        while let Some(ended) = self.tasks.join_next().await {
            all.add(ended.expect("a client does not panic"));
        }
        all.sorted.sort_unstable();
        all
    }
}

/// Makes requests due, on time, whether or not anybody is free to send them.
async fn beat(stop: CancellationToken, pause: Duration, jobs: mpsc::Sender<Job>) -> Latencies {
    let mut ticks = tokio::time::interval(pause);
    for number in 0.. {
        let tick = stop.run_until_cancelled(ticks.tick()).await;
        let Some(due) = tick else { break };
        if jobs.send(Job { number, due }).await.is_err() {
            break;
        }
    }
    Latencies::default()
}

impl Latencies {
    pub(crate) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.percentile(99)
    }

    pub(crate) fn max(&self) -> Duration {
        self.percentile(100)
    }

    /// Answers that accepted nothing, by status; 0 is no answer.
    pub(crate) fn errors(&self) -> BTreeMap<u16, usize> {
        self.errors.clone()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let index = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(index).copied().unwrap_or_default()
    }

    fn accepted(&mut self, due: Instant) {
        self.sorted.push(due.elapsed());
    }

    fn failed(&mut self, status: u16) {
        *self.errors.entry(status).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        self.sorted.extend(other.sorted);
        for (status, count) in other.errors {
            *self.errors.entry(status).or_default() += count;
        }
    }
}
