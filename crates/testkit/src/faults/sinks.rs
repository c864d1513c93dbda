//! Receivers that take everything, count it into a ledger, and can be told to be slow or to refuse.
//!
//! They keep no content, so that they stand a long load. For answers that hang, drip, or end in the middle there are the
//! catchers of `tidings-catcher`, which have scripts.

mod http;
mod mail;

use std::sync::atomic::{AtomicUsize, Ordering};

use super::ledger::Ledger;

pub use http::WebhookSink;
pub use mail::MailSink;

/// What a sink does with each call.
struct Tally {
    ledger: Ledger,
    received: AtomicUsize,
}

impl Tally {
    fn new(ledger: Ledger) -> Self {
        Self { ledger, received: AtomicUsize::new(0) }
    }

    /// Notes a call. One that names no notification belongs to nobody, which the ledger will say.
    fn note(&self, id: Option<&str>, otherwise: &str) {
        self.ledger.received(id.unwrap_or(otherwise));
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}
