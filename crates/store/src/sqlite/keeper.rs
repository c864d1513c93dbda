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
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, ffi};
use uuid::Uuid;

use super::disk::{self, Disk};
use super::open::{BUSY_TIMEOUT, connect_writer};
use super::seal::{Mark, Seal};

/// How often the disk is looked at and the store is sealed.
const EVERY: Duration = Duration::from_secs(1);
/// The log is moved into the database file whenever it has grown by this many pages (of 4 KiB).
const CHECKPOINT_PAGES: u32 = 20_000;
/// So few pages may be left to the writer.
const REST_PAGES: u32 = 500;
const ROUNDS: usize = 4;
/// Beyond this length of the log, in pages, readers are waited for, a moment: otherwise it would grow while they never pause.
const LONG_LOG_PAGES: u32 = 4 * CHECKPOINT_PAGES;
const WAIT_FOR_READERS: Duration = Duration::from_millis(250);

/// A failure of the file system that nobody was waiting for.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) why: String,
    /// Whether pages that SQLite takes for copied may be missing in the database. Only a new start, which begins with an
    /// index of the log of its own, copies all of the log.
    pub(crate) is_final: bool,
}

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
    failure: Mutex<Option<Trouble>>,
    /// Held by whoever copies the log: SQLite lets only one do so, and does not wait.
    pub(crate) copying: Mutex<()>,
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
            copying: Mutex::default(),
            damage: Mutex::default(),
        }
    }

    /// Transactions that are durable.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// A failure of the file system that the writer has not dealt with yet.
    pub(crate) fn take_failure(&self) -> Option<Trouble> {
        self.failure.lock().take()
    }

    /// Notes a failure. One that is final outweighs one that is not.
    fn fail(&self, why: String, is_final: bool) {
        let mut failure = self.failure.lock();
        if !failure.as_ref().is_some_and(|known| known.is_final) {
            *failure = Some(Trouble { why, is_final });
        }
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
            let turn = self.shared.copying.lock();
            let copied = if pages < LONG_LOG_PAGES { copy_log(connection).map(drop) } else { restart_log(connection) };
            drop(turn);
            if let Err(error) = copied {
                self.shared.checkpoint_failed(&error);
            }
        } else if pages >= self.order_at && self.orders.try_send(Order::Checkpoint).is_ok() {
            self.order_at = pages + CHECKPOINT_PAGES;
        }
    }

    /// Ends the thread, writes the log back and seals the store as closed in order.
    pub(crate) fn close(&mut self, connection: &Connection) {
        let Some(mut seal) = self.stop() else { return };
        let written = match self.shared.take_failure() {
            Some(trouble) => Err(trouble.why),
            None => connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(|error| error.to_string()),
        };
        if let Err(why) = written {
            tracing::warn!("The log of the store was not written back at close: {why}; it will be at the next start");
            leave_log(connection);
            // Not closed in order, so the next start looks at all of it.
            return;
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
        // A file that cannot be opened is no failure of the disk: there may be no handle left. Nor is one that cannot grow.
        let is_failure = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        if is_failure && !(is_about_room(error) && self.disk.has_no_room()) {
            self.fail(format!("the log could not be moved into the database: {error}"), true);
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
        // While there are file handles for it. Otherwise the first checkpoint tries again.
        self.connection = self.connect().ok();
        loop {
            match inbox.recv_timeout(EVERY) {
                Ok(Order::Checkpoint) => {
                    self.checkpoint();
                    self.shared.disk.look();
                    self.write_seal();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.shared.disk.look();
                    // What is copied out of the log is room to go on in.
                    if self.shared.disk.is_low() && self.shared.log_pages.load(Ordering::Relaxed) > REST_PAGES {
                        self.checkpoint();
                    }
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
            Err(error) if disk::is_full(&error) => tracing::warn!("The store cannot be sealed now: {error}"),
            Err(error) => self.shared.fail(format!("the store could not be sealed: {error}"), false),
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

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = connect_writer(&self.shared.data_dir)?;
        leave_log(&connection);
        Ok(connection)
    }

    fn try_checkpoint(&mut self) -> rusqlite::Result<()> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = self.connection.insert(connection);
        for _ in 0..ROUNDS {
            let turn = self.shared.copying.lock();
            let copied = copy_log(connection)?;
            drop(turn);
            if self.shared.log_pages.load(Ordering::Relaxed).saturating_sub(copied) <= REST_PAGES {
                break;
            }
        }
        Ok(())
    }
}

/// Leaves the log as it is when this connection is closed, rather than copying what is left of it.
pub(crate) fn leave_log(connection: &Connection) {
    if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        tracing::warn!("The log of the store may be copied at close: {error}");
    }
}

/// Whether a failure may be that there is no room, in words that SQLite uses for a failed disk.
pub(crate) fn is_about_room(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(cause, _) = error else { return false };
    matches!(cause.extended_code, ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP | ffi::SQLITE_IOERR_WRITE)
}

/// Copies all of the log and has it start again, unless readers take too long.
fn restart_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(WAIT_FOR_READERS)?;
    let restarted = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    restarted
}

/// Copies what no reader still needs from the log into the database. Returns how many pages of the log are copied now.
fn copy_log(connection: &Connection) -> rusqlite::Result<u32> {
    let copied: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
    Ok(u32::try_from(copied).unwrap_or(0))
}
