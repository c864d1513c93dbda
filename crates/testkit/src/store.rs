//! A store in memory: the second implementation of every port of [`tidings_core::ports::Store`].
//!
//! One lock is its transaction: whatever a method does, it does under the lock and without failing half-way. It can be
//! told to fail, and tells when something has changed, so that tests need not look again and again.

mod catalog;
mod dead_letters;
mod history;
mod intake;
mod jobs;
mod rows;
mod streams;
mod upkeep;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::notification::Record;
use tidings_core::ports::dead_letters::DeadLetter;
use tidings_core::retry::Policies;
use tokio::sync::watch;

use rows::{Row, Tables};

/// A store in memory.
pub struct FakeStore {
    tables: Mutex<Tables>,
    faults: Mutex<Faults>,
    changes: watch::Sender<u64>,
    accept_wait_millis: AtomicU64,
}

/// All that a store keeps of one notification.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Whose it is.
    pub tenant: TenantId,
    /// The notification with its journal.
    pub record: Record,
    /// How often its chain was redriven before.
    pub redrives: u32,
    /// Its dead letter, if it is one.
    pub letter: Option<DeadLetter>,
}

#[derive(Default)]
struct Faults {
    next: VecDeque<StoreError>,
    all: Option<StoreError>,
}

impl Default for FakeStore {
    fn default() -> Self {
        Self::with_policies(Policies::default())
    }
}

impl FakeStore {
    /// A store that ends what it ends by itself under these policies.
    pub fn with_policies(policies: Policies) -> Self {
        Self {
            tables: Mutex::new(Tables::new(policies)),
            faults: Mutex::default(),
            changes: watch::Sender::new(0),
            accept_wait_millis: AtomicU64::new(0),
        }
    }

    /// From now on it says that a notification would wait this long, in whole milliseconds.
    pub fn set_accept_wait(&self, wait: Duration) {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.accept_wait_millis.store(millis, Ordering::Relaxed);
    }

    fn accept_wait_now(&self) -> Duration {
        Duration::from_millis(self.accept_wait_millis.load(Ordering::Relaxed))
    }

    /// The next call fails and changes nothing. Several errors make several calls fail, in order.
    pub fn fail_next(&self, error: StoreError) {
        self.faults.lock().next.push_back(error);
    }

    /// From now on every call fails, or with `None` none does.
    pub fn fail_all(&self, error: Option<StoreError>) {
        self.faults.lock().all = error;
    }

    /// The greatest id of a notification that was stored and still is.
    pub fn last_id(&self) -> Option<MessageId> {
        self.tables.lock().notifications.last_key_value().map(|(id, _)| *id)
    }

    /// Every notification of every tenant with its dead letter, by id. It looks past the faults that a test has switched on.
    pub fn everything(&self) -> Vec<Kept> {
        let tables = self.tables.lock();
        let kept = |(id, row): (&MessageId, &Row)| {
            let tenant = row.notification.tenant;
            let record = tables.record(tenant, *id)?;
            Some(Kept { tenant, record, redrives: row.notification.redrives, letter: tables.dead_letter(tenant, *id) })
        };
        tables.notifications.iter().filter_map(kept).collect()
    }

    /// How many deleted users are not wholly erased. It looks past the faults that a test has switched on.
    pub fn unfinished_erasures(&self) -> usize {
        self.tables.lock().erasures.len()
    }

    /// Waits until a notification fits `fits`, and gives its record. `None` when the time is up. It looks past the
    /// faults that a test has switched on.
    pub async fn wait_until(
        &self,
        tenant: TenantId,
        id: MessageId,
        within: Duration,
        fits: impl Fn(&Record) -> bool,
    ) -> Option<Record> {
        let mut changes = self.changes.subscribe();
        let found = async {
            loop {
                let record = self.tables.lock().record(tenant, id).filter(|record| fits(record));
                if record.is_some() {
                    return record;
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(within, found).await.ok().flatten()
    }

    /// Looks at the tables, unless a fault is due.
    fn read<T>(&self, look: impl FnOnce(&Tables) -> T) -> Result<T, StoreError> {
        self.fail_if_told()?;
        Ok(look(&self.tables.lock()))
    }

    /// Changes the tables, unless a fault is due.
    fn write<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> Result<T, StoreError> {
        self.fail_if_told()?;
        let value = change(&mut self.tables.lock());
        self.changes.send_modify(|changes| *changes += 1);
        Ok(value)
    }

    fn fail_if_told(&self) -> Result<(), StoreError> {
        let mut faults = self.faults.lock();
        let error = faults.next.pop_front().or_else(|| faults.all.clone());
        error.map_or(Ok(()), Err)
    }
}

impl fmt::Debug for FakeStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FakeStore").finish_non_exhaustive()
    }
}
