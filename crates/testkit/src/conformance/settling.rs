//! What every [`Jobs`](tidings_core::ports::Jobs) has to do when a claim is settled.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{Event, State, Verdict};
use tidings_core::id::TenantId;
use tidings_core::journal::{Event as JournalEvent, Outcome};
use tidings_core::notification::{NewNotification, Record};
use tidings_core::ports::jobs::{Job, Lease, Settled, Settlement};
use tidings_core::ports::streams::{InboxHead, InboxRange};
use tokio::task::JoinSet;

use super::world::{ANSWERS, LEASE, World};
use crate::sample::{self, TESTUSER, USER1};

const RETRY: Verdict = Verdict::Retry { after: None };

fn events(record: &Record) -> Vec<JournalEvent> {
    record.journal.iter().map(|entry| entry.event).collect()
}

pub async fn a_delivery_ends_with_its_journal_entry(world: &World) {
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    let settled_at = world.advance(Duration::from_secs(1));
    assert_eq!(world.attempted(&job, Verdict::Delivered).await, Settled::Done);
    let record = world.record(id).await;
    assert_eq!((record.summary.state, record.summary.attempts), (State::Delivered, 1));
    assert_eq!((record.summary.finished_at, record.summary.error.as_deref()), (Some(settled_at), None));
    assert_eq!(events(&record), [JournalEvent::Accepted, JournalEvent::Delivered]);
    let attempt = record.journal[1].attempt.clone().expect("an attempt was made");
    assert_eq!((attempt.number, attempt.outcome), (1, Outcome::Delivered));
    assert_eq!(world.find_letter(id).await, None);
    assert!(world.claim_all().await.is_empty());
}

pub async fn a_failed_attempt_is_retried_when_due(world: &World) {
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    assert_eq!(world.attempted(&job, RETRY).await, Settled::Done);
    let summary = world.record(id).await.summary;
    assert_eq!((summary.state, summary.attempts), (State::Queued, 1));
    assert_eq!(summary.due_at, world.now() + Duration::from_secs(2));
    assert_eq!(summary.error.as_deref(), Some("said the provider"));
    assert_eq!(summary.finished_at, None);
    assert!(world.claim_all().await.is_empty(), "it is not due");
    let ready = world.store.ready(world.now(), 10, 10).await.expect(ANSWERS);
    assert_eq!(ready.next_due, Some(summary.due_at));
    world.advance(Duration::from_secs(2));
    assert_eq!(world.claim_one().await.delivery.attempts, 2);
}

pub async fn used_up_attempts_end_in_a_dead_letter(world: &World) {
    let id = world.accept_email().await;
    for attempt in 1..=4 {
        let job = world.claim_one().await;
        assert_eq!(job.delivery.attempts, attempt);
        assert_eq!(world.find_letter(id).await, None, "it still has attempts");
        assert_eq!(world.attempted(&job, RETRY).await, Settled::Done);
        world.advance(Duration::from_mins(2));
    }
    let record = world.record(id).await;
    assert_eq!((record.summary.state, record.summary.attempts), (State::Dead, 4));
    let retry = JournalEvent::RetryScheduled;
    assert_eq!(events(&record), [JournalEvent::Accepted, retry, retry, retry, JournalEvent::Dead]);
    assert_eq!(world.letter(id).await.attempts, 4);
    assert!(world.claim_all().await.is_empty());
}

pub async fn a_refusal_dies_at_once(world: &World) {
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    let redrive_at = Some(world.now() + Duration::from_mins(1));
    let event = sample::attempted(1, Verdict::Reject, world.now());
    let settlement = Settlement { redrive_at, ..sample::settlement(&job, event, world.now()) };
    assert_eq!(world.settle(settlement).await, Settled::Done);
    assert_eq!(world.record(id).await.summary.state, State::Dead);
    let letter = world.letter(id).await;
    assert_eq!((letter.died_at, letter.next_redrive_at), (world.now(), redrive_at));
}

pub async fn an_expired_delivery_is_no_dead_letter(world: &World) {
    let expires_at = Some(world.now() + Duration::from_secs(1));
    let id = world.accept(NewNotification { expires_at, ..world.email() }).await;
    world.advance(Duration::from_secs(1));
    let job = world.claim_one().await;
    assert_eq!(world.happened(&job, Event::Expired).await, Settled::Done);
    let record = world.record(id).await;
    assert_eq!((record.summary.state, record.summary.attempts), (State::Expired, 0));
    assert_eq!(record.summary.finished_at, Some(world.now()));
    assert_eq!(events(&record), [JournalEvent::Accepted, JournalEvent::Expired]);
    assert_eq!(world.find_letter(id).await, None);
}

pub async fn a_release_gives_the_attempt_back_without_a_trace(world: &World) {
    let id = world.accept_email().await;
    let before = world.record(id).await;
    let job = world.claim_one().await;
    assert_eq!(world.happened(&job, Event::Released).await, Settled::Done);
    assert_eq!(world.record(id).await, before);
    assert_eq!(world.claim_one().await.delivery.attempts, 1);
}

pub async fn a_settlement_counts_as_long_as_nobody_else_owns_the_job(world: &World) {
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    world.advance(LEASE * 10);
    assert_eq!(world.attempted(&job, Verdict::Delivered).await, Settled::Done);
    assert_eq!(world.record(id).await.summary.state, State::Delivered);
}

pub async fn a_stale_settlement_changes_nothing(world: &World) {
    for verdict in [Verdict::Delivered, Verdict::Reject, RETRY] {
        let id = world.accept(world.in_app(TESTUSER)).await;
        let late = world.claim_one().await;
        world.happened(&late, Event::Released).await;
        let current = world.claim_one().await;
        let before = world.record(id).await;
        let follow_up = world.webhook("https://events.example:443");
        let follow_up_id = follow_up.id;
        let event = sample::attempted(1, verdict, world.now());
        let settlement = sample::settlement(&late, event, world.now());
        let stale = Settlement { to_inbox: true, follow_up: Some(Box::new(follow_up)), ..settlement };
        assert_eq!(world.settle(stale).await, Settled::Stale);
        assert_eq!(world.record(id).await, before);
        assert_eq!(world.inbox(TESTUSER).await.head, InboxHead::default());
        assert_eq!(world.find_letter(id).await, None);
        assert_eq!(world.find(TenantId::DEFAULT, follow_up_id).await, None);
        assert!(world.claim_all().await.is_empty(), "the job is still claimed and there is no other");
        // Out of the way of the next round, and proof that the current lease is untouched.
        assert_eq!(world.happened(&current, Event::Expired).await, Settled::Done);
    }
}

pub async fn a_lease_is_settled_once(world: &World) {
    let id = world.accept(world.in_app(TESTUSER)).await;
    let job = world.claim_one().await;
    assert_eq!(world.attempted(&job, Verdict::Delivered).await, Settled::Done);
    let after = world.record(id).await;
    for verdict in [Verdict::Delivered, Verdict::Reject, RETRY] {
        assert_eq!(world.attempted(&job, verdict).await, Settled::Stale);
    }
    assert_eq!(world.record(id).await, after);
    assert_eq!(world.inbox(TESTUSER).await.head.last, 1);
    assert_eq!(world.find_letter(id).await, None);
}

pub async fn a_lease_on_nothing_is_stale(world: &World) {
    world.accept_email().await;
    let job = world.claim_one().await;
    let nothing = Lease { id: world.id(), ..job.lease };
    let not_yet = Lease { fence: job.lease.fence + 1, ..job.lease };
    for lease in [nothing, not_yet] {
        let forged = Job { lease, ..job.clone() };
        assert_eq!(world.attempted(&forged, Verdict::Delivered).await, Settled::Stale);
    }
    assert_eq!(world.attempted(&job, Verdict::Delivered).await, Settled::Done);
}

pub async fn settlements_are_answered_in_order_and_each_by_itself(world: &World) {
    for _ in 0..3 {
        world.accept_email().await;
    }
    let jobs = world.claim_all().await;
    world.attempted(&jobs[1], Verdict::Delivered).await;
    let settlements = jobs.iter().map(|job| {
        let event = sample::attempted(1, Verdict::Reject, world.now());
        sample::settlement(job, event, world.now())
    });
    let settled = world.store.settle(settlements.collect()).await.expect(ANSWERS);
    assert_eq!(settled, [Settled::Done, Settled::Stale, Settled::Done]);
    for (job, expected) in jobs.iter().zip([State::Dead, State::Delivered, State::Dead]) {
        assert_eq!(world.record(job.lease.id).await.summary.state, expected);
    }
}

pub async fn only_what_asks_for_it_goes_to_the_inbox(world: &World) {
    let told = world.told(TESTUSER).await;
    world.attempt(world.email(), Verdict::Delivered).await;
    world.attempt(world.in_app(TESTUSER), Verdict::Reject).await;
    let page = world.inbox(TESTUSER).await;
    assert_eq!(page.head, InboxHead { last: 1, unread: 1 });
    let found: Vec<_> = page.entries.iter().map(|entry| (entry.number, entry.id)).collect();
    assert_eq!(found, [(1, told)]);
    let record = world.record(told).await;
    assert_eq!(Some(page.entries[0].at), record.summary.finished_at);
    assert_eq!(page.entries[0].category, record.summary.category);
    assert_eq!(Some(&page.entries[0].payload), record.content.as_ref().map(|content| &content.payload));
}

pub async fn inbox_numbers_have_no_gap_under_concurrent_settlements(world: &World) {
    for round in 0..100 {
        let user = if round % 2 == 0 { TESTUSER } else { USER1 };
        world.accept(world.in_app(user)).await;
    }
    let mut settling = JoinSet::new();
    for job in world.claim_all().await {
        let verdict = if job.lease.id.as_integer() % 5 == 0 { Verdict::Reject } else { Verdict::Delivered };
        let event = sample::attempted(1, verdict, world.now());
        let (store, settlement) = (Arc::clone(&world.store), sample::settlement(&job, event, world.now()));
        settling.spawn(async move { store.settle(vec![settlement]).await.expect(ANSWERS) });
    }
    assert_eq!(settling.join_all().await.len(), 100);
    for user in [TESTUSER, USER1] {
        let page = world.inbox(user).await;
        let numbers: Vec<u64> = page.entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (1..=page.head.last).collect::<Vec<u64>>());
        assert_eq!(page.head.unread, page.head.last);
    }
}

pub async fn a_follow_up_is_stored_with_its_settlement(world: &World) {
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    let follow_up = sample::system(world.id(), world.now());
    let event = sample::attempted(1, Verdict::Delivered, world.now());
    let settlement = sample::settlement(&job, event, world.now());
    let settlement = Settlement { follow_up: Some(Box::new(follow_up.clone())), ..settlement };
    assert_eq!(world.settle(settlement).await, Settled::Done);
    assert_eq!(world.record(id).await.summary.state, State::Delivered);
    assert_eq!(events(&world.record(follow_up.id).await), [JournalEvent::Accepted]);
    assert_eq!(world.claim_one().await.notification, follow_up);
    let none = world.store.read_inbox(TenantId::DEFAULT, TESTUSER, InboxRange::After(0), 10).await.expect(ANSWERS);
    assert_eq!(none.head, InboxHead::default());
}
