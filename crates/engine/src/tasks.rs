//! The one place that starts tasks: each is named, traced and awaited at shutdown, and a panic in one ends no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug_span, error};

/// How long a loop that panicked rests before it goes on.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A group of tasks that end together.
#[derive(Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// Starts a task that ends by itself.
    pub(crate) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let guarded = async move {
            if caught(work).await.is_err() {
                error!(task = name, "The task {name} panicked");
            }
        };
        let span = debug_span!("task", task = name);
        tokio::spawn(self.tracker.track_future(guarded.instrument(span)));
    }

    /// Starts a loop that ends when it returns. Should it panic, it is begun anew.
    pub(crate) fn keep_running<W>(
        &self,
        name: &'static str,
        stop: &CancellationToken,
        mut begin: impl FnMut() -> W + Send + 'static,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        let stop = stop.clone();
        self.spawn(name, async move {
            loop {
                let work = begin();
                if caught(work).await.is_ok() {
                    return;
                }
                error!(task = name, "The task {name} panicked and is begun anew");
                if !pause(&stop, RESTART_PAUSE).await {
                    return;
                }
            }
        });
    }

    /// Waits until all tasks have ended; `false` if some had not at the deadline.
    pub(crate) async fn finish(&self, deadline: Instant) -> bool {
        self.tracker.close();
        timeout_at(deadline, self.tracker.wait()).await.is_ok()
    }
}

/// The work panicked. The panic hook has said where.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs work to its end, which may be a panic.
pub(crate) async fn caught<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(_payload) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// Waits; `false` when it is time to stop instead.
pub(crate) async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = sleep(time) => true,
    }
}

/// Pauses that double, from 50 ms to 2 s, for a store that fails.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(crate) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next pause, moved at random by up to a fifth.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        pause.mul_f64(0.8 + 0.4 * fastrand::f64())
    }

    /// All is well again.
    pub(crate) const fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_panic_ends_its_own_task_only() {
        let tasks = Tasks::default();
        tasks.spawn("panics", async { panic!("on purpose") });
        let (done, ended) = tokio::sync::oneshot::channel();
        tasks.spawn("works", async move { done.send(()).unwrap() });
        assert!(tasks.finish(Instant::now() + SOON).await);
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_after_a_pause_is_caught_as_well() {
        async fn late() -> u32 {
            tokio::task::yield_now().await;
            panic!("on purpose")
        }
        assert!(caught(late()).await.is_err());
        assert_eq!(caught(async { 7 }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_begun_anew() {
        let tasks = Tasks::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        tasks.keep_running("loop", &CancellationToken::new(), move || {
            let turn = count.fetch_add(1, Ordering::SeqCst);
            async move { assert_ne!(turn, 0, "on purpose") }
        });
        assert!(tasks.finish(Instant::now() + SOON).await);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn tasks_that_do_not_end_are_not_waited_for_longer_than_allowed() {
        let tasks = Tasks::default();
        tasks.spawn("endless", std::future::pending());
        assert!(!tasks.finish(Instant::now() + Duration::from_millis(10)).await);
    }

    #[test]
    fn pauses_double_up_to_two_seconds() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..8).map(|_| backoff.next_pause()).collect();
        assert!(pauses[0] <= Duration::from_millis(60) && pauses[7] >= Duration::from_millis(1600));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(2400)));
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_millis(60));
    }
}
