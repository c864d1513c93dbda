//! The thread: takes what is waiting, commits it as one transaction, answers.

use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tidings_core::error::StoreError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{Desk, GROUP, Health, Memory, Message, Mirrors, Tx, Write};
use crate::sqlite::error::{breaks_connection, sort};
use crate::sqlite::identity::{Identity, count_commit};
use crate::sqlite::keeper::{Keeper, is_about_room, leave_log};
use crate::sqlite::lanes::{Changes, Lanes};
use crate::sqlite::open::connect_writer;

/// A second failure of the file system within this time ends the store: the disk is not getting better by itself.
const FAILURES_APART: Duration = Duration::from_mins(1);

/// Says that the thread has ended, however it did, and lets go of the directory.
pub(super) struct Ended {
    closed: Arc<AtomicBool>,
    _lock: File,
}

impl Ended {
    pub(super) fn new(closed: Arc<AtomicBool>, lock: File) -> Self {
        Self { closed, _lock: lock }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// Where a group failed.
enum Fault {
    /// In one of its writes, perhaps through its own fault.
    Write(rusqlite::Error),
    /// Around the writes: none is to blame.
    Transaction(rusqlite::Error),
    /// In committing. What was written may be on the disk all the same, such as when only the flush failed.
    Commit(rusqlite::Error),
}

impl Fault {
    fn error(&self) -> &rusqlite::Error {
        let (Self::Write(error) | Self::Transaction(error) | Self::Commit(error)) = self;
        error
    }
}

/// The fields are dropped in this order: the connection before the lock.
pub(super) struct Thread {
    connection: Connection,
    keeper: Keeper,
    memory: Memory,
    mirrors: Mirrors,
    /// Transactions of this history that are durable.
    commits: u64,
    broke_at: Option<Instant>,
    health: Arc<Health>,
    give_up: watch::Sender<Option<String>>,
    ended: Ended,
}

impl Thread {
    pub(super) fn new(desk: Desk, health: Arc<Health>, give_up: watch::Sender<Option<String>>, ended: Ended) -> Self {
        let Desk { connection, memory, mirrors, keeper } = desk;
        let commits = keeper.shared().commits();
        Self { connection, keeper, memory, mirrors, commits, broke_at: None, health, give_up, ended }
    }

    pub(super) fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut closing = None;
        while closing.is_none() && self.give_up.borrow().is_none() {
            let Some(first) = receiver.blocking_recv() else { break };
            let mut group = Vec::new();
            closing = take(first, &mut group);
            let mut weight: usize = group.iter().map(|write| write.weight()).sum();
            while closing.is_none() && weight < GROUP {
                let Ok(next) = receiver.try_recv() else { break };
                closing = take(next, &mut group);
                weight += group.last().map_or(0, |write| write.weight());
            }
            let began = Instant::now();
            self.mend_after_keeper();
            self.commit_group(group);
            self.health.done(weight as u64, began.elapsed());
        }
        self.ended.closed.store(true, Ordering::Release);
        receiver.close();
        drop(receiver);
        if self.give_up.borrow().is_none() {
            self.keeper.close(&self.connection);
        }
        drop(self);
        if let Some(done) = closing {
            done.send(()).unwrap_or(());
        }
    }

    fn commit_group(&mut self, mut group: Vec<Box<dyn Write>>) {
        if group.is_empty() {
            return;
        }
        let count = group.len() as u64;
        match self.transact(&mut group) {
            Ok(()) => {
                tidings_faultpoints::point("store.after-commit");
                for write in group {
                    write.answer(Ok(()));
                }
                tidings_faultpoints::point("store.after-answers");
            }
            // With the reserve given up there is room for what finishes; what is new is refused.
            Err(fault) if self.had_no_room(fault.error()) && self.keeper.shared().disk.give_up_reserve() => {
                self.commit_group(group);
            }
            // One write may be at fault: then it fails alone.
            Err(Fault::Write(error)) if group.len() > 1 && !concerns_all(&error) => {
                tracing::warn!("A commit of {count} writes failed, each is tried by itself: {error}");
                self.commit_each(group);
            }
            Err(fault) => self.fail(group, &fault),
        }
    }

    fn commit_each(&mut self, group: Vec<Box<dyn Write>>) {
        for write in group {
            let mut alone = vec![write];
            match self.transact(&mut alone) {
                Ok(()) => {
                    for write in alone {
                        write.answer(Ok(()));
                    }
                }
                Err(fault) => self.fail(alone, &fault),
            }
        }
    }

    fn fail(&mut self, group: Vec<Box<dyn Write>>, fault: &Fault) {
        let error = fault.error();
        let count = group.len();
        match fault {
            Fault::Commit(_) => {
                tracing::error!("A commit of {count} writes failed; they may or may not have been stored: {error}");
            }
            Fault::Write(_) | Fault::Transaction(_) => {
                tracing::error!("A transaction of {count} writes failed and nothing of it is stored: {error}");
            }
        }
        // A write that fails through its own fault says nothing about the store.
        if matches!(fault, Fault::Transaction(_) | Fault::Commit(_)) || concerns_all(error) {
            *self.health.failed_at.lock() = Some(Instant::now());
        }
        // A transaction that could not even be rolled back is as bad as a file system that failed.
        let broke = breaks_connection(error) && !self.had_no_room(error);
        if broke || !self.connection.is_autocommit() {
            self.recover(&error.to_string());
        }
        for write in group {
            write.answer(Err(sort(error)));
        }
    }

    /// Whether there was no room, however SQLite puts it.
    fn had_no_room(&self, error: &rusqlite::Error) -> bool {
        is_full(error) || (is_about_room(error) && self.keeper.shared().disk.has_no_room())
    }

    /// Runs all writes in one transaction. After an error nothing has happened in memory, and nothing on disk unless it
    /// was the commit that failed.
    fn transact(&mut self, group: &mut [Box<dyn Write>]) -> Result<(), Fault> {
        if self.give_up.borrow().is_some() {
            return Err(Fault::Transaction(unusable("the store has given up")));
        }
        let is_disk_low = self.keeper.shared().disk.is_low();
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(Fault::Transaction)?;
        let mut tx =
            Tx { connection: &self.connection, memory: &mut self.memory, changes: Changes::default(), is_disk_low };
        let (changes, next) = (self.connection.total_changes(), self.commits + 1);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            tidings_faultpoints::point("store.before-write");
            for write in group {
                write.run(&mut tx).map_err(Fault::Write)?;
            }
            tx.memory.keys.make_room(tx.connection).map_err(Fault::Transaction)?;
            // A group that only looked something up costs no flush.
            let commits = if tx.connection.total_changes() == changes { self.commits } else { next };
            if commits == next {
                count_commit(tx.connection, commits).map_err(Fault::Transaction)?;
            }
            let resolved = std::mem::take(&mut tx.changes).resolve(tx.connection).map_err(Fault::Transaction)?;
            Ok((resolved, commits))
        }));
        let resolved = outcome.unwrap_or_else(|panic| Err(Fault::Write(panicked(panic.as_ref()))));
        tidings_faultpoints::point("store.before-commit");
        let commit = || self.connection.execute_batch("COMMIT").map_err(Fault::Commit);
        match resolved.and_then(|resolved| commit().map(|()| resolved)) {
            Ok((resolved, commits)) => {
                self.commits = commits;
                self.keeper.committed(&self.connection, commits);
                self.memory.keys.committed();
                for (tenant, user) in resolved.users() {
                    self.mirrors.users.forget(*tenant, *user);
                }
                self.mirrors.lanes.lock().apply(resolved);
                Ok(())
            }
            Err(error) => {
                self.memory.keys.rolled_back();
                self.memory.queues.clear();
                if !self.connection.is_autocommit()
                    && let Err(rollback) = self.connection.execute_batch("ROLLBACK")
                {
                    tracing::error!("A rollback failed: {rollback}");
                }
                Err(error)
            }
        }
    }

    /// The keeper writes too, and its failures count as much.
    fn mend_after_keeper(&mut self) {
        if let Some(trouble) = self.keeper.shared().take_failure() {
            *self.health.failed_at.lock() = Some(Instant::now());
            if trouble.is_final {
                self.stop_for_good(&trouble.why);
            } else {
                self.recover(&trouble.why);
            }
        }
    }

    /// After the file system failed under the connection, what it believes cannot be trusted, nor what the cache of the
    /// system holds: a page whose flush failed may be taken for clean. So the store starts again from the disk, and what is
    /// left in the log is written to the database. When that fails too, or soon again, the store gives up; a checkpoint that
    /// failed ends it at once, because SQLite may take pages for copied that are not, until the next start.
    fn recover(&mut self, why: &str) {
        let last = self.broke_at.replace(Instant::now());
        if last.is_some_and(|last| last.elapsed() < FAILURES_APART) {
            return self.stop_for_good(&format!("the disk failed twice within a minute: {why}"));
        }
        match self.reopen() {
            Ok(()) => tracing::warn!("The store was opened anew after the disk failed: {why}"),
            Err(error) => {
                self.stop_for_good(&format!("the disk failed ({why}), and the store cannot be opened anew: {error}"));
            }
        }
    }

    fn reopen(&mut self) -> rusqlite::Result<()> {
        let data_dir = self.keeper.shared().data_dir.clone();
        let mut connection = connect_writer(&data_dir)?;
        let shared = Arc::clone(self.keeper.shared());
        let turn = shared.copying.lock();
        match write_log_back(&connection) {
            Err(error) if is_full(&error) && shared.disk.give_up_reserve() => write_log_back(&connection)?,
            written => written?,
        }
        drop(turn);
        let commits = Identity::read(&connection)?.map_or(0, |identity| identity.commits);
        if commits < self.commits {
            return Err(unusable(&format!("it has {commits} commits, and {} were acknowledged", self.commits)));
        }
        let memory = Memory::load(&connection)?;
        let lanes = Lanes::load(&connection)?;
        self.keeper.watch(&mut connection)?;
        self.connection = connection;
        self.memory = memory;
        self.commits = commits;
        *self.mirrors.lanes.lock() = lanes;
        // The commit that failed may be there, and with it users who are not as they were.
        self.mirrors.users.forget_all();
        Ok(())
    }

    fn stop_for_good(&mut self, why: &str) {
        // The first reason is the one that helps.
        if self.give_up.borrow().is_some() {
            return;
        }
        leave_log(&self.connection);
        tracing::error!(
            "The store stops: {why}. Everything that was acknowledged is on the disk as far as it keeps its word"
        );
        self.give_up.send_replace(Some(why.to_owned()));
    }
}

/// Moves the whole log into the database file and starts a new one.
fn write_log_back(connection: &Connection) -> rusqlite::Result<()> {
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy { Err(unusable("a reader held the log for too long")) } else { Ok(()) }
}

fn is_full(error: &rusqlite::Error) -> bool {
    matches!(sort(error), StoreError::Full)
}

/// Whether an error would meet every write of a group.
fn concerns_all(error: &rusqlite::Error) -> bool {
    breaks_connection(error) || is_full(error)
}

fn take(message: Message, group: &mut Vec<Box<dyn Write>>) -> Option<oneshot::Sender<()>> {
    match message {
        Message::Write(write) => {
            group.push(write);
            None
        }
        Message::Close(done) => Some(done),
    }
}

fn unusable(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), Some(why.to_owned()))
}

fn panicked(panic: &(dyn Any + Send)) -> rusqlite::Error {
    let text =
        panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    rusqlite::Error::InvalidParameterName(format!("a write panicked: {}", text.unwrap_or_default()))
}
