//! What only the embedded store has: a directory, a lock, a schema, and a life after the process.

use std::time::Duration;

use tidings_core::delivery::{Event, State, Verdict, step};
use tidings_core::fairness::{Lane, QueueKey};
use tidings_core::id::{BootId, IdGen, MessageId, MonotonicIds, TenantId, UserId};
use tidings_core::idempotency::{Fingerprint, Idempotency};
use tidings_core::journal::{Attempt, Event as JournalEvent};
use tidings_core::notification::{Content, Destination, NewNotification, Priority, TraceContext};
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::ports::jobs::{Claim, Job, LostBy, Settled, Settlement};
use tidings_core::ports::streams::{InboxHead, InboxRange, Receipt, ReceiptFor};
use tidings_core::ports::{History, Intake, Jobs, Streams, Upkeep};
use tidings_core::retry::Policy;
use tidings_core::time::Timestamp;
use tidings_store::{OpenError, Options, SqliteStore, sqlite};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const USER: UserId = UserId(Uuid::from_u128(7));

fn open(dir: &std::path::Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(Options::plain(dir))
}

fn boot(number: u128) -> BootId {
    BootId(Uuid::from_u128(number))
}

fn notification(id: MessageId) -> NewNotification {
    NewNotification {
        id,
        request: id,
        tenant: TenantId::DEFAULT,
        user: Some(USER),
        channel: "in-app".to_owned(),
        category: "transactional".to_owned(),
        priority: Priority::Normal,
        destination: Destination::new("in-app", "inbox"),
        content: Content { payload: r#"{"title":"t"}"#.to_owned(), metadata: None },
        context: TraceContext::default(),
        accepted_at: NOW,
        due_at: NOW,
        expires_at: None,
        redrive_of: None,
        redrives: 0,
    }
}

fn lane() -> Lane {
    let queue = QueueKey { tenant: TenantId::DEFAULT, destination: Destination::new("in-app", "inbox") };
    Lane { queue, priority: Priority::Normal }
}

async fn accept(store: &SqliteStore, ids: &MonotonicIds, count: usize) -> Vec<MessageId> {
    let batch: Vec<Submission> = (0..count)
        .map(|_| Submission { notification: notification(ids.next(NOW)), idempotency: None, at_once: None })
        .collect();
    let accepted = store.accept(batch).await.expect("accepted");
    accepted
        .into_iter()
        .map(|acceptance| match acceptance {
            Acceptance::Accepted(id) => id,
            other => unreachable!("{other:?}"),
        })
        .collect()
}

async fn claim(store: &SqliteStore, owner: BootId, count: usize) -> Vec<Job> {
    let claim = Claim { owner, now: NOW, lease: Duration::from_mins(1), lanes: vec![(lane(), count)] };
    store.claim(claim).await.expect("claimed")
}

fn delivered(job: &Job) -> Settlement {
    Settlement { to_inbox: true, ..attempted(job, Verdict::Delivered) }
}

fn attempted(job: &Job, verdict: Verdict) -> Settlement {
    let attempt = Attempt {
        number: job.delivery.attempts,
        provider: "inbox".to_owned(),
        started_at: NOW,
        duration_ms: 0,
        outcome: verdict.outcome(),
        code: None,
        message: None,
        provider_id: None,
    };
    let event = Event::Attempted { verdict, attempt };
    let transition = step(&job.delivery, event, &Policy::default(), NOW, 0.5).expect("a job can be settled");
    Settlement { lease: job.lease, transition, to_inbox: false, redrive_at: None, follow_up: None }
}

#[tokio::test]
async fn what_was_accepted_is_there_after_the_store_was_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let ids = accept(&store, &MonotonicIds::default(), 3).await;
    store.close().await;
    drop(store);

    let store = open(dir.path()).unwrap();
    assert_eq!(store.last_id(), ids.last().copied());
    let record = store.record(TenantId::DEFAULT, ids[0]).await.unwrap().unwrap();
    assert_eq!((record.summary.state, record.content.unwrap().payload.as_str()), (State::Queued, r#"{"title":"t"}"#));
    assert_eq!(store.ready(NOW, 10, 10).await.unwrap().lanes, [(lane(), 3)]);
    assert_eq!(store.stats().await.unwrap().queued, 3);
}

#[tokio::test]
async fn dead_letters_are_counted_after_the_store_was_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    accept(&store, &MonotonicIds::default(), 3).await;
    let jobs = claim(&store, boot(1), 2).await;
    let settlements = jobs.iter().map(|job| attempted(job, Verdict::Reject)).collect();
    assert_eq!(store.settle(settlements).await.unwrap(), [Settled::Done; 2]);
    let before = store.stats().await.unwrap();
    assert_eq!((before.dead_letters_pending, before.oldest_dead_letter), (2, Some(NOW)));
    store.close().await;
    drop(store);

    let after = open(dir.path()).unwrap().stats().await.unwrap();
    assert_eq!((after.queued, after.dead_letters_pending, after.oldest_dead_letter), (1, 2, Some(NOW)));
}

#[tokio::test]
async fn keys_and_inbox_numbers_go_on_after_the_store_was_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let ids = MonotonicIds::default();
    let key = Idempotency {
        key: Fingerprint::of(b"key"),
        body: Fingerprint::of(b"body"),
        expires_at: NOW + Duration::from_hours(24),
    };
    let store = open(dir.path()).unwrap();
    let first = ids.next(NOW);
    let submission = Submission { notification: notification(first), idempotency: Some(key), at_once: None };
    assert_eq!(store.accept(vec![submission]).await.unwrap(), [Acceptance::Accepted(first)]);
    let jobs = claim(&store, boot(1), 1).await;
    assert_eq!(store.settle(vec![delivered(&jobs[0])]).await.unwrap(), [Settled::Done]);
    drop(store);

    let store = open_when_free(dir.path()).await;
    let again = Submission { notification: notification(ids.next(NOW)), idempotency: Some(key), at_once: None };
    assert_eq!(store.accept(vec![again]).await.unwrap(), [Acceptance::Replayed(first)]);
    accept(&store, &ids, 1).await;
    let jobs = claim(&store, boot(2), 1).await;
    store.settle(vec![delivered(&jobs[0])]).await.unwrap();
    let inbox = store.read_inbox(TenantId::DEFAULT, USER, InboxRange::After(0), 10).await.unwrap();
    assert_eq!(inbox.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2]);
}

/// A dropped store lets go of its directory once its thread has ended.
async fn open_when_free(dir: &std::path::Path) -> SqliteStore {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        match open(dir) {
            Ok(store) => return store,
            Err(OpenError::Locked(..)) if tokio::time::Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => unreachable!("{error}"),
        }
    }
}

#[tokio::test]
async fn leases_of_a_dead_boot_are_found_and_its_settlement_comes_too_late() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let ids = accept(&store, &MonotonicIds::default(), 1).await;
    let old = claim(&store, boot(1), 1).await;
    store.close().await;
    drop(store);

    let store = open(dir.path()).unwrap();
    let lost = store.lost(LostBy::OtherThan(boot(2)), None, 10).await.unwrap();
    assert_eq!(lost.len(), 1);
    let transition = step(&lost[0].delivery, Event::LeaseLost, &Policy::default(), NOW, 0.5).unwrap();
    let settlement =
        Settlement { lease: lost[0].lease, transition, to_inbox: false, redrive_at: None, follow_up: None };
    assert_eq!(store.settle(vec![settlement]).await.unwrap(), [Settled::Done]);
    let new = claim(&store, boot(2), 1).await;
    assert!(new[0].lease.fence > old[0].lease.fence);
    assert_eq!((new[0].notification.id, new[0].delivery.attempts), (ids[0], 2));
    assert_eq!(
        store.settle(vec![delivered(&old[0]), delivered(&new[0])]).await.unwrap(),
        [Settled::Stale, Settled::Done]
    );
    let record = store.record(TenantId::DEFAULT, ids[0]).await.unwrap().unwrap();
    let events: Vec<&str> = record.journal.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(events, ["accepted", "lease-lost", "delivered"]);
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(
        error.contains("in use by another Tidings process") && error.contains(&std::process::id().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.close().await;
    drop(store);
    let connection = rusqlite::Connection::open(dir.path().join("tidings.db")).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    assert!(matches!(open(dir.path()), Err(OpenError::Newer { found: 999 })));
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tidings.db"), vec![0x5a; 8192]).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged(..)), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_new_notifications_and_finishes_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let ids = MonotonicIds::default();
    let store = open(dir.path()).unwrap();
    accept(&store, &ids, 1).await;
    store.close().await;
    drop(store);

    let options = Options { min_free_bytes: u64::MAX, ..Options::plain(dir.path()) };
    let store = SqliteStore::open(options).unwrap();
    let refused = store
        .accept(vec![Submission { notification: notification(ids.next(NOW)), idempotency: None, at_once: None }])
        .await;
    assert!(matches!(refused, Err(tidings_core::error::StoreError::Full)), "{refused:?}");
    let jobs = claim(&store, boot(1), 1).await;
    assert_eq!(store.settle(vec![delivered(&jobs[0])]).await.unwrap(), [Settled::Done]);
}

#[tokio::test]
async fn a_damaged_row_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let ids = accept(&store, &MonotonicIds::default(), 3).await;
    let other = rusqlite::Connection::open(dir.path().join("tidings.db")).unwrap();
    let damaged = other.execute("UPDATE notifications SET user_id = x'00' WHERE id = ?1", [ids[0].as_integer()]);
    assert_eq!(damaged.unwrap(), 1);
    let claimed: Vec<MessageId> = claim(&store, boot(1), 3).await.iter().map(|job| job.notification.id).collect();
    assert_eq!(claimed, ids[1..]);
    let lost = store.lost(LostBy::OtherThan(boot(2)), None, 10).await.unwrap();
    assert_eq!(lost.iter().map(|lost| lost.lease.id).collect::<Vec<_>>(), ids[1..]);
}

#[tokio::test]
async fn a_write_that_fails_through_its_own_fault_leaves_the_store_healthy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let ids = accept(&store, &MonotonicIds::default(), 1).await;
    let again = Submission { notification: notification(ids[0]), idempotency: None, at_once: None };
    assert!(store.accept(vec![again]).await.is_err());
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(tidings_core::error::StoreError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_while_writing_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let ids = std::sync::Arc::new(MonotonicIds::default());
    accept(&store, &ids, 500).await;
    let (writer, more) = (store.clone(), std::sync::Arc::clone(&ids));
    let writing = tokio::spawn(async move {
        for _ in 0..50 {
            accept(&writer, &more, 20).await;
        }
    });
    let (data_dir, target) = (dir.path().to_owned(), dir.path().join("backup/tidings.db"));
    std::fs::create_dir(dir.path().join("backup")).unwrap();
    let copy = target.clone();
    let pages = tokio::task::spawn_blocking(move || {
        let mut seen = 0;
        sqlite::backup::run(&data_dir, &copy, &mut |done, _all| seen = done).map(|()| seen)
    });
    assert!(pages.await.unwrap().unwrap() > 0);
    writing.await.unwrap();

    let copy = open(&dir.path().join("backup")).unwrap();
    let stored = copy.stats().await.unwrap().queued;
    assert!((500..=1500).contains(&stored) && stored % 20 == 0, "{stored}");
    let again = sqlite::backup::run(dir.path(), &target, &mut |_, _| {});
    assert!(again.unwrap_err().to_string().contains("exists already"));
}

#[tokio::test]
async fn a_receipt_for_a_long_inbox_goes_in_steps_and_marks_all_of_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let ids = MonotonicIds::default();
    accept(&store, &ids, 2_500).await;
    let jobs = claim(&store, boot(1), 2_500).await;
    store.settle(jobs.iter().map(delivered).collect()).await.unwrap();
    let mark = |receipt, to| store.acknowledge(TenantId::DEFAULT, USER, receipt, ReceiptFor::UpTo(to), NOW);

    assert_eq!(mark(Receipt::Delivered, 2_500).await.unwrap(), InboxHead { last: 2_500, unread: 2_500 });
    assert_eq!(mark(Receipt::Read, 2_400).await.unwrap(), InboxHead { last: 2_500, unread: 100 });
    assert_eq!(mark(Receipt::Read, 10).await.unwrap(), InboxHead { last: 2_500, unread: 100 });
    assert_eq!(mark(Receipt::Read, u64::MAX).await.unwrap(), InboxHead { last: 2_500, unread: 0 });

    let page = store.read_inbox(TenantId::DEFAULT, USER, InboxRange::After(0), 5_000).await.unwrap();
    assert!(page.entries.iter().all(|entry| entry.read_at.is_some() && entry.delivered_at.is_some()));
    let record = store.record(TenantId::DEFAULT, page.entries[0].id).await.unwrap().unwrap();
    assert_eq!(record.journal.iter().filter(|entry| entry.event == JournalEvent::Read).count(), 1);
}
