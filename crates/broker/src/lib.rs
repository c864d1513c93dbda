//! Moving wake-ups between those who store work and those who do it.
//!
//! The store is the only truth: what is carried here are hints, and losing one costs at most a look at the store.

mod local;

pub use local::LocalBroker;
