//! The comparison of the books.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Books, End};

/// How many findings are told in words.
const TOLD: usize = 40;

/// What came of everything that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests, however often each was tried.
    pub attempted: usize,
    /// Notifications that clients were told to be accepted.
    pub acknowledged: usize,
    /// Those of them that are there and ended once.
    pub ok: usize,
    /// Acknowledged and not there.
    pub lost: Vec<String>,
    /// Calls of providers beyond the first for each notification.
    pub duplicated: usize,
    /// Notifications with more calls than their attempts and lost leases explain (I4).
    pub excess: Vec<String>,
    /// Never acknowledged, because the answer was cut off, and there all the same.
    pub recovered: usize,
    /// There, or called for, although nobody asked (I3).
    pub unexpected: Vec<String>,
    /// Notifications with several ends, with none, or with one that their status contradicts (I2).
    pub two_ends: Vec<String>,
    /// Requests with more than one answer, or that share a notification with another request (I5).
    pub two_answers: Vec<String>,
    /// Delivered by a provider, says the store, but no provider was called. Told apart from what is lost, because it is
    /// only true where every receiver of the story writes into the ledger.
    pub unheard: Vec<String>,
    /// The findings in words.
    pub(in crate::faults) details: Vec<String>,
}

impl Totals {
    /// Panics with all details unless nothing was lost, doubled beyond what was in flight, made up, ended twice or
    /// answered in two ways.
    pub fn assert_clean(&self) {
        let findings = [&self.lost, &self.excess, &self.unexpected, &self.two_ends, &self.two_answers];
        assert!(findings.iter().all(|found| found.is_empty()), "{self}\n{}", self.details.join("\n"));
    }

    /// Panics if the store calls something delivered that no receiver heard of. For stories in which every receiver
    /// writes into the ledger.
    pub fn assert_all_heard(&self) {
        assert!(self.unheard.is_empty(), "delivered, but no provider was called: {:?}", self.unheard);
    }

    /// Adds the totals of another story, with another ledger.
    pub fn include(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.acknowledged += other.acknowledged;
        self.ok += other.ok;
        self.lost.extend(other.lost);
        self.duplicated += other.duplicated;
        self.excess.extend(other.excess);
        self.recovered += other.recovered;
        self.unexpected.extend(other.unexpected);
        self.two_ends.extend(other.two_ends);
        self.two_answers.extend(other.two_answers);
        self.unheard.extend(other.unheard);
        self.details.extend(other.details);
    }

    fn tell(&mut self, finding: String) {
        if self.details.len() < TOLD {
            self.details.push(finding);
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "lost {}, duplicated {} ({} beyond what was in flight), recovered {}, unexpected {}; \
             attempted {}, acknowledged {}, ok {}, ended twice or never {}, answered in two ways {}",
            self.lost.len(),
            self.duplicated,
            self.excess.len(),
            self.recovered,
            self.unexpected.len(),
            self.attempted,
            self.acknowledged,
            self.ok,
            self.two_ends.len(),
            self.two_answers.len(),
        )
    }
}

pub(super) fn compare(books: &Books) -> Totals {
    let mut totals = Totals { attempted: books.requests.len(), ..Totals::default() };
    let owners = owners(books);
    totals.acknowledged = owners.len();
    judge_answers(books, &owners, &mut totals);
    judge_acknowledged(books, &owners, &mut totals);
    judge_ends(books, &mut totals);
    judge_calls(books, &mut totals);
    judge_strangers(books, &owners, &mut totals);
    totals
}

/// The requests of each acknowledged notification; there should be one.
fn owners(books: &Books) -> BTreeMap<&str, Vec<&str>> {
    let mut owners: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, request) in &books.requests {
        for id in &request.ids {
            owners.entry(id).or_default().push(key);
        }
    }
    owners
}

fn judge_answers(books: &Books, owners: &BTreeMap<&str, Vec<&str>>, totals: &mut Totals) {
    let mut guilty: BTreeSet<String> = BTreeSet::new();
    for (key, request) in &books.requests {
        if request.ids.len() > 1 {
            totals.tell(format!("the request {key} led to {:?}", request.ids));
            guilty.insert(key.clone());
        }
        if !request.ids.is_empty() && !request.refusals.is_empty() {
            totals.tell(format!("the request {key} was accepted and refused with {:?}", request.refusals));
            guilty.insert(key.clone());
        }
    }
    for (id, keys) in owners.iter().filter(|(_, keys)| keys.len() > 1) {
        totals.tell(format!("{id} is the answer to {keys:?}"));
        guilty.extend(keys.iter().map(|key| (*key).to_owned()));
    }
    totals.two_answers = guilty.into_iter().collect();
}

fn judge_acknowledged(books: &Books, owners: &BTreeMap<&str, Vec<&str>>, totals: &mut Totals) {
    for (id, keys) in owners {
        match books.ends.get(*id) {
            Some(Some(end)) => totals.ok += usize::from(end.complaint().is_none()),
            Some(None) => {
                totals.tell(format!("{id} was acknowledged to {keys:?} and is not there"));
                totals.lost.push((*id).to_owned());
            }
            None => {
                totals.tell(format!("{id} was acknowledged to {keys:?} and nobody looked for it in the end"));
                totals.lost.push((*id).to_owned());
            }
        }
    }
}

fn judge_ends(books: &Books, totals: &mut Totals) {
    for (id, end) in present(books) {
        if let Some(complaint) = end.complaint() {
            totals.tell(format!("{id} {complaint}"));
            totals.two_ends.push(id.to_owned());
        }
        if let Some(provider) = &end.taken_by
            && !books.calls.contains_key(id)
        {
            totals.tell(format!("{id} was taken by {provider}, says the store, but nobody was called"));
            totals.unheard.push(id.to_owned());
        }
    }
}

fn judge_calls(books: &Books, totals: &mut Totals) {
    totals.duplicated = books.calls.values().map(|calls| calls - 1).sum();
    for (id, end) in present(books) {
        let (calls, explained) = (books.calls.get(id).copied().unwrap_or_default(), end.explained_calls);
        if calls > explained {
            totals.tell(format!("{id} was sent {calls} times; its journal explains {explained}"));
            totals.excess.push(id.to_owned());
        }
    }
}

/// What nobody was told of belongs to requests whose answer was cut off, as long as there are enough of them.
fn judge_strangers(books: &Books, owners: &BTreeMap<&str, Vec<&str>>, totals: &mut Totals) {
    let known = books.calls.keys().map(String::as_str).chain(present(books).map(|(id, _)| id));
    let strangers: BTreeSet<&str> = known.filter(|id| !owners.contains_key(id) && !is_ours(books, id)).collect();
    let open = books.requests.values().filter(|request| request.ids.is_empty() && request.may_be_accepted).count();
    if strangers.len() <= open {
        totals.recovered = strangers.len();
        return;
    }
    totals.tell(format!("{} of nobody, but only {open} requests without an answer: {strangers:?}", strangers.len()));
    totals.unexpected = strangers.into_iter().map(str::to_owned).collect();
}

/// Whether Tidings made a notification for a reason of its own: an event, an alert, a dead letter sent anew.
fn is_ours(books: &Books, id: &str) -> bool {
    books.ends.get(id).and_then(Option::as_ref).is_some_and(|end| {
        end.is_system || end.redrive_of.as_ref().is_some_and(|original| books.ends.contains_key(original))
    })
}

fn present(books: &Books) -> impl Iterator<Item = (&str, &End)> {
    books.ends.iter().filter_map(|(id, end)| end.as_ref().map(|end| (id.as_str(), end)))
}
