//! Servers that take whatever is sent and show it: an SMTP server and an HTTP server.
//!
//! `tidings dev` delivers into them so that nothing leaves the machine, and tests use them as providers. Both can be
//! told to misbehave in every way that a provider does: refuse, fall silent, answer without end, cut the connection.
//! They hold no more than the latest items, and stop when dropped.

mod moment;
mod shelf;

mod lines;
mod script;
mod server;

mod http;
mod mail;
mod smtp;

#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub use self::http::{CaughtRequest, HttpAnswer, HttpCatcher, RequestView};
pub use mail::{HeaderView, Mail, MailView};
pub use shelf::Late;
pub use smtp::{SmtpAnswer, SmtpCatcher, Stage as SmtpStage};
