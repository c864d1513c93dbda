//! What has to hold once everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use tidings_core::delivery::{CRASH_SUSPECT_AFTER, State};
use tidings_core::id::MessageId;
use tidings_core::journal::{Entry, Event};
use tidings_core::notification::SYSTEM_CATEGORY;
use tidings_core::ports::streams::InboxRange;
use tidings_core::ports::{Catalog, Streams};
use tidings_core::retry::MAX_RETRY_AFTER;
use tidings_core::time::Timestamp;
use tidings_testkit::store::Kept;

use crate::audit::Books;
use crate::provider::Sent;
use crate::world::{MAX_RETRIES, World};

/// The end of a run, looked at from all sides.
struct Evidence<'a> {
    world: &'a World,
    kept: BTreeMap<MessageId, Kept>,
    sent: BTreeMap<MessageId, Vec<Sent>>,
    books: Books,
    problems: Vec<String>,
}

/// Everything that is wrong with how a run ended, what was seen to go wrong on the way included.
pub(crate) async fn problems(world: &World) -> Vec<String> {
    let kept: BTreeMap<MessageId, Kept> =
        world.store.everything().into_iter().map(|kept| (kept.record.summary.id, kept)).collect();
    let mut evidence = Evidence {
        world,
        kept,
        sent: world.sender.log(),
        books: world.audit.books(),
        problems: world.trace.violations(),
    };
    // A run that broke off has no end to look at.
    if evidence.problems.is_empty() {
        evidence.check_answers();
        evidence.check_each();
        evidence.check_calls();
        evidence.check_redrives();
        evidence.check_inboxes().await;
    }
    evidence.problems
}

fn is_end(event: Event) -> bool {
    end_of(event).is_some()
}

/// The state that an event leads to, if it is an end.
fn end_of(event: Event) -> Option<State> {
    match event {
        Event::Delivered => Some(State::Delivered),
        Event::Dead => Some(State::Dead),
        Event::Expired => Some(State::Expired),
        Event::Cancelled => Some(State::Cancelled),
        _ => None,
    }
}

impl Evidence<'_> {
    /// I1, I5: what was acknowledged is there, and one key is one notification.
    fn check_answers(&mut self) {
        for client in &self.world.clients {
            let number = client.order.number;
            // An id that was made and never stored may be made again for somebody else after a crash.
            let correlation = client.order.correlation();
            let is_theirs = |kept: &Kept| kept.record.summary.context.correlation_id == correlation;
            let stored: Vec<&MessageId> =
                client.tried.iter().filter(|id| self.kept.get(*id).is_some_and(is_theirs)).collect();
            if let Some(id) = client.acknowledged.filter(|id| !self.kept.contains_key(id)) {
                self.problems.push(format!("I1: client {number} was told {id}, which is lost"));
            }
            if client.order.keyed && stored.len() > 1 {
                self.problems.push(format!("I5: client {number} used one key and has {stored:?}"));
            }
        }
    }

    /// I1, I2, I4, I7, I8 for each notification, and that its journal tells what was settled and nothing else.
    fn check_each(&mut self) {
        let mut found = Vec::new();
        let none = Vec::new();
        for (id, kept) in &self.kept {
            let sent = self.sent.get(id).unwrap_or(&none);
            let judged = [
                ends_once(kept),
                calls_are_explained(kept, sent),
                attempts_are_bounded(kept, sent),
                retries_wait(kept, sent),
                dead_ones_are_letters(kept),
                self.journal_is_complete(kept),
            ];
            found.extend(judged.into_iter().flatten().map(|problem| format!("{problem}: {id} {}", tell(kept, sent))));
        }
        self.problems.extend(found);
    }

    fn journal_is_complete(&self, kept: &Kept) -> Option<String> {
        let none = Vec::new();
        let settled = self.books.settled.get(&kept.record.summary.id).unwrap_or(&none);
        let key = |entry: &Entry| (entry.at, entry.event, entry.attempt.as_ref().map(|attempt| attempt.number));
        let mut journal = kept.record.journal.iter().map(key);
        let is_there = settled.iter().map(key).all(|wanted| journal.any(|entry| entry == wanted));
        let by_workers =
            |event: Event| matches!(event, Event::RetryScheduled | Event::LeaseLost | Event::Delivered | Event::Dead);
        let written = kept.record.journal.iter().filter(|entry| by_workers(entry.event)).count();
        let decided = settled.iter().filter(|entry| by_workers(entry.event)).count();
        (!is_there || written != decided).then(|| format!("the journal is not what was settled ({settled:?})"))
    }

    /// I3: nobody was called for what nobody asked for; what was to follow is there.
    fn check_calls(&mut self) {
        let asked: BTreeSet<MessageId> =
            self.world.clients.iter().flat_map(|client| client.tried.iter().copied()).collect();
        let strangers: Vec<MessageId> = self
            .kept
            .iter()
            .filter(|(id, kept)| {
                let summary = &kept.record.summary;
                let is_ours = summary.user.is_none() && summary.category == SYSTEM_CATEGORY;
                !asked.contains(*id) && !is_ours && summary.redrive_of.is_none()
            })
            .map(|(id, _)| *id)
            .collect();
        let phantoms: Vec<MessageId> = self.sent.keys().filter(|id| !self.kept.contains_key(*id)).copied().collect();
        let missing: Vec<MessageId> =
            self.books.follow_ups.iter().filter(|id| !self.kept.contains_key(*id)).copied().collect();
        for (ids, what) in [
            (strangers, "nobody asked for"),
            (phantoms, "calls were made for what is not stored:"),
            (missing, "follow-ups are missing:"),
        ] {
            if !ids.is_empty() {
                self.problems.push(format!("I3: {what} {ids:?}"));
            }
        }
    }

    /// A dead letter is redriven once, as a notification that names it.
    fn check_redrives(&mut self) {
        let mut found = Vec::new();
        let mut replacements: BTreeMap<MessageId, Vec<MessageId>> = BTreeMap::new();
        for (id, kept) in &self.kept {
            if let Some(old) = kept.record.summary.redrive_of {
                replacements.entry(old).or_default().push(*id);
            }
        }
        for (old, new) in &replacements {
            let named = self.kept.get(old).and_then(|kept| kept.letter.as_ref()?.redriven_as);
            if named.is_none_or(|named| *new != [named]) {
                found.push(format!("I8: {old} names {named:?} and was redriven as {new:?}"));
            }
        }
        let all = self.kept.values().filter_map(|kept| kept.letter.as_ref());
        let lost = all.filter(|letter| letter.redriven_as.is_some() && !replacements.contains_key(&letter.id));
        found.extend(lost.map(|letter| format!("I8: {} was redriven as nothing", letter.id)));
        self.problems.extend(found);
    }

    /// I6: the numbers of an inbox are 1 to n, and each delivered notification is in it once.
    async fn check_inboxes(&mut self) {
        let mut found = Vec::new();
        for (tenant, user) in &self.world.users {
            if !matches!(self.world.store.user(*tenant, *user).await, Ok(Some(_))) {
                continue;
            }
            let page = self.world.store.read_inbox(*tenant, *user, InboxRange::After(0), usize::MAX).await.unwrap();
            let numbers: Vec<u64> = page.entries.iter().map(|entry| entry.number).collect();
            if !numbers.iter().copied().eq(1..=page.head.last) {
                found.push(format!("I6: the inbox of {user} has the numbers {numbers:?}"));
            }
            let mut there: Vec<MessageId> = page.entries.iter().map(|entry| entry.id).collect();
            there.sort_unstable();
            let delivered = self.kept.iter().filter(|(_, kept)| {
                let summary = &kept.record.summary;
                summary.user == Some(*user) && summary.channel == "in-app" && summary.state == State::Delivered
            });
            let wanted: Vec<MessageId> = delivered.map(|(id, _)| *id).collect();
            if there != wanted {
                found.push(format!("I6: the inbox of {user} has {there:?} instead of {wanted:?}"));
            }
        }
        self.problems.extend(found);
    }
}

/// I1, I2: it has ended, once, and nothing that matters came after its end.
fn ends_once(kept: &Kept) -> Option<String> {
    let journal = &kept.record.journal;
    let ends: Vec<Event> = journal.iter().map(|entry| entry.event).filter(|event| is_end(*event)).collect();
    let mut after = journal.iter().map(|entry| entry.event).skip_while(|event| !is_end(*event)).skip(1);
    let is_quiet = after.all(|event| matches!(event, Event::Redriven | Event::Discarded | Event::Read | Event::Erased));
    let state = kept.record.summary.state;
    let fits = ends.first().is_some_and(|event| end_of(*event) == Some(state));
    let begins = journal.first().map(|entry| entry.event) == Some(Event::Accepted);
    if !state.is_terminal() {
        return Some("I1: it has not ended".to_owned());
    }
    (ends.len() != 1 || !fits || !is_quiet || !begins).then(|| "I2: it does not end once".to_owned())
}

/// I4: each call is an attempt in the journal, or belongs to a claim that was lost.
fn calls_are_explained(kept: &Kept, sent: &[Sent]) -> Option<String> {
    let journal = &kept.record.journal;
    let told =
        journal.iter().filter(|entry| entry.attempt.is_some() && kept.record.summary.channel != "in-app").count();
    // Whoever is erased while somebody is telling them something is not told what came of it.
    let silent = |entry: &&Entry| {
        entry.attempt.is_none() && matches!(entry.event, Event::LeaseLost | Event::Dead | Event::Cancelled)
    };
    let unknown = journal.iter().filter(silent).count();
    (sent.len() < told || sent.len() > told + unknown).then(|| format!("I4: {} calls", sent.len()))
}

/// I7: no attempt number is used twice, and there are no more than the policy allows.
fn attempts_are_bounded(kept: &Kept, sent: &[Sent]) -> Option<String> {
    let journal = &kept.record.journal;
    let judged = journal.iter().filter(|entry| entry.attempt.is_some()).count();
    let lost = journal.iter().filter(|entry| entry.event == Event::LeaseLost).count();
    let grows = sent.windows(2).all(|pair| pair[0].attempt < pair[1].attempt);
    let most = usize::try_from(MAX_RETRIES + 1).unwrap();
    // The last of the losses that make a crash suspect is its death.
    let most_lost = usize::try_from(CRASH_SUSPECT_AFTER).unwrap() - 1;
    (judged > most || lost > most_lost || !grows).then(|| format!("I7: {judged} attempts, {lost} lost"))
}

/// I7: who asked for a pause was given it.
fn retries_wait(kept: &Kept, sent: &[Sent]) -> Option<String> {
    for entry in kept.record.journal.iter().filter(|entry| entry.event == Event::RetryScheduled) {
        let number = entry.attempt.as_ref()?.number;
        let asked = sent.iter().find(|sent| sent.attempt == number).and_then(|sent| sent.retry_after);
        // An erasure takes the detail away.
        let due = entry.detail.as_ref().and_then(|detail| Timestamp::parse(detail.strip_prefix("Due ")?).ok());
        if let (Some(asked), Some(due)) = (asked, due)
            && due.since(entry.at) < asked.min(MAX_RETRY_AFTER)
        {
            return Some(format!("I7: attempt {number} was asked to be followed after {asked:?}, not at {due}"));
        }
    }
    None
}

/// I8: what is dead is a dead letter, and nothing else is.
fn dead_ones_are_letters(kept: &Kept) -> Option<String> {
    let is_dead = kept.record.summary.state == State::Dead;
    (is_dead != kept.letter.is_some()).then(|| "I8: dead, but no dead letter, or the other way round".to_owned())
}

/// A notification in a line.
fn tell(kept: &Kept, sent: &[Sent]) -> String {
    let journal = kept.record.journal.iter().map(|entry| {
        let number = entry.attempt.as_ref().map_or(0, |attempt| attempt.number);
        format!("{} {number} at {}", entry.event.as_str(), entry.at)
    });
    let journal: Vec<String> = journal.collect();
    let sent: Vec<u32> = sent.iter().map(|sent| sent.attempt).collect();
    let summary = &kept.record.summary;
    format!("({} {}, journal {journal:?}, sent {sent:?})", summary.channel, summary.state.as_str())
}
