//! The clocks of the machine.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::course::Course;
use super::{Clock, Timestamp};

/// The wall clock as it is: for what is compared with other machines, such as the expiry of a token, and for logs.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp(wall_millis())
    }
}

/// The time that the product lives by: the wall clock, except that time goes on when somebody sets it back. Optionally
/// shifted forward (`tidings dev` lets its user do that).
#[derive(Debug)]
pub struct SystemClock {
    shift_millis: AtomicI64,
    started: Instant,
    started_at: i64,
    course: Mutex<Course>,
}

impl Default for SystemClock {
    fn default() -> Self {
        let started_at = wall_millis();
        Self {
            shift_millis: AtomicI64::new(0),
            started: present(),
            started_at,
            course: Mutex::new(Course::begin(started_at, 0)),
        }
    }
}

impl SystemClock {
    /// Moves the present forward for good.
    pub fn advance(&self, by: Duration) {
        self.shift_millis.fetch_add(millis(by), Ordering::Relaxed);
    }

    /// How far the present has been moved forward.
    pub fn shift(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.shift_millis.load(Ordering::Relaxed)).unwrap_or(0))
    }

    fn elapsed_millis(&self) -> i64 {
        millis(present().duration_since(self.started))
    }

    fn shifted(&self, instant: i64) -> Timestamp {
        Timestamp(instant.saturating_add(self.shift_millis.load(Ordering::Relaxed)))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (wall, steady) = (wall_millis(), self.elapsed_millis());
        // Nothing in there can panic half-way.
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let now = if course.is_plain(wall, steady) { wall } else { course.read(wall, steady) };
        self.shifted(now)
    }

    fn steady(&self) -> Timestamp {
        self.shifted(self.started_at + self.elapsed_millis())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_millis() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the steady clock; there is no tokio here")]
fn present() -> Instant {
    Instant::now()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
