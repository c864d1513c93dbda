//! What every [`Streams`](tidings_core::ports::Streams) has to do.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::{TenantId, UserId};
use tidings_core::journal::Event;
use tidings_core::notification::NewNotification;
use tidings_core::ports::streams::{InboxEntry, InboxHead, InboxPage, InboxRange, Receipt, ReceiptFor};
use tokio::task::JoinSet;

use super::world::{ANSWERS, World};
use crate::sample::{self, TESTUSER, USER1};

async fn read(world: &World, range: InboxRange, limit: usize) -> InboxPage {
    world.store.read_inbox(TenantId::DEFAULT, TESTUSER, range, limit).await.expect(ANSWERS)
}

async fn acknowledge(world: &World, receipt: Receipt, of: ReceiptFor) -> InboxHead {
    world.store.acknowledge(TenantId::DEFAULT, TESTUSER, receipt, of, world.now()).await.expect(ANSWERS)
}

/// Takes `count` entries into the inbox of the first user.
async fn fill(world: &World, count: usize) {
    for _ in 0..count {
        world.told(TESTUSER).await;
    }
}

fn numbers(page: &InboxPage) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.number).collect()
}

fn unread(entries: &[InboxEntry]) -> u64 {
    entries.iter().map(|entry| u64::from(entry.read_at.is_none())).sum()
}

pub async fn an_inbox_never_written_is_empty(world: &World) {
    assert_eq!(read(world, InboxRange::After(0), 10).await, InboxPage::default());
    assert_eq!(read(world, InboxRange::Before(10), 10).await, InboxPage::default());
    for receipt in [Receipt::Delivered, Receipt::Read] {
        assert_eq!(acknowledge(world, receipt, ReceiptFor::UpTo(10)).await, InboxHead::default());
    }
}

pub async fn what_a_reader_missed_comes_upwards(world: &World) {
    fill(world, 5).await;
    for (after, limit, expected) in [
        (0, 10, vec![1, 2, 3, 4, 5]),
        (0, 2, vec![1, 2]),
        (2, 2, vec![3, 4]),
        (4, 2, vec![5]),
        (5, 2, Vec::new()),
        (1_000, 2, Vec::new()),
    ] {
        let page = read(world, InboxRange::After(after), limit).await;
        assert_eq!(numbers(&page), expected, "after {after}, at most {limit}");
        assert_eq!(page.head, InboxHead { last: 5, unread: 5 });
    }
}

pub async fn the_newest_come_downwards(world: &World) {
    fill(world, 5).await;
    for (before, limit, expected) in [
        (1_000, 10, vec![5, 4, 3, 2, 1]),
        (6, 2, vec![5, 4]),
        (4, 2, vec![3, 2]),
        (2, 2, vec![1]),
        (1, 2, Vec::new()),
        (0, 2, Vec::new()),
    ] {
        let page = read(world, InboxRange::Before(before), limit).await;
        assert_eq!(numbers(&page), expected, "before {before}, at most {limit}");
        assert_eq!(page.head, InboxHead { last: 5, unread: 5 });
    }
}

pub async fn inboxes_of_users_and_tenants_are_apart(world: &World) {
    let tenant = world.tenant("other").await;
    let mine = world.told(TESTUSER).await;
    let theirs = world.told(USER1).await;
    let foreign = world.accept(NewNotification { tenant, ..world.in_app(TESTUSER) }).await;
    let job = world.claim_one().await;
    world.attempted(&job, Verdict::Delivered).await;
    acknowledge(world, Receipt::Read, ReceiptFor::UpTo(1)).await;
    let inbox = async |tenant: TenantId, user: UserId| {
        let page = world.store.read_inbox(tenant, user, InboxRange::After(0), 10).await.expect(ANSWERS);
        let entries: Vec<_> = page.entries.iter().map(|entry| (entry.number, entry.id)).collect();
        (entries, page.head.unread)
    };
    assert_eq!(inbox(TenantId::DEFAULT, TESTUSER).await, (vec![(1, mine)], 0));
    assert_eq!(inbox(TenantId::DEFAULT, USER1).await, (vec![(1, theirs)], 1));
    assert_eq!(inbox(tenant, TESTUSER).await, (vec![(1, foreign)], 1));
}

pub async fn a_delivered_receipt_is_no_reading(world: &World) {
    let id = world.told(TESTUSER).await;
    let before = world.record(id).await;
    let at = world.tick();
    let head = acknowledge(world, Receipt::Delivered, ReceiptFor::UpTo(1)).await;
    assert_eq!(head, InboxHead { last: 1, unread: 1 });
    let entry = read(world, InboxRange::After(0), 1).await.entries.remove(0);
    assert_eq!((entry.delivered_at, entry.read_at), (Some(at), None));
    assert_eq!(world.record(id).await, before);
}

pub async fn a_first_read_marks_the_notification_and_its_journal(world: &World) {
    let id = world.told(TESTUSER).await;
    let at = world.tick();
    let head = acknowledge(world, Receipt::Read, ReceiptFor::UpTo(1)).await;
    assert_eq!(head, InboxHead { last: 1, unread: 0 });
    let entry = read(world, InboxRange::After(0), 1).await.entries.remove(0);
    assert_eq!((entry.delivered_at, entry.read_at), (Some(at), Some(at)), "what is read was delivered");
    let record = world.record(id).await;
    assert_eq!((record.summary.state, record.summary.read_at), (State::Delivered, Some(at)));
    let last = record.journal.last().map(|entry| (entry.event, entry.at));
    assert_eq!(last, Some((Event::Read, at)));
}

pub async fn repeating_a_receipt_changes_nothing(world: &World) {
    let id = world.told(TESTUSER).await;
    let delivered_at = world.tick();
    acknowledge(world, Receipt::Delivered, ReceiptFor::UpTo(1)).await;
    let read_at = world.tick();
    acknowledge(world, Receipt::Read, ReceiptFor::UpTo(1)).await;
    let (page, record) = (world.inbox(TESTUSER).await, world.record(id).await);
    assert_eq!((page.entries[0].delivered_at, page.entries[0].read_at), (Some(delivered_at), Some(read_at)));
    for (receipt, of) in [
        (Receipt::Delivered, ReceiptFor::UpTo(1)),
        (Receipt::Read, ReceiptFor::UpTo(1)),
        (Receipt::Read, ReceiptFor::UpTo(u64::MAX)),
        (Receipt::Read, ReceiptFor::Numbers(vec![1, 1, 1])),
    ] {
        world.tick();
        assert_eq!(acknowledge(world, receipt, of).await, page.head);
        assert_eq!(world.inbox(TESTUSER).await, page);
        assert_eq!(world.record(id).await, record);
    }
}

pub async fn receipts_for_numbers_leave_the_others(world: &World) {
    fill(world, 5).await;
    let head = acknowledge(world, Receipt::Read, ReceiptFor::Numbers(vec![4, 2, 2, 0, 99])).await;
    assert_eq!(head, InboxHead { last: 5, unread: 3 });
    let read_ones = |page: InboxPage| -> Vec<u64> {
        page.entries.into_iter().filter(|entry| entry.read_at.is_some()).map(|entry| entry.number).collect()
    };
    assert_eq!(read_ones(world.inbox(TESTUSER).await), [2, 4]);
    let head = acknowledge(world, Receipt::Read, ReceiptFor::UpTo(3)).await;
    assert_eq!(head, InboxHead { last: 5, unread: 1 });
    assert_eq!(read_ones(world.inbox(TESTUSER).await), [1, 2, 3, 4]);
    let head = acknowledge(world, Receipt::Read, ReceiptFor::Numbers(Vec::new())).await;
    assert_eq!(head, InboxHead { last: 5, unread: 1 });
}

pub async fn unread_is_right_under_concurrent_receipts_and_settlements(world: &World) {
    fill(world, 20).await;
    for _ in 0..40 {
        world.accept(world.in_app(TESTUSER)).await;
    }
    let mut acting = JoinSet::new();
    for job in world.claim_all().await {
        let event = sample::attempted(1, Verdict::Delivered, world.now());
        let (store, settlement) = (Arc::clone(&world.store), sample::settlement(&job, event, world.now()));
        acting.spawn(async move { drop(store.settle(vec![settlement]).await.expect(ANSWERS)) });
    }
    world.advance(Duration::from_secs(1));
    for number in 1..=30 {
        let (store, now) = (Arc::clone(&world.store), world.now());
        let of = if number % 3 == 0 { ReceiptFor::UpTo(number) } else { ReceiptFor::Numbers(vec![number, number / 2]) };
        acting.spawn(async move {
            let acknowledged = store.acknowledge(TenantId::DEFAULT, TESTUSER, Receipt::Read, of, now).await;
            assert!(acknowledged.expect(ANSWERS).unread <= 60);
        });
    }
    acting.join_all().await;
    let page = world.inbox(TESTUSER).await;
    assert_eq!((page.entries.len(), page.head.last), (60, 60));
    assert_eq!(page.head.unread, unread(&page.entries));
    let head = acknowledge(world, Receipt::Read, ReceiptFor::UpTo(60)).await;
    assert_eq!(head, InboxHead { last: 60, unread: 0 });
    for entry in world.inbox(TESTUSER).await.entries {
        let journal = world.record(entry.id).await.journal;
        let reads = journal.iter().filter(|entry| entry.event == Event::Read).count();
        assert_eq!(reads, 1, "entry {} was read once", entry.number);
    }
}
