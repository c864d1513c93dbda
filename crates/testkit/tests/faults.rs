//! The fake store fails when it is told to, and tells of changes.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::State;
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::ports::{History, Intake, Upkeep};
use tidings_testkit::{FakeStore, clock, sample};

const SOON: Duration = Duration::from_secs(10);

fn id() -> MessageId {
    MessageId::floor(clock::START)
}

#[tokio::test]
async fn a_fault_comes_once_and_changes_nothing() {
    let store = FakeStore::default();
    store.fail_next(StoreError::Full);
    let batch = vec![sample::unkeyed(sample::email(id(), clock::START))];
    assert!(matches!(store.accept(batch.clone()).await, Err(StoreError::Full)));
    assert_eq!(store.record(TenantId::DEFAULT, id()).await.unwrap(), None);
    assert_eq!(store.accept(batch).await.unwrap().len(), 1);
    assert_eq!(store.last_id(), Some(id()));
}

#[tokio::test]
async fn a_lasting_fault_ends_when_it_is_taken_away() {
    let store = FakeStore::default();
    store.fail_all(Some(StoreError::Overloaded));
    for _ in 0..3 {
        assert!(matches!(store.ping().await, Err(StoreError::Overloaded)));
    }
    store.fail_all(None);
    assert!(store.ping().await.is_ok());
}

#[tokio::test]
async fn changes_are_told_to_who_waits() {
    let store = Arc::new(FakeStore::default());
    let waiting = {
        let store = Arc::clone(&store);
        let is_cancelled = |record: &tidings_core::notification::Record| record.summary.state == State::Cancelled;
        tokio::spawn(async move { store.wait_until(TenantId::DEFAULT, id(), SOON, is_cancelled).await })
    };
    store.accept(vec![sample::unkeyed(sample::email(id(), clock::START))]).await.unwrap();
    store.cancel(TenantId::DEFAULT, id(), clock::START).await.unwrap();
    assert!(waiting.await.unwrap().is_some());
    let never = store.wait_until(TenantId::DEFAULT, id(), Duration::from_millis(5), |record| record.content.is_none());
    assert_eq!(never.await, None);
}
