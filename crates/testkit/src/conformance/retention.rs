//! What every [`Upkeep`](tidings_core::ports::Upkeep) has to do to keep a store small.

use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::{MessageId, TenantId};
use tidings_core::idempotency::DEFAULT_TTL;
use tidings_core::journal::Event;
use tidings_core::notification::NewNotification;
use tidings_core::ports::intake::Acceptance;
use tidings_core::ports::jobs::Settled;
use tidings_core::ports::streams::{InboxHead, Receipt, ReceiptFor};
use tidings_core::ports::upkeep::Swept;
use tidings_core::retention::{Policy, Span};
use tidings_core::time::Timestamp;

use super::world::{ANSWERS, World};
use crate::sample::{TESTUSER, keyed};

const DAY: Duration = Duration::from_hours(24);

/// A whole sweep, in one step.
async fn sweep(world: &World) -> Swept {
    let swept = world.store.sweep(&Policy::default(), Span::ALL, world.now(), 1_000).await.expect(ANSWERS);
    assert_eq!(swept.next, None, "the sweep is through");
    swept
}

/// How many a whole sweep deletes.
async fn deleted(world: &World) -> usize {
    let swept = sweep(world).await;
    assert_eq!(swept.expired, 0, "nothing expires");
    swept.deleted
}

/// When a whole sweep that does nothing says to come again.
async fn due_at(world: &World) -> Option<Timestamp> {
    let swept = sweep(world).await;
    assert_eq!((swept.deleted, swept.expired), (0, 0), "nothing is due");
    swept.due_at
}

/// A reading of the first entry of an inbox.
async fn read_first(world: &World) {
    let of = ReceiptFor::Numbers(vec![1]);
    let acknowledged = world.store.acknowledge(TenantId::DEFAULT, TESTUSER, Receipt::Read, of, world.now()).await;
    assert_eq!(acknowledged.expect(ANSWERS), InboxHead { last: 2, unread: 1 });
}

async fn is_there(world: &World, id: MessageId) -> bool {
    world.find(TenantId::DEFAULT, id).await.is_some()
}

pub async fn what_is_young_or_being_sent_is_kept(world: &World) {
    world.accept_email().await;
    let sending = world.claim_one().await;
    world.advance(1_000 * DAY);
    let fresh = [
        world.attempt(world.email(), Verdict::Delivered).await,
        world.dead().await,
        world.told(TESTUSER).await,
        world.accept(NewNotification { due_at: world.now() + 100 * DAY, ..world.email() }).await,
        world.accept_email().await,
    ];
    assert_eq!(deleted(world).await, 0);
    world.advance((7 * DAY).saturating_sub(Duration::from_secs(1)));
    assert_eq!(deleted(world).await, 0);
    for id in fresh {
        assert!(is_there(world, id).await);
    }
    assert_eq!(world.record(sending.lease.id).await.summary.state, State::Sending);
}

pub async fn what_has_ended_is_deleted_with_all_that_belongs_to_it(world: &World) {
    let delivered = world.told(TESTUSER).await;
    let dead = world.dead().await;
    let cancelled = world.accept_email().await;
    world.store.cancel(TenantId::DEFAULT, cancelled, world.now()).await.expect(ANSWERS);
    world.advance(7 * DAY);
    assert_eq!(deleted(world).await, 1);
    assert!(!is_there(world, delivered).await);
    let page = world.inbox(TESTUSER).await;
    assert_eq!((page.entries.len(), page.head.unread), (0, 0));
    world.advance(83 * DAY);
    assert_eq!(deleted(world).await, 2);
    for id in [dead, cancelled] {
        assert!(!is_there(world, id).await);
        assert_eq!(world.find_letter(id).await, None);
    }
    let stats = world.store.stats().await.expect(ANSWERS);
    assert_eq!((stats.queued, stats.leased, stats.dead_letters_pending), (0, 0, 0));
}

pub async fn what_was_read_goes_earlier(world: &World) {
    let read = world.told(TESTUSER).await;
    let unread = world.told(TESTUSER).await;
    read_first(world).await;
    world.advance(3 * DAY);
    assert_eq!(deleted(world).await, 1);
    assert!(!is_there(world, read).await);
    assert!(is_there(world, unread).await);
    assert_eq!(world.inbox(TESTUSER).await.head, InboxHead { last: 2, unread: 1 });
}

pub async fn what_nobody_could_deliver_in_time_expires_and_is_deleted_later(world: &World) {
    let id = world.accept_email().await;
    world.advance(90 * DAY);
    let swept = sweep(world).await;
    assert_eq!((swept.deleted, swept.expired), (0, 1));
    assert!(swept.due_at.is_some_and(|at| at <= world.now() + 90 * DAY), "it is deleted after as long again");
    let record = world.record(id).await;
    assert_eq!((record.summary.state, record.summary.finished_at), (State::Expired, Some(world.now())));
    assert_eq!(record.journal.last().map(|entry| entry.event), Some(Event::Expired));
    assert!(world.claim_all().await.is_empty(), "its job is gone");
    world.advance(89 * DAY);
    assert_eq!(deleted(world).await, 0);
    world.advance(DAY);
    assert_eq!(deleted(world).await, 1);
    assert!(!is_there(world, id).await);
}

pub async fn a_sweep_goes_on_in_small_steps(world: &World) {
    let mut old = Vec::new();
    for _ in 0..10 {
        old.push(world.attempt(world.email(), Verdict::Delivered).await);
    }
    world.advance(7 * DAY);
    let kept = world.attempt(world.email(), Verdict::Delivered).await;
    let (mut span, mut deleted, mut steps) = (Span::ALL, 0, 0);
    loop {
        let swept = world.store.sweep(&Policy::default(), span, world.now(), 3).await.expect(ANSWERS);
        assert!(swept.deleted <= 3, "a step looks at no more than it may");
        (span.after, deleted, steps) = (swept.next, deleted + swept.deleted, steps + 1);
        if span.after.is_none() {
            break;
        }
        assert!(steps < 100, "a sweep comes to its end");
    }
    assert_eq!(deleted, 10);
    assert!(steps >= 4);
    assert!(is_there(world, kept).await);
    for id in old {
        assert!(!is_there(world, id).await);
    }
}

pub async fn a_step_says_when_to_come_again(world: &World) {
    assert_eq!(due_at(world).await, None, "there is nothing");
    let died_at = world.now() + Duration::from_millis(1);
    world.dead().await;
    world.advance(10 * DAY);
    assert_eq!(due_at(world).await, Some(died_at + 90 * DAY));
    let told_at = world.now() + Duration::from_millis(1);
    world.told(TESTUSER).await;
    world.advance(6 * DAY);
    assert_eq!(due_at(world).await, Some(told_at + 7 * DAY), "the earliest of all counts");
    world.advance(DAY + Duration::from_millis(1));
    assert_eq!(deleted(world).await, 1);
    assert_eq!(due_at(world).await, Some(died_at + 90 * DAY), "what was deleted counts no more");
}

pub async fn what_is_read_after_a_sweep_is_deleted_in_time(world: &World) {
    let read = world.told(TESTUSER).await;
    let unread = world.told(TESTUSER).await;
    world.advance(3 * DAY);
    let come_again = due_at(world).await.expect("two are kept");
    world.advance(Duration::from_hours(1));
    read_first(world).await;
    assert!(come_again <= world.now() + 3 * DAY, "it was not known whether one would be read");
    world.advance(3 * DAY);
    assert_eq!(deleted(world).await, 1);
    assert!(!is_there(world, read).await && is_there(world, unread).await);
}

pub async fn what_waits_or_is_being_sent_may_end_after_a_sweep(world: &World) {
    let sent = world.accept_email().await;
    let job = world.claim_one().await;
    let waiting = world.accept_email().await;
    world.advance(80 * DAY);
    let come_again = due_at(world).await.expect("two are kept");
    assert_eq!(world.attempted(&job, Verdict::Delivered).await, Settled::Done);
    assert!(come_again <= world.now() + 7 * DAY, "it was not known how it would end");
    world.advance(7 * DAY);
    assert_eq!(deleted(world).await, 1);
    assert!(!is_there(world, sent).await && is_there(world, waiting).await);
    let come_again = due_at(world).await.expect("one is kept");
    world.advance(3 * DAY);
    assert!(come_again <= world.now());
    assert_eq!(sweep(world).await.expired, 1);
}

pub async fn a_step_keeps_to_its_span(world: &World) {
    let mut old = Vec::new();
    for _ in 0..4 {
        old.push(world.attempt(world.email(), Verdict::Delivered).await);
    }
    world.advance(7 * DAY);
    let span = Span { after: Some(old[0]), upto: Some(old[2]) };
    let swept = world.store.sweep(&Policy::default(), span, world.now(), 1_000).await.expect(ANSWERS);
    assert_eq!(swept, Swept { deleted: 2, ..Swept::default() });
    for (id, stays) in old.iter().zip([true, false, false, true]) {
        assert_eq!(is_there(world, *id).await, stays);
    }
    let swept = world.store.sweep(&Policy::default(), span, world.now(), 1_000).await.expect(ANSWERS);
    assert_eq!(swept, Swept::default(), "nothing is left there");
    let beyond = Span { after: Some(old[3]), upto: Some(old[0]) };
    let swept = world.store.sweep(&Policy::default(), beyond, world.now(), 1_000).await.expect(ANSWERS);
    assert_eq!(swept, Swept::default(), "a span may be empty");
}

pub async fn numbers_of_swept_inbox_entries_are_not_given_again(world: &World) {
    world.told(TESTUSER).await;
    world.advance(7 * DAY);
    sweep(world).await;
    assert_eq!(world.inbox(TESTUSER).await.head, InboxHead { last: 1, unread: 0 });
    world.told(TESTUSER).await;
    let page = world.inbox(TESTUSER).await;
    assert_eq!((page.entries[0].number, page.head), (2, InboxHead { last: 2, unread: 1 }));
}

pub async fn expired_keys_are_forgotten_a_few_at_a_time(world: &World) {
    let forget = async |batch| world.store.forget_keys(world.now(), batch).await.expect(ANSWERS);
    for number in 0..5 {
        world.submit(vec![keyed(world.email(), &format!("old {number}"), "body")]).await;
    }
    world.advance(DEFAULT_TTL.saturating_sub(Duration::from_secs(1)));
    let young = keyed(world.email(), "young", "body");
    let young_id = young.notification.id;
    world.submit(vec![young]).await;
    assert_eq!(forget(10).await, 0);
    world.advance(Duration::from_secs(1));
    // A key that was used anew is not the one that has expired.
    let anew = keyed(world.email(), "old 0", "another body");
    let anew_id = anew.notification.id;
    assert_eq!(world.submit(vec![anew]).await, [Acceptance::Accepted(anew_id)]);
    while forget(3).await > 0 {}
    for (key, body, id) in [("young", "body", young_id), ("old 0", "another body", anew_id)] {
        assert_eq!(world.submit(vec![keyed(world.email(), key, body)]).await, [Acceptance::Replayed(id)]);
    }
    let forgotten = keyed(world.email(), "old 1", "another body");
    let id = forgotten.notification.id;
    assert_eq!(world.submit(vec![forgotten]).await, [Acceptance::Accepted(id)]);
}
