//! What it takes to break Tidings on purpose, and to tell afterwards whether anything was lost.
//!
//! A story about a fault goes like this: receivers ([`sinks`]) and clients write down in one [`ledger`] what they saw, a
//! fault is injected on the way between them ([`proxy`], [`dns`], or a signal to the process), and in the end the ledger
//! is compared with what the store says. The [`verdict`] goes to people and to the documentation. How often and how long
//! is asked of the [`tier`].

pub mod tier;

pub mod ledger;
pub mod verdict;

pub mod dns;
pub mod proxy;
pub mod sinks;

mod listening;
