//! The one thread that writes, and its group commit.

mod thread;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tidings_core::error::StoreError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::chunks::Chunks;
use super::keeper::{Keeper, Shared};
use super::keys::Keys;
use super::lanes::{Changes, Lanes};
use super::queues::Queues;
use super::users::UserCache;
use thread::{Ended, Thread};

/// Writes that may wait. More are refused: a longer queue would only make everybody wait longer.
const WAITING: usize = 8_192;
/// The most work of one transaction, in rows or so.
const GROUP: usize = 4_096;
/// How long a failed write is held against the store.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(3);

/// What the writer holds in memory.
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
    shared: Arc<Shared>,
    given_up: watch::Receiver<Option<String>>,
}

/// How writing went lately.
#[derive(Default)]
struct Health {
    failed_at: Mutex<Option<Instant>>,
    /// The work that waits for the thread or is being done, in rows or so.
    queued: AtomicU64,
    /// How long a group takes lately, in nanoseconds.
    group_nanos: AtomicU64,
}

impl Health {
    /// How long a write that came now would wait.
    ///
    /// It waits for the group under way and goes with the next one, unless more is waiting than fits into that.
    fn wait(&self) -> Duration {
        match self.queued.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            rows => {
                let groups = 1 + rows.div_ceil(GROUP as u64);
                Duration::from_nanos(self.group_nanos.load(Ordering::Relaxed).saturating_mul(groups))
            }
        }
    }

    /// A group was done. Its pace is a moving average, so that one slow commit is soon forgotten.
    fn done(&self, rows: u64, took: Duration) {
        self.queued.fetch_sub(rows, Ordering::Relaxed);
        let now = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.group_nanos.load(Ordering::Relaxed);
        self.group_nanos.store(before - before / 4 + now / 4, Ordering::Relaxed);
    }
}

/// What the thread is given.
pub(crate) struct Desk {
    pub(crate) connection: Connection,
    pub(crate) memory: Memory,
    pub(crate) mirrors: Mirrors,
    pub(crate) keeper: Keeper,
}

impl Writer {
    /// Starts the thread. It keeps `lock` until it has ended: the directory is not free while a group may still be committed.
    pub(crate) fn start(desk: Desk, lock: File) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (give_up, given_up) = watch::channel(None);
        let closed = Arc::new(AtomicBool::new(false));
        let health = Arc::new(Health::default());
        let shared = Arc::clone(desk.keeper.shared());
        let ended = Ended::new(Arc::clone(&closed), lock);
        let thread = Thread::new(desk, Arc::clone(&health), give_up, ended);
        std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || thread.run(receiver))?;
        Ok(Self { sender, closed, health, shared, given_up })
    }

    /// Runs `work` in the next transaction; returns once it is durable. Waits while too many writes are waiting.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (message, answer) = request(weight, work);
        let Ok(place) = self.sender.reserve().await else { return Err(StoreError::Closed) };
        self.health.queued.fetch_add(weight as u64, Ordering::Relaxed);
        place.send(message);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same, but refuses at once when too many writes are waiting.
    pub(crate) async fn try_write<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (message, answer) = request(weight, work);
        let place = match self.sender.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Full(())) => return Err(StoreError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(())) => return Err(StoreError::Closed),
        };
        self.health.queued.fetch_add(weight as u64, Ordering::Relaxed);
        place.send(message);
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
        if let Some(damage) = self.shared.damage() {
            return Err(StoreError::Inconsistent(damage));
        }
        if self.shared.disk.is_low() { Err(StoreError::Full) } else { Ok(()) }
    }

    /// How long a write that came now would wait for its turn, about.
    pub(crate) fn wait(&self) -> Duration {
        self.health.wait()
    }

    /// Waits until the thread gives up because the disk cannot be trusted, and says why. Never ends otherwise.
    pub(crate) async fn given_up(&self) -> String {
        let mut given_up = self.given_up.clone();
        match given_up.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // Closed in order: there will be no such news.
            Err(_closed) => std::future::pending().await,
        }
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
