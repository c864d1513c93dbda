//! The closed loop: each connection sends its next request when the answer to the last one is there.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench::client::Connection;

/// The range of latencies that are told apart, in microseconds; three digits of each are kept.
const SHORTEST_MICROS: u64 = 1;
const LONGEST_MICROS: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// How long a connection that failed waits before it is opened anew.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);
/// How long the last answers are waited for.
const GRACE: Duration = Duration::from_secs(5);
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// How hard and how long.
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Sent, but not measured.
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// The requests of one connection.
pub(crate) trait Requests: Send + 'static {
    /// The bytes of the next request.
    fn next(&mut self) -> &[u8];
}

/// What was measured.
pub(crate) struct Measured {
    /// Latencies of successful requests, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Answers within the measured time, by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Successful requests in all, warm-up included.
    pub(crate) successes_in_total: u64,
    /// Exchanges that failed on the connection.
    pub(crate) failures: u64,
    /// The first of these failures.
    pub(crate) first_failure: Option<String>,
}

impl Measured {
    fn new() -> anyhow::Result<Self> {
        let latency =
            Histogram::new_with_bounds(SHORTEST_MICROS, LONGEST_MICROS, DIGITS).context("cannot make a histogram")?;
        Ok(Self { latency, statuses: BTreeMap::new(), successes_in_total: 0, failures: 0, first_failure: None })
    }

    fn count(&mut self, status: u16, started: Instant, window: &Window) {
        let finished = Instant::now();
        let is_success = (200..300).contains(&status);
        self.successes_in_total += u64::from(is_success);
        if finished < window.measure_from || finished > window.end {
            return;
        }
        *self.statuses.entry(status).or_default() += 1;
        if is_success {
            let micros = u64::try_from((finished - started).as_micros()).unwrap_or(LONGEST_MICROS);
            self.latency.saturating_record(micros);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    fn merge(&mut self, other: Self) -> anyhow::Result<()> {
        self.latency.add(&other.latency).context("cannot add histograms")?;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.successes_in_total += other.successes_in_total;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        Ok(())
    }

    /// Answers of this status within the measured time.
    pub(crate) fn answers(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }
}

/// Runs the plan. `requests` makes the requests of the connection with the given number.
pub(crate) async fn run<R: Requests>(plan: &Plan, requests: impl Fn(usize) -> R) -> anyhow::Result<Measured> {
    let window = Window::from_now(plan);
    let done = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    for number in 0..plan.connections {
        connections.spawn(drive_until_over(plan.address, window, requests(number), Arc::clone(&done)));
    }
    let mut measured = Measured::new()?;
    let mut progress = Progress::new(plan, window);
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
    loop {
        tokio::select! {
            joined = connections.join_next() => match joined {
                Some(joined) => measured.merge(joined.context("a connection of the load generator broke down")??)?,
                None => break,
            },
            _ = redraw.tick() => progress.show(done.load(Ordering::Relaxed)),
        }
    }
    progress.finish();
    Ok(measured)
}

#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    measure_from: Instant,
    end: Instant,
}

impl Window {
    fn from_now(plan: &Plan) -> Self {
        let begin = Instant::now();
        let measure_from = begin + plan.warmup;
        Self { begin, measure_from, end: measure_from + plan.duration }
    }
}

/// One timer guards the whole of a connection's work: one for each request would cost more than the request.
async fn drive_until_over<R: Requests>(
    address: SocketAddr,
    window: Window,
    requests: R,
    done: Arc<AtomicU64>,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::new()?;
    let driven = drive(&mut measured, address, &window, requests, &done);
    if tokio::time::timeout_at(window.end + GRACE, driven).await.is_err() {
        measured.fail(&io::Error::new(io::ErrorKind::TimedOut, "no answer came until the end of the run"));
    }
    Ok(measured)
}

async fn drive<R: Requests>(
    measured: &mut Measured,
    address: SocketAddr,
    window: &Window,
    mut requests: R,
    done: &AtomicU64,
) {
    let mut connection = None;
    loop {
        let started = Instant::now();
        if started >= window.end {
            return;
        }
        match exchange(&mut connection, address, requests.next()).await {
            Ok(status) => {
                measured.count(status, started, window);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                connection = None;
                measured.fail(&error);
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

async fn exchange(slot: &mut Option<Connection>, address: SocketAddr, request: &[u8]) -> io::Result<u16> {
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let answer = connection.exchange(request).await?;
    let (status, closes) = (answer.status, answer.closes);
    if !closes {
        *slot = Some(connection);
    }
    Ok(status)
}

/// A bar over the time of the run. On anything but a terminal it draws nothing.
struct Progress {
    bar: ProgressBar,
    window: Window,
    last: (Instant, u64),
}

impl Progress {
    fn new(plan: &Plan, window: Window) -> Self {
        let total = plan.warmup + plan.duration;
        let bar = ProgressBar::new(u64::try_from(total.as_millis()).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Self { bar, window, last: (window.begin, 0) }
    }

    fn show(&mut self, done: u64) {
        let now = Instant::now();
        let (last_time, last_done) = std::mem::replace(&mut self.last, (now, done));
        let passed = u64::try_from((now - last_time).as_millis()).unwrap_or(0).max(1);
        let rate = (done - last_done) * 1000 / passed;
        let phase = if now < self.window.measure_from { "warming up" } else { "measuring" };
        self.bar.set_position(u64::try_from((now - self.window.begin).as_millis()).unwrap_or(u64::MAX));
        self.bar.set_message(format!("{phase}  {rate}/s"));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
