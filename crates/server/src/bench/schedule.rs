//! The open loop: requests are due at fixed instants, whether or not the answers to earlier ones have come. Latencies
//! count from these instants, so a server that stalls cannot hide it by stalling the load as well ("coordinated
//! omission").

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;

const NANOS: u64 = 1_000_000_000;
/// Requests that are due within this time are sent together: each waking costs time of the processor.
const AT_LEAST: Duration = Duration::from_micros(50);

/// The instants at which requests are due.
pub(crate) struct Schedule {
    begin: Instant,
    per_second: u64,
    total: u64,
    due: Semaphore,
    next: AtomicU64,
}

/// Keeps a schedule going until it is dropped.
pub(crate) struct Pacer {
    _ends_when_dropped: Sender<()>,
}

impl Schedule {
    /// `per_second` requests from `begin` until `end`.
    pub(crate) fn new(begin: Instant, end: Instant, per_second: u32) -> Self {
        let per_second = u64::from(per_second.max(1));
        let nanos = (end - begin).as_nanos() * u128::from(per_second) / u128::from(NANOS);
        let total = u64::try_from(nanos).unwrap_or(u64::MAX);
        Self { begin, per_second, total, due: Semaphore::new(0), next: AtomicU64::new(0) }
    }

    /// Waits for the next request that is due and says when it was; `None` when all have been given out.
    pub(crate) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.total).then(|| self.instant(number))
    }

    /// How many were due and nobody had time for.
    pub(crate) fn left(&self) -> u64 {
        self.total.saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Lets requests go when they are due. `connections` is how many take from the schedule.
    pub(crate) fn pace(self: Arc<Self>, connections: usize) -> anyhow::Result<Pacer> {
        let (sender, ended) = channel();
        // A thread of its own: the timer of the runtime knows no less than a millisecond.
        std::thread::Builder::new()
            .name("bench-pace".to_owned())
            .spawn(move || self.release_in_time(connections, &ended))
            .context("the thread that keeps the pace cannot be started")?;
        Ok(Pacer { _ends_when_dropped: sender })
    }

    fn release_in_time(&self, connections: usize, ended: &Receiver<()>) {
        let mut released = 0;
        while released < self.total {
            let due = self.due_by(Instant::now());
            self.due.add_permits(usize::try_from(due - released).unwrap_or(0));
            released = due;
            let pause = self.instant(released).saturating_duration_since(Instant::now()).max(AT_LEAST);
            if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
        // Beyond the last request, one for each connection, so that each learns that it is over.
        self.due.add_permits(connections);
    }

    fn instant(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * u128::from(NANOS) / u128::from(self.per_second);
        self.begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
    }

    /// How many requests are due at an instant.
    fn due_by(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begin).as_nanos();
        let due = passed * u128::from(self.per_second) / u128::from(NANOS) + 1;
        u64::try_from(due).unwrap_or(u64::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_evenly() {
        let begin = Instant::now();
        let schedule = Schedule::new(begin, begin + Duration::from_secs(2), 1000);
        assert_eq!(schedule.total, 2000);
        assert_eq!(schedule.instant(0), begin);
        assert_eq!(schedule.instant(1500), begin + Duration::from_millis(1500));
        assert_eq!(schedule.due_by(begin), 1);
        assert_eq!(schedule.due_by(begin + Duration::from_micros(2500)), 3);
        assert_eq!(schedule.due_by(begin + Duration::from_secs(9)), 2000);
    }

    #[tokio::test]
    async fn each_request_is_given_out_once_and_then_all_are_told_the_end() {
        let begin = Instant::now();
        let schedule = Arc::new(Schedule::new(begin, begin + Duration::from_millis(20), 5000));
        let pacer = Arc::clone(&schedule).pace(2).unwrap();
        let mut intended = Vec::new();
        while let Some(instant) = schedule.next().await {
            assert!(instant <= Instant::now(), "no request goes before its time");
            intended.push(instant);
        }
        assert_eq!((intended.len(), schedule.left()), (100, 0));
        assert!(intended.is_sorted());
        assert_eq!(schedule.next().await, None);
        drop(pacer);
    }
}
