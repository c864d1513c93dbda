//! Being told of ends that no worker brought about.

use crate::delivery::Transition;
use crate::time::Timestamp;

/// Is told of notifications that were delivered with their acceptance, for metrics.
pub trait Witness: Send + Sync {
    /// A notification of `channel`, accepted at `accepted_at`, is durably delivered.
    fn delivered(&self, channel: &str, accepted_at: Timestamp, transition: &Transition);
}
