//! Places in the program where tests make it crash, panic or stall.
//!
//! In a release build nothing of this exists: [`point`] and [`point_for`] are empty. In a debug build the environment
//! variable `FAULTPOINTS` arms them:
//!
//! ```text
//! FAULTPOINTS="store.before-commit=abort@17;engine.before-send[webhook:http://127.0.0.1:9000]=panic;engine.after-claim=sleep(500)"
//! ```
//!
//! An item is the name of a point, in brackets a key if it is meant for that key only, and an action: `abort` ends the
//! process as a crash does, `panic` panics, `sleep(500)` blocks the thread for 500 milliseconds. `@17` does it at the
//! 17th passage only, without it every passage does. Of several items for one point each counts its own passages.
//! What is not understood, such as the name of no point, ends the process at once with a message: a test that arms
//! nothing would prove nothing.
//!
//! | point | the process is |
//! |---|---|
//! | `api.before-intake` | about to store a request |
//! | `api.after-intake` | between the commit of a request and its 202 |
//! | `store.before-write` | in a transaction that has changed nothing yet |
//! | `store.before-commit` | in a transaction with all changes of a group |
//! | `store.after-commit` | behind the commit, before anybody was told |
//! | `store.after-answers` | behind the answers to a group |
//! | `store.in-inbox-append` | in a transaction that has numbered an inbox entry and not stored it |
//! | `engine.after-claim` | holding new leases, before anything was sent |
//! | `engine.before-send` | about to call a provider; the key is the destination |
//! | `engine.after-send` | between the answer of a provider and its settlement; the key is the destination |
//! | `engine.before-append` | about to settle inbox entries |
//! | `engine.after-settle` | behind the settlement, before metrics and wake-ups |
//! | `engine.in-rescue` | about to take back lost leases |
//! | `engine.in-upkeep` | in the middle of a retention sweep, or about to complete erasures, as at every start |

#[cfg(debug_assertions)]
mod armed;
#[cfg(any(debug_assertions, test))]
mod parse;

/// All points, by name.
pub const NAMES: [&str; 14] = [
    "api.before-intake",
    "api.after-intake",
    "store.before-write",
    "store.before-commit",
    "store.after-commit",
    "store.after-answers",
    "store.in-inbox-append",
    "engine.after-claim",
    "engine.before-send",
    "engine.after-send",
    "engine.before-append",
    "engine.after-settle",
    "engine.in-rescue",
    "engine.in-upkeep",
];

/// Passes a point: does what it is armed with, which is nothing unless a test says so.
#[inline]
pub fn point(name: &'static str) {
    point_for(name, "");
}

/// Passes a point with a key, so that a test can arm it for one destination alone.
#[inline]
pub fn point_for(name: &'static str, key: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name, key);
    #[cfg(not(debug_assertions))]
    {
        let (_name, _key) = (name, key);
    }
}

/// Reads `FAULTPOINTS` now rather than at the first point, so that a mistake in it is told at the start.
#[inline]
pub fn arm() {
    #[cfg(debug_assertions)]
    armed::arm();
}
