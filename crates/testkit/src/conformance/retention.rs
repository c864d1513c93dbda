//! What every [`Upkeep`](tidings_core::ports::Upkeep) has to do to keep a store small.

use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::{MessageId, TenantId};
use tidings_core::idempotency::DEFAULT_TTL;
use tidings_core::journal::Event;
use tidings_core::notification::NewNotification;
use tidings_core::ports::intake::Acceptance;
use tidings_core::ports::streams::{InboxHead, Receipt, ReceiptFor};
use tidings_core::ports::upkeep::Swept;
use tidings_core::retention::Policy;

use super::world::{ANSWERS, World};
use crate::sample::{TESTUSER, keyed};

const DAY: Duration = Duration::from_hours(24);

/// A whole sweep, in one step.
async fn sweep(world: &World) -> Swept {
    let swept = world.store.sweep(&Policy::default(), None, world.now(), 1_000).await.expect(ANSWERS);
    assert_eq!(swept.next, None, "the sweep is through");
    swept
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
    assert_eq!(sweep(world).await, Swept::default());
    world.advance((7 * DAY).saturating_sub(Duration::from_secs(1)));
    assert_eq!(sweep(world).await, Swept::default());
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
    assert_eq!(sweep(world).await, Swept { deleted: 1, ..Swept::default() });
    assert!(!is_there(world, delivered).await);
    let page = world.inbox(TESTUSER).await;
    assert_eq!((page.entries.len(), page.head.unread), (0, 0));
    world.advance(83 * DAY);
    assert_eq!(sweep(world).await, Swept { deleted: 2, ..Swept::default() });
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
    let receipt = ReceiptFor::Numbers(vec![1]);
    let acknowledged = world.store.acknowledge(TenantId::DEFAULT, TESTUSER, Receipt::Read, receipt, world.now()).await;
    assert_eq!(acknowledged.expect(ANSWERS), InboxHead { last: 2, unread: 1 });
    world.advance(3 * DAY);
    assert_eq!(sweep(world).await, Swept { deleted: 1, ..Swept::default() });
    assert!(!is_there(world, read).await);
    assert!(is_there(world, unread).await);
    assert_eq!(world.inbox(TESTUSER).await.head, InboxHead { last: 2, unread: 1 });
}

pub async fn what_nobody_could_deliver_in_time_expires_and_is_deleted_later(world: &World) {
    let id = world.accept_email().await;
    world.advance(90 * DAY);
    assert_eq!(sweep(world).await, Swept { expired: 1, ..Swept::default() });
    let record = world.record(id).await;
    assert_eq!((record.summary.state, record.summary.finished_at), (State::Expired, Some(world.now())));
    assert_eq!(record.journal.last().map(|entry| entry.event), Some(Event::Expired));
    assert!(world.claim_all().await.is_empty(), "its job is gone");
    world.advance(89 * DAY);
    assert_eq!(sweep(world).await, Swept::default());
    world.advance(DAY);
    assert_eq!(sweep(world).await, Swept { deleted: 1, ..Swept::default() });
    assert!(!is_there(world, id).await);
}

pub async fn a_sweep_goes_on_in_small_steps(world: &World) {
    let mut old = Vec::new();
    for _ in 0..10 {
        old.push(world.attempt(world.email(), Verdict::Delivered).await);
    }
    world.advance(7 * DAY);
    let kept = world.attempt(world.email(), Verdict::Delivered).await;
    let (mut from, mut deleted, mut steps) = (None, 0, 0);
    loop {
        let swept = world.store.sweep(&Policy::default(), from, world.now(), 3).await.expect(ANSWERS);
        assert!(swept.deleted <= 3, "a step looks at no more than it may");
        (from, deleted, steps) = (swept.next, deleted + swept.deleted, steps + 1);
        if from.is_none() {
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
