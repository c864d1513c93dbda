//! The one thread that writes, and its group commit.

use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tidings_core::error::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::chunks::Chunks;
use super::error::{breaks_connection, sort};
use super::keys::Keys;
use super::lanes::{Changes, Lanes};
use super::open::connect_writer;
use super::queues::Queues;
use super::users::UserCache;

/// Writes that may wait. More are refused: a longer queue would only make everybody wait longer.
const WAITING: usize = 8_192;
/// The most work of one transaction, in rows or so.
const GROUP: usize = 4_096;
/// How long a failed write is held against the store.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(3);
/// How often the free space of the disk is looked at.
const LOOK_AT_DISK: Duration = Duration::from_secs(1);

/// What the writer holds in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) keys: Keys,
    pub(crate) queues: Queues,
    pub(crate) chunks: Chunks,
}

impl Memory {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Self { keys: Keys::load(connection)?, queues: Queues::default(), chunks: Chunks::load(connection)? })
    }
}

/// One transaction under way.
pub(crate) struct Tx<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) memory: &'a mut Memory,
    pub(crate) changes: Changes,
    is_disk_low: bool,
}

impl Tx<'_> {
    /// Refuses new notifications while the disk is nearly full, so that those accepted can be finished.
    pub(crate) fn require_disk(&self) -> Result<(), Failure> {
        if self.is_disk_low { Err(Failure::Refused(StoreError::Full)) } else { Ok(()) }
    }
}

/// Why a write was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database failed: the whole transaction is void.
    Database(rusqlite::Error),
    /// This write is refused before it changed anything; the others of its group are not concerned.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// A write on its way to the thread. It may be run again after a rollback, so it keeps its input.
trait Write: Send {
    fn weight(&self) -> usize;
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), rusqlite::Error>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Request<T, F> {
    weight: usize,
    work: F,
    value: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send> Write for Request<T, F> {
    fn weight(&self) -> usize {
        self.weight
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), rusqlite::Error> {
        self.value = match (self.work)(tx) {
            Ok(value) => Some(Ok(value)),
            Err(Failure::Refused(error)) => Some(Err(error)),
            Err(Failure::Database(error)) => return Err(error),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        let missing = || Err(StoreError::Inconsistent("a write left no value".to_owned()));
        let result = outcome.and_then(|()| value.unwrap_or_else(missing));
        // Whoever asked may have gone away; what was written stays.
        drop(reply.send(result));
    }
}

enum Message {
    Write(Box<dyn Write>),
    Close(oneshot::Sender<()>),
}

/// The handle of the writing thread.
pub(crate) struct Writer {
    sender: mpsc::Sender<Message>,
    closed: Arc<AtomicBool>,
    health: Arc<Health>,
    probe: Disk,
}

/// How writing went lately.
#[derive(Default)]
struct Health {
    failed_at: Mutex<Option<Instant>>,
}

impl Writer {
    /// Starts the thread. It keeps `lock` until it has ended: the directory is not free while a group may still be committed.
    pub(crate) fn start(
        connection: Connection,
        memory: Memory,
        mirrors: Mirrors,
        disk: Disk,
        lock: File,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let closed = Arc::new(AtomicBool::new(false));
        let health = Arc::new(Health::default());
        let probe = disk.clone();
        let ended = Ended { closed: Arc::clone(&closed), _lock: lock };
        let thread = Thread { connection, memory, mirrors, disk, health: Arc::clone(&health), ended };
        std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || thread.run(receiver))?;
        Ok(Self { sender, closed, health, probe })
    }

    /// Runs `work` in the next transaction; returns once it is durable. Waits while too many writes are waiting.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (message, answer) = request(weight, work);
        if self.sender.send(message).await.is_err() {
            return Err(StoreError::Closed);
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same, but refuses at once when too many writes are waiting.
    pub(crate) async fn try_write<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (message, answer) = request(weight, work);
        match self.sender.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(StoreError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::Closed),
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether writes succeed, as far as is known: a failure counts for a few seconds, a full disk as long as it is full.
    pub(crate) fn health(&self) -> Result<(), StoreError> {
        if self.is_closed() {
            return Err(StoreError::Closed);
        }
        let failed_at = *self.health.failed_at.lock();
        if failed_at.is_some_and(|at| at.elapsed() < FAILURE_COUNTS_FOR) {
            return Err(StoreError::Unavailable("the last write failed".to_owned()));
        }
        if self.probe.has_room() { Ok(()) } else { Err(StoreError::Full) }
    }

    /// How many writes wait for the thread.
    pub(crate) fn waiting(&self) -> u64 {
        (WAITING - self.sender.capacity()) as u64
    }

    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.sender.send(Message::Close(done)).await.is_ok() {
            // The thread may be gone already; then there is nothing to wait for.
            closed.await.unwrap_or(());
        }
    }
}

fn request<T: Send + 'static>(
    weight: usize,
    work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
) -> (Message, oneshot::Receiver<Result<T, StoreError>>) {
    let (reply, answer) = oneshot::channel();
    (Message::Write(Box::new(Request { weight, work, value: None, reply })), answer)
}

/// What others hold in memory of the tables. Brought up to date after a commit and before its answers.
pub(crate) struct Mirrors {
    pub(crate) lanes: Arc<Mutex<Lanes>>,
    pub(crate) users: Arc<UserCache>,
}

/// Says that the thread has ended, however it did, and lets go of the directory.
struct Ended {
    closed: Arc<AtomicBool>,
    _lock: File,
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
    /// In beginning or committing: no write is to blame.
    Transaction(rusqlite::Error),
}

/// The fields are dropped in this order: the connection before the lock.
struct Thread {
    connection: Connection,
    memory: Memory,
    mirrors: Mirrors,
    disk: Disk,
    health: Arc<Health>,
    ended: Ended,
}

impl Thread {
    fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = receiver.blocking_recv() else { break };
            let mut group = Vec::new();
            closing = take(first, &mut group);
            let mut weight: usize = group.iter().map(|write| write.weight()).sum();
            while closing.is_none() && weight < GROUP {
                let Ok(next) = receiver.try_recv() else { break };
                closing = take(next, &mut group);
                weight += group.last().map_or(0, |write| write.weight());
            }
            self.commit_group(group);
        }
        self.ended.closed.store(true, Ordering::Release);
        receiver.close();
        drop(receiver);
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!("The log of the store was not written back at close: {error}; it will be at the next start");
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
                for write in group {
                    write.answer(Ok(()));
                }
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
        let (Fault::Write(error) | Fault::Transaction(error)) = fault;
        tracing::error!("A commit of {} writes failed and nothing of it is stored: {error}", group.len());
        // A write that fails through its own fault says nothing about the store.
        if matches!(fault, Fault::Transaction(_)) || concerns_all(error) {
            *self.health.failed_at.lock() = Some(Instant::now());
        }
        self.recover(error);
        for write in group {
            write.answer(Err(sort(error)));
        }
    }

    /// Runs all writes in one transaction. After an error nothing has happened, on disk or in memory.
    fn transact(&mut self, group: &mut [Box<dyn Write>]) -> Result<(), Fault> {
        let is_disk_low = self.disk.is_low();
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(Fault::Transaction)?;
        let mut tx =
            Tx { connection: &self.connection, memory: &mut self.memory, changes: Changes::default(), is_disk_low };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for write in group {
                write.run(&mut tx).map_err(Fault::Write)?;
            }
            tx.memory.keys.make_room(tx.connection).map_err(Fault::Transaction)?;
            std::mem::take(&mut tx.changes).resolve(tx.connection).map_err(Fault::Transaction)
        }));
        let resolved = outcome.unwrap_or_else(|panic| Err(Fault::Write(panicked(panic.as_ref()))));
        let commit = || self.connection.execute_batch("COMMIT").map_err(Fault::Transaction);
        match resolved.and_then(|resolved| commit().map(|()| resolved)) {
            Ok(resolved) => {
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

    /// After the file system failed under the connection, what it believes cannot be trusted: start from the disk.
    fn recover(&mut self, error: &rusqlite::Error) {
        // A transaction that could not even be rolled back is as bad.
        if !breaks_connection(error) && self.connection.is_autocommit() {
            return;
        }
        let reopened = connect_writer(&self.disk.data_dir).and_then(|connection| {
            let memory = Memory::load(&connection)?;
            let lanes = Lanes::load(&connection)?;
            Ok((connection, memory, lanes))
        });
        match reopened {
            Ok((connection, memory, lanes)) => {
                self.connection = connection;
                self.memory = memory;
                *self.mirrors.lanes.lock() = lanes;
                tracing::warn!("The store was opened anew after a failure of the file system");
            }
            Err(error) => tracing::error!("The store cannot be opened anew: {error}"),
        }
    }
}

/// Whether an error would meet every write of a group.
fn concerns_all(error: &rusqlite::Error) -> bool {
    breaks_connection(error) || matches!(sort(error), StoreError::Full)
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

fn panicked(panic: &(dyn Any + Send)) -> rusqlite::Error {
    let text =
        panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    rusqlite::Error::InvalidParameterName(format!("a write panicked: {}", text.unwrap_or_default()))
}

/// How much room the disk has.
#[derive(Clone)]
pub(crate) struct Disk {
    data_dir: PathBuf,
    min_free_bytes: u64,
    looked_at: Option<Instant>,
    is_low: bool,
}

impl Disk {
    pub(crate) fn new(data_dir: PathBuf, min_free_bytes: u64) -> Self {
        Self { data_dir, min_free_bytes, looked_at: None, is_low: false }
    }

    /// Whether there is as much free space as has to be left. If the system does not say, there is.
    fn has_room(&self) -> bool {
        let free = rustix::fs::statvfs(&self.data_dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free.map_or(true, |free| free >= self.min_free_bytes)
    }

    /// The same from time to time, and told when it changes.
    fn is_low(&mut self) -> bool {
        let now = Instant::now();
        if self.looked_at.is_none_or(|last| now.duration_since(last) >= LOOK_AT_DISK) {
            self.looked_at = Some(now);
            let was_low = self.is_low;
            self.is_low = !self.has_room();
            if self.is_low != was_low {
                let state = if self.is_low { "nearly full: no notifications are accepted" } else { "no longer full" };
                tracing::warn!("The disk of the data directory is {state}");
            }
        }
        self.is_low
    }
}
