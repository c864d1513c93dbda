//! The second thread of the store. Once a second it looks at the disk and seals what was committed; when the log has grown,
//! it moves it into the database file, so that the writer does not have to while everybody waits.
//!
//! A checkpoint beside a writer never finds the log's end at rest, so the log would grow for ever. The keeper therefore
//! copies in rounds, each shorter than the one before, and leaves the last few pages to the writer, between two commits:
//! then the log starts again from its beginning.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use uuid::Uuid;

use super::disk::Disk;
use super::error::breaks_connection;
use super::open::connect_writer;
use super::seal::{Mark, Seal};

/// How often the disk is looked at and the store is sealed.
const EVERY: Duration = Duration::from_secs(1);
/// The log is moved into the database file whenever it has grown by this many pages (of 4 KiB).
const CHECKPOINT_PAGES: u32 = 20_000;
/// So few pages may be left to the writer.
const REST_PAGES: u32 = 500;
const ROUNDS: usize = 4;

/// What the threads of the store tell each other.
pub(crate) struct Shared {
    pub(crate) data_dir: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) epoch: Uuid,
    commits: AtomicU64,
    /// The length of the log, in pages.
    log_pages: AtomicU32,
    /// Whether the keeper has copied nearly all of the log.
    is_nearly_copied: AtomicBool,
    failure: Mutex<Option<String>>,
    damage: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(data_dir: PathBuf, disk: Disk, epoch: Uuid, commits: u64) -> Self {
        Self {
            data_dir,
            disk,
            epoch,
            commits: AtomicU64::new(commits),
            log_pages: AtomicU32::new(0),
            is_nearly_copied: AtomicBool::new(false),
            failure: Mutex::default(),
            damage: Mutex::default(),
        }
    }

    /// Transactions that are durable.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// A failure of the file system that the writer has not dealt with yet.
    pub(crate) fn take_failure(&self) -> Option<String> {
        self.failure.lock().take()
    }

    /// What was found to be wrong with the database.
    pub(crate) fn damage(&self) -> Option<String> {
        self.damage.lock().clone()
    }

    /// Notes that the database is damaged. It stays so until it is opened again.
    pub(crate) fn note_damage(&self, damage: String) {
        tracing::error!(
            "The store in {} is damaged: {damage}. Stop the server, keep a copy of the directory, and restore a backup",
            self.data_dir.display()
        );
        *self.damage.lock() = Some(damage);
    }

    fn mark(&self, is_clean: bool) -> Mark {
        Mark { epoch: self.epoch, commits: self.commits(), is_clean }
    }
}

enum Order {
    Checkpoint,
    Close,
}

/// The handle of the thread, in the hands of the writer.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    orders: SyncSender<Order>,
    thread: Option<JoinHandle<Seal>>,
    /// The length of the log at which the next checkpoint is ordered.
    order_at: u32,
}

impl Keeper {
    /// Starts the thread. The seal has been written for this boot.
    pub(crate) fn start(shared: Arc<Shared>, seal: Seal) -> std::io::Result<Self> {
        let (orders, inbox) = sync_channel(1);
        let at_work = AtWork { shared: Arc::clone(&shared), sealed: shared.commits(), seal, connection: None };
        let thread = std::thread::Builder::new().name("store-keeper".to_owned()).spawn(move || at_work.run(&inbox))?;
        Ok(Self { shared, orders, thread: Some(thread), order_at: CHECKPOINT_PAGES })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Follows the length of the log that this connection writes.
    pub(crate) fn watch(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let shared = Arc::clone(&self.shared);
        connection.wal_hook(Some(move |_wal: &mut rusqlite::hooks::Wal, pages: i32| {
            shared.log_pages.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// Tells of a durable transaction.
    pub(crate) fn committed(&mut self, connection: &Connection, commits: u64) {
        self.shared.commits.store(commits, Ordering::Release);
        let pages = self.shared.log_pages.load(Ordering::Relaxed);
        if pages + CHECKPOINT_PAGES < self.order_at {
            // The log started again from its beginning.
            self.order_at = CHECKPOINT_PAGES;
        }
        if self.shared.is_nearly_copied.swap(false, Ordering::Acquire) {
            if let Err(error) = copy_log(connection) {
                self.shared.checkpoint_failed(&error);
            }
        } else if pages >= self.order_at && self.orders.try_send(Order::Checkpoint).is_ok() {
            self.order_at = pages + CHECKPOINT_PAGES;
        }
    }

    /// Ends the thread, writes the log back and seals the store as closed in order.
    pub(crate) fn close(&mut self, connection: &Connection) {
        let Some(mut seal) = self.stop() else { return };
        if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!("The log of the store was not written back at close: {error}; it will be at the next start");
        }
        if let Err(error) = seal.write(&self.shared.mark(true)) {
            tracing::warn!("The store was not sealed at close: {error}");
        }
    }

    fn stop(&mut self) -> Option<Seal> {
        let thread = self.thread.take()?;
        // It may have ended by itself, which `join` tells.
        drop(self.orders.send(Order::Close));
        thread.join().inspect_err(|_| tracing::error!("The keeper of the store panicked")).ok()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

impl Shared {
    fn checkpoint_failed(&self, error: &rusqlite::Error) {
        if breaks_connection(error) {
            *self.failure.lock() = Some(format!("the log could not be moved into the database: {error}"));
        } else {
            tracing::warn!("The log of the store cannot be moved into the database now: {error}");
        }
    }
}

/// The thread itself.
struct AtWork {
    shared: Arc<Shared>,
    seal: Seal,
    sealed: u64,
    connection: Option<Connection>,
}

impl AtWork {
    fn run(mut self, inbox: &Receiver<Order>) -> Seal {
        loop {
            match inbox.recv_timeout(EVERY) {
                Ok(Order::Checkpoint) => {
                    self.checkpoint();
                    self.write_seal();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.shared.disk.look();
                    self.write_seal();
                }
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => return self.seal,
            }
        }
    }

    fn write_seal(&mut self) {
        let mark = self.shared.mark(false);
        if mark.commits == self.sealed {
            return;
        }
        match self.seal.write(&mark) {
            Ok(()) => self.sealed = mark.commits,
            Err(error) => *self.shared.failure.lock() = Some(format!("the store could not be sealed: {error}")),
        }
    }

    fn checkpoint(&mut self) {
        match self.try_checkpoint() {
            Ok(()) => self.shared.is_nearly_copied.store(true, Ordering::Release),
            Err(error) => {
                self.connection = None;
                self.shared.checkpoint_failed(&error);
            }
        }
    }

    fn try_checkpoint(&mut self) -> rusqlite::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect_writer(&self.shared.data_dir)?),
        };
        for _ in 0..ROUNDS {
            let copied = copy_log(connection)?;
            if self.shared.log_pages.load(Ordering::Relaxed).saturating_sub(copied) <= REST_PAGES {
                break;
            }
        }
        Ok(())
    }
}

/// Copies what no reader still needs from the log into the database. Returns how many pages of the log are copied now.
fn copy_log(connection: &Connection) -> rusqlite::Result<u32> {
    let copied: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
    Ok(u32::try_from(copied).unwrap_or(0))
}
