//! How much a test does: little on every change, much at night.

use std::time::Duration;

/// The switch: `1` runs the long counts.
const SWITCH: &str = "TIDINGS_TEST_LONG";

/// Whether the long counts run.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration but this one switch")]
pub fn is_long() -> bool {
    std::env::var(SWITCH).is_ok_and(|value| value == "1")
}

/// How often something is done.
pub fn repeat(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// How long something goes on.
pub fn lasting(short: Duration, long: Duration) -> Duration {
    if is_long() { long } else { short }
}
