//! The use cases: what callers ask for, in terms of the ports.

pub mod follow;
pub mod redrive;
pub mod submit;
pub mod users;
