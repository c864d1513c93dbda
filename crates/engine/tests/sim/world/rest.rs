//! After the faults: time goes on until nothing is left to do, then the engine is drained.

use std::time::Duration;

use tidings_core::delivery::State;
use tidings_core::ports::Jobs;
use tidings_core::ports::jobs::LostBy;
use tidings_core::time::{Clock, Timestamp};
use tidings_engine::{Drained, Engine};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::World;

/// How often it is looked whether everything has come to rest.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// After so many looks the world has to be at rest.
const MOST_LOOKS: usize = 400;

/// The clock is not moved for what happens sooner than this by itself.
const SOON: Duration = Duration::from_secs(30);

/// After this many looks without anything new, an hour passes.
const IDLE_LOOKS: usize = 12;

/// Long enough for the longest delay that a call of the store can still be in.
const QUIET: Duration = Duration::from_secs(45);

/// How long the engine may take to drain when there is nothing to do.
const DRAIN: Duration = Duration::from_secs(10);

impl World {
    /// Lets time go on until everything has ended. Where nothing is to happen for long, only the wall clock goes on.
    pub(super) async fn come_to_rest(&self) {
        let (mut length, mut idle) = (self.trace.length(), 0);
        for _ in 0..MOST_LOOKS {
            sleep(LOOK_EVERY).await;
            if self.is_at_rest() {
                return sleep(QUIET).await;
            }
            idle = if self.trace.length() == length { idle + 1 } else { 0 };
            let far = self.next_event().await.filter(|left| *left > SOON && self.store.unfinished_erasures() == 0);
            if let Some(left) = far.or_else(|| (idle >= IDLE_LOOKS).then_some(Duration::from_hours(1))) {
                self.trace.note(format_args!("{left:?} pass"));
                self.clock.jump(i64::try_from(left.as_millis()).unwrap());
                idle = 0;
            }
            length = self.trace.length();
        }
        self.trace.violation("the world does not come to rest");
    }

    fn is_at_rest(&self) -> bool {
        let all = self.store.everything();
        let has_ended = all.iter().all(|kept| kept.record.summary.state.is_terminal());
        let redrives = all.iter().filter_map(|kept| kept.letter.as_ref()).any(|letter| {
            // What belonged to a user who is gone stays as it is.
            letter.next_redrive_at.is_some() && letter.content.is_some()
        });
        has_ended && !redrives && self.store.unfinished_erasures() == 0
    }

    /// How long until the next thing is due, lost, or to be redriven.
    async fn next_event(&self) -> Option<Duration> {
        let now = self.clock.now();
        let all = self.store.everything();
        let due = all.iter().map(|kept| &kept.record.summary).filter(|summary| summary.state == State::Queued);
        let due = due.map(|summary| summary.due_at);
        let redrives = all.iter().filter_map(|kept| kept.letter.as_ref()?.next_redrive_at);
        let leases = self.store.lost(LostBy::Deadline(Timestamp::MAX), None, usize::MAX).await.unwrap();
        let leases = leases.into_iter().map(|lost| lost.lease.until);
        due.chain(redrives).chain(leases).min().map(|at| at.since(now))
    }

    /// Stops the engine for good: everything that it started has to end.
    pub(super) async fn drain(&self, engine: Engine) {
        let drained = engine.drain(DRAIN).await;
        if drained != (Drained { finished: 0, handed_back: 0, complete: true }) {
            self.trace.violation(format_args!("an idle engine drained as {drained:?}"));
        }
        sleep(Duration::from_millis(1)).await;
        let left = Handle::current().metrics().num_alive_tasks();
        if left > 0 {
            self.trace.violation(format_args!("{left} tasks outlived their engine"));
        }
    }
}
