//! What becomes of a store whose files are not what they were.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tidings_core::id::{IdGen, MonotonicIds, TenantId};
use tidings_core::notification::{Content, Destination, NewNotification, Priority, TraceContext};
use tidings_core::ports::Intake;
use tidings_core::ports::intake::Submission;
use tidings_core::time::Timestamp;
use tidings_store::sqlite::backup;
use tidings_store::{OpenError, Options, SqliteStore};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const DATABASE: &str = "tidings.db";

/// Opens the store once the thread of the one before has let go of it.
fn open(dir: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(Options::plain(dir))
}

fn reason(dir: &Path) -> String {
    open(dir).err().map(|error| error.to_string()).expect("the store is refused")
}

fn notification(ids: &MonotonicIds) -> NewNotification {
    let id = ids.next(NOW);
    NewNotification {
        id,
        request: id,
        tenant: TenantId::DEFAULT,
        user: None,
        channel: "webhook".to_owned(),
        category: "transactional".to_owned(),
        priority: Priority::Normal,
        destination: Destination::new("webhook", "example.com"),
        content: Content { payload: "{}".to_owned(), metadata: None },
        context: TraceContext::default(),
        accepted_at: NOW,
        due_at: NOW,
        expires_at: None,
        redrive_of: None,
        redrives: 0,
    }
}

/// Commits so often, and closes the store in order.
async fn commit(store: SqliteStore, times: usize) {
    let ids = MonotonicIds::after(store.last_id());
    for _ in 0..times {
        let batch = vec![Submission { notification: notification(&ids), idempotency: None, at_once: None }];
        store.accept(batch).await.expect("accepted");
    }
    store.close().await;
}

fn remove_log(dir: &Path) {
    for suffix in ["-wal", "-shm"] {
        let log = dir.join(format!("{DATABASE}{suffix}"));
        if log.exists() {
            fs::remove_file(log).expect("the log can be removed");
        }
    }
}

#[tokio::test]
async fn an_old_copy_in_place_of_the_database_is_refused_until_the_loss_is_accepted() {
    let dir = TempDir::new().unwrap();
    commit(open(dir.path()).unwrap(), 2).await;
    let old = fs::read(dir.path().join(DATABASE)).unwrap();
    commit(open(dir.path()).unwrap(), 5).await;
    fs::write(dir.path().join(DATABASE), &old).unwrap();

    let reason = reason(dir.path());
    assert!(reason.contains("5 of 7 transactions"), "{reason}");
    assert!(reason.contains("--accept-loss"), "{reason}");
    assert_eq!(fs::read(dir.path().join(DATABASE)).unwrap(), old, "a refusal changes nothing");

    let accepted = SqliteStore::open(Options { accept_loss: true, ..Options::plain(dir.path()) }).unwrap();
    commit(accepted, 1).await;
    commit(open(dir.path()).unwrap(), 1).await;
}

#[tokio::test]
async fn a_database_that_is_gone_is_not_taken_for_a_new_one() {
    let dir = TempDir::new().unwrap();
    commit(open(dir.path()).unwrap(), 3).await;
    fs::remove_file(dir.path().join(DATABASE)).unwrap();
    let reason = reason(dir.path());
    assert!(reason.contains("3 of 3 transactions"), "{reason}");
    assert!(!dir.path().join(DATABASE).exists(), "a refusal creates nothing");
}

#[tokio::test]
async fn a_backup_put_in_place_is_taken_for_what_it_is() {
    let dir = TempDir::new().unwrap();
    commit(open(dir.path()).unwrap(), 2).await;
    let copy = dir.path().join("copy.db");
    backup::run(dir.path(), &copy, &mut |_, _| {}).unwrap();
    commit(open(dir.path()).unwrap(), 5).await;

    remove_log(dir.path());
    fs::rename(&copy, dir.path().join(DATABASE)).unwrap();
    commit(open(dir.path()).unwrap(), 1).await;
    // From here on it is a store like any other.
    let old = fs::read(dir.path().join(DATABASE)).unwrap();
    commit(open(dir.path()).unwrap(), 1).await;
    fs::write(dir.path().join(DATABASE), old).unwrap();
    assert!(reason(dir.path()).contains("1 of"), "{}", reason(dir.path()));
}

#[tokio::test]
async fn the_database_of_another_store_is_refused() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    commit(open(dir.path()).unwrap(), 1).await;
    commit(open(other.path()).unwrap(), 4).await;
    fs::copy(other.path().join(DATABASE), dir.path().join(DATABASE)).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Foreign(_))));
}

#[tokio::test]
async fn a_seal_that_is_damaged_or_gone_is_made_anew() {
    let dir = TempDir::new().unwrap();
    commit(open(dir.path()).unwrap(), 1).await;
    fs::write(dir.path().join("seal"), [0x55; 8192]).unwrap();
    commit(open(dir.path()).unwrap(), 1).await;
    fs::remove_file(dir.path().join("seal")).unwrap();
    commit(open(dir.path()).unwrap(), 1).await;

    let old = fs::read(dir.path().join(DATABASE)).unwrap();
    commit(open(dir.path()).unwrap(), 1).await;
    fs::write(dir.path().join(DATABASE), old).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Lost { .. })));
}

#[tokio::test]
async fn a_backup_beside_the_log_of_the_store_before_is_refused() {
    let dir = TempDir::new().unwrap();
    commit(open(dir.path()).unwrap(), 2).await;
    let copy = dir.path().join("copy.db");
    backup::run(dir.path(), &copy, &mut |_, _| {}).unwrap();
    let log = dir.path().join(format!("{DATABASE}-wal"));
    // As a killed process leaves it.
    let store = open(dir.path()).unwrap();
    let ids = MonotonicIds::after(store.last_id());
    let batch = vec![Submission { notification: notification(&ids), idempotency: None, at_once: None }];
    store.accept(batch).await.expect("accepted");
    let left = fs::read(&log).unwrap();
    store.close().await;
    assert!(!left.is_empty());

    remove_log(dir.path());
    fs::rename(&copy, dir.path().join(DATABASE)).unwrap();
    fs::write(&log, &left).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::ForeignLog(_))));
    assert_eq!(fs::read(&log).unwrap(), left, "a refusal changes nothing");
    remove_log(dir.path());
    commit(open(dir.path()).unwrap(), 1).await;
}
