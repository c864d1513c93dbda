//! Pieces of a simulation: a process that can end at any point, and a store whose calls fail, wait, or are the last thing
//! that the process does.

pub mod process;
pub mod store;

pub use process::Process;
pub use store::{Call, Fault, FaultyStore, Layers};
