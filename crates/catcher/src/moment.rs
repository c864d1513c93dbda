//! When something arrived.

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock. Nothing is decided by it; people are shown it.
pub(crate) fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "a stand-in for the outside world lives in real time")]
    SystemTime::now()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn millis(at: SystemTime) -> u64 {
    let elapsed = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
