//! The ledger of a story about a fault: what clients were told, what providers were called for, and what the store says
//! in the end, compared as the `total-queue` checker of Jepsen does.
//!
//! Its words: **lost** was acknowledged and is not there; **duplicated** are calls beyond the first; **recovered** was
//! never acknowledged, because the answer was cut off, and is there all the same, which is allowed; **unexpected** is
//! there and nobody asked for it.

mod end;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use end::End;

pub use totals::Totals;

/// What a client knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted under this `messageId`.
    Ok(String),
    /// It was refused with this HTTP status. 0: it never left the client, because nobody took the connection.
    Refused(u16),
    /// Nobody knows: no answer in time, the connection was cut, or the store failed (503 `store_unavailable`).
    Unknown,
}

/// The books of one story. Clones write into the same books.
#[derive(Clone, Default)]
pub struct Ledger {
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    /// By the name of the request.
    requests: BTreeMap<String, Request>,
    /// How often providers were called, by `messageId`.
    calls: BTreeMap<String, usize>,
    /// What the store says in the end, by `messageId`; `None` is a 404.
    ends: BTreeMap<String, Option<End>>,
}

/// All tries of one request.
#[derive(Default)]
struct Request {
    ids: BTreeSet<String>,
    /// Statuses that say that this request, repeated as it is, is never accepted.
    refusals: BTreeSet<u16>,
    /// Whether one of the tries may have been accepted without a word about it.
    may_be_accepted: bool,
}

impl Ledger {
    /// Empty books.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client made a request. `key` is its idempotency key, or any name that no other request has; a repetition under
    /// the same key is another try of the same request.
    pub fn asked(&self, key: &str, outcome: Outcome) {
        let mut books = self.books.lock();
        let request = books.requests.entry(key.to_owned()).or_default();
        match outcome {
            Outcome::Ok(id) => {
                request.ids.insert(id);
            }
            Outcome::Refused(status) if says_never(status) => {
                request.refusals.insert(status);
            }
            Outcome::Refused(status) => request.may_be_accepted |= leaves_it_open(status),
            Outcome::Unknown => request.may_be_accepted = true,
        }
    }

    /// A provider was called for a `messageId`.
    pub fn received(&self, effect: &str) {
        *self.books.lock().calls.entry(effect.to_owned()).or_default() += 1;
    }

    /// The `messageId`s that clients were told, once each.
    pub fn acknowledged(&self) -> Vec<String> {
        let books = self.books.lock();
        let ids: BTreeSet<&String> = books.requests.values().flat_map(|request| &request.ids).collect();
        ids.into_iter().cloned().collect()
    }

    /// The `messageId`s that providers were called for, once each.
    pub fn called(&self) -> Vec<String> {
        self.books.lock().calls.keys().cloned().collect()
    }

    /// How often providers were called for a `messageId`.
    pub fn calls(&self, id: &str) -> usize {
        self.books.lock().calls.get(id).copied().unwrap_or_default()
    }

    /// How many requests are written down.
    pub fn requests(&self) -> usize {
        self.books.lock().requests.len()
    }

    /// What `GET /api/notifications/{id}` says in the end; `None` is a 404. Also to be told of notifications that nobody
    /// knows of, such as those of a list: only so they are found out.
    pub fn ended(&self, id: &str, record: Option<&Value>) {
        self.books.lock().ends.insert(id.to_owned(), record.map(End::read));
    }

    /// Compares. What was acknowledged and never passed to [`Ledger::ended`] counts as lost.
    pub fn check(&self) -> Totals {
        totals::compare(&self.books.lock())
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ledger").field("requests", &self.requests()).finish_non_exhaustive()
    }
}

/// Whether a status judges the request itself: the same one cannot be accepted at another time.
fn says_never(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429)
}

/// Whether the request may have been accepted in spite of its status. Tidings promises that nothing of a request is
/// stored that it answers with 503 or 507; only the 503 `store_unavailable` leaves it open, and is [`Outcome::Unknown`].
fn leaves_it_open(status: u16) -> bool {
    status >= 500 && !matches!(status, 503 | 507)
}

#[cfg(test)]
mod tests;
