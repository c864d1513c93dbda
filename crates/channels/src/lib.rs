//! The channels of Tidings: how people are reached.
//!
//! A channel is a translator without I/O. It checks a payload and says which queue it goes through (`address`), turns one
//! attempt into a request (`build`), and turns the answer into a verdict (`read`). All sockets are in `transport`: one
//! place to time out, to cut an endless answer, and to refuse an address that nobody should reach from here.
//!
//! # Adding a channel
//!
//! 1. Write one file with a type that implements `Channel` (see `sms.rs`: HTTP and JSON, like most providers).
//! 2. Add one line to the list of registrations in `channels.rs`.
//!
//! Producers change nothing: the name of the channel is the `type` they send.
//!
//! # Verdicts
//!
//! Every attempt ends in one of four. *Delivered*: the provider said so. *Reject*: it refused for good. *Retry*: it
//! certainly has not taken it. *Unknown*: it may have; that is said only when the request was on its way.
//!
//! The process has to install a TLS provider for `rustls` before the first [`Channels`] is made.

mod config;
pub use config::{Config, ConfigError};

mod channel;
mod channels;
pub use channels::Channels;

mod payload;
mod said;
mod verdict;
mod wire;

mod email;
mod in_app;
pub mod sms;
pub mod smtp;
pub mod webhook;

pub mod outbound;
mod transport;

#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod testing;
