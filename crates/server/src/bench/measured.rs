//! What a load generator has seen.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::time::Instant;

/// The range of latencies that are told apart, in microseconds; three digits of each are kept.
const SHORTEST_MICROS: u64 = 1;
const LONGEST_MICROS: u64 = 600_000_000;
const DIGITS: u8 = 3;

/// An empty histogram of latencies, in microseconds.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(SHORTEST_MICROS, LONGEST_MICROS, DIGITS).context("cannot make a histogram")
}

/// Puts a duration into a histogram.
pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_MICROS));
}

/// The time that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) measure_from: Instant,
    pub(crate) end: Instant,
}

impl Window {
    /// Begins now.
    pub(crate) fn from_now(warmup: Duration, duration: Duration) -> Self {
        let begin = Instant::now();
        let measure_from = begin + warmup;
        Self { begin, measure_from, end: measure_from + duration }
    }

    /// Whether an instant belongs to the measured time.
    pub(crate) fn has(&self, instant: Instant) -> bool {
        (self.measure_from..self.end).contains(&instant)
    }

    /// How long is measured.
    pub(crate) fn length(&self) -> Duration {
        self.end - self.measure_from
    }
}

/// An answer as it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) status: u16,
    /// How many notifications were accepted with it.
    pub(crate) accepted: u64,
    /// When the request was to be sent: in a closed loop the instant when it was.
    pub(crate) intended: Instant,
    pub(crate) finished: Instant,
}

/// What was measured.
pub(crate) struct Measured {
    /// Latencies of successful requests, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Answers that count, by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Notifications that were accepted within the measured time.
    pub(crate) accepted: u64,
    /// Notifications that were accepted in all, warm-up included.
    pub(crate) accepted_in_total: u64,
    /// Exchanges that failed on the connection.
    pub(crate) failures: u64,
    /// The first of these failures.
    pub(crate) first_failure: Option<String>,
    /// Open loop: requests that were due and were never sent, because all connections waited for answers.
    pub(crate) unsent: u64,
}

impl Measured {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latency: histogram()?,
            statuses: BTreeMap::new(),
            accepted: 0,
            accepted_in_total: 0,
            failures: 0,
            first_failure: None,
            unsent: 0,
        })
    }

    /// Counts an answer. `is_open`: a request belongs to the time when it was to be sent, so that none that came late
    /// is left out; otherwise to the time when its answer came.
    pub(crate) fn count(&mut self, answer: Counted, window: &Window, is_open: bool) {
        self.accepted_in_total += answer.accepted;
        if window.has(answer.finished) {
            self.accepted += answer.accepted;
        }
        if !window.has(if is_open { answer.intended } else { answer.finished }) {
            return;
        }
        *self.statuses.entry(answer.status).or_default() += 1;
        if (200..300).contains(&answer.status) {
            record(&mut self.latency, answer.finished.saturating_duration_since(answer.intended));
        }
    }

    pub(crate) fn fail(&mut self, error: &io::Error) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    pub(crate) fn merge(&mut self, other: Self) -> anyhow::Result<()> {
        self.latency.add(&other.latency).context("cannot add histograms")?;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.accepted += other.accepted;
        self.accepted_in_total += other.accepted_in_total;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.unsent += other.unsent;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_counts_where_its_request_belongs() {
        let window = Window::from_now(Duration::from_secs(1), Duration::from_secs(1));
        let late = Counted {
            status: 202,
            accepted: 1,
            intended: window.end - Duration::from_millis(1),
            finished: window.end + Duration::from_secs(3),
        };
        let mut open = Measured::new().unwrap();
        open.count(late, &window, true);
        assert_eq!((open.latency.len(), open.accepted, open.accepted_in_total), (1, 0, 1));
        assert!(open.latency.max() >= 3_000_000);
        let mut closed = Measured::new().unwrap();
        closed.count(late, &window, false);
        assert_eq!((closed.latency.len(), closed.accepted, closed.accepted_in_total), (0, 0, 1));
    }

    #[test]
    fn what_connections_saw_is_added_up() {
        let window = Window::from_now(Duration::ZERO, Duration::from_secs(1));
        let answer = Counted { status: 202, accepted: 50, intended: window.begin, finished: window.begin };
        let (mut all, mut one) = (Measured::new().unwrap(), Measured::new().unwrap());
        one.count(answer, &window, false);
        one.count(Counted { status: 503, accepted: 0, ..answer }, &window, false);
        one.fail(&io::Error::other("cut"));
        all.merge(one).unwrap();
        assert_eq!((all.accepted, all.failures, all.first_failure.as_deref()), (50, 1, Some("cut")));
        assert_eq!(all.statuses, BTreeMap::from([(202, 1), (503, 1)]));
        assert_eq!(all.latency.len(), 1, "only what was accepted has a latency");
    }
}
