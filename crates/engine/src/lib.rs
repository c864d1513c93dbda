//! Everything that loops: claiming what is due, sending it, storing what came of it, and keeping the store in order.
//!
//! ```text
//!             broker wakes, time passes, a slot falls free
//!                               |
//!  +---------- dispatcher: ready -> plan (fairness) -> claim ----------+
//!  | rooms from destinations: in-flight counts, breakers               |
//!  |                                                                   |
//!  | remote jobs: one task each                inbox jobs: 256 inline  |
//!  v                                                                   v
//!  worker -> pipeline: expiry -> recipient -> send -> decide -> settlement
//!                               |
//!                   bounded channel of settlements
//!                               |
//!                  settler: one store call for many
//!
//!  rescue   every few seconds: leases whose worker went away
//!  upkeep   retention, idempotency keys, erasures, automatic redrives
//!  alerts   dead letters that wait too long or are too many
//! ```
//!
//! The store is the only truth. Nothing here remembers what the store does not: a process that dies leaves leases, and
//! the next start or another process rescues them. What is kept in memory (how many attempts run where, how the
//! destinations have been doing, whose turn it is, which notifications cannot be due for deletion yet) only makes better
//! decisions, and is bounded.
//!
//! Each loop takes the clock, the store and the channels from [`Ports`], so that it runs against fakes in tests. Tasks
//! are started in one place, which names them, catches their panics and waits for them at shutdown.

mod config;
mod engine;
mod metrics;

mod tasks;

mod destinations;
mod dispatcher;
mod leases;

mod decisions;
mod pipeline;
mod worker;

mod settler;

mod rescue;
mod upkeep;

pub mod alerts;
mod events;

pub use config::{Config, Ports};
pub use engine::{Drained, Engine};
pub use metrics::Metrics;
