//! Opening a data directory: the lock, the schema, the threads.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tidings_core::error::StoreError;
use tidings_core::id::MessageId;
use tidings_core::retry::Policies;
use uuid::Uuid;

use super::disk::{self, Disk};
use super::examine;
use super::identity::Identity;
use super::keeper::{Keeper, Shared};
use super::lanes::Lanes;
use super::migrations::{self, Migrated, SCHEMA_VERSION};
use super::readers::Readers;
use super::seal::{Mark, Seal};
use super::users::UserCache;
use super::writer::{Desk, Memory, Mirrors, Writer};

/// The file of the database in the data directory.
pub(crate) const DATABASE: &str = "tidings.db";
const LOCK: &str = "tidings.lock";
/// The first SQLite without the WAL-reset race that could corrupt a file.
const OLDEST_SQLITE: i32 = 3_051_003;
const READERS: usize = 4;
const URGENT_READERS: usize = 2;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; created if it does not exist.
    pub data_dir: PathBuf,
    /// Notifications are refused when the disk has fewer free bytes than this, so that what was accepted can still be finished.
    pub min_free_bytes: u64,
    /// Space put aside for finishing work on a full disk, in bytes; on a small disk less is taken. 0 takes none.
    pub reserve_bytes: u64,
    /// Whether a store is opened that has lost commits that were acknowledged.
    pub accept_loss: bool,
    /// The retry policies, for decisions that the store asks the domain for (cancelling, expiring).
    pub policies: Policies,
}

impl Options {
    /// A store in this directory that refuses nothing and reserves nothing, for tests and short lives.
    pub fn plain(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            min_free_bytes: 0,
            reserve_bytes: 0,
            accept_loss: false,
            policies: Policies::default(),
        }
    }
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error(
        "the data directory {0} is in use by another Tidings process{1}; stop it, or give this one a directory of its own (TIDINGS_DATA)"
    )]
    Locked(PathBuf, String),
    /// The directory cannot be used.
    #[error(
        "the data directory {path} cannot be used: {source}; check that it exists, belongs to this user and is writable"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A newer version of Tidings wrote the file.
    #[error(
        "the store has schema version {found}, but this program knows {SCHEMA_VERSION}; use the newer Tidings that wrote it, or restore a backup from before"
    )]
    Newer {
        /// The version of the file.
        found: u32,
    },
    /// The file is damaged.
    #[error(
        "the store in {0} is damaged: {1}; nothing was changed. Restore a backup, or run `tidings doctor` for details"
    )]
    Damaged(PathBuf, String),
    /// The database is behind its seal.
    #[error(
        "the store in {path} has lost its latest commits: {} of {sealed} transactions that were durable are missing, so the disk \
         or somebody changed its files (a log that was cut off or deleted, an old copy put in place). Nothing was changed. Restore a backup made with \
         `tidings backup`, or go on without what is missing: `tidings serve --accept-loss`",
        sealed - found
    )]
    Lost {
        /// The directory.
        path: PathBuf,
        /// Transactions that were durable.
        sealed: u64,
        /// Transactions that the database has.
        found: u64,
    },
    /// The database is not the one that was in this directory.
    #[error(
        "the database in {0} is not the one that was used there: its seal belongs to another. Nothing was changed. Put the right \
         one back, restore a backup made with `tidings backup`, or go on with this one: `tidings serve --accept-loss`"
    )]
    Foreign(PathBuf),
    /// A backup was put beside the log of another database.
    #[error(
        "the database in {0} is a backup, but the log beside it (tidings.db-wal) is that of the store before. Nothing was \
         changed. Move tidings.db-wal and tidings.db-shm away, then start again"
    )]
    ForeignLog(PathBuf),
    /// SQLite itself is too old.
    #[error("SQLite {0} has a bug that can corrupt the store; 3.51.3 or newer is needed")]
    OldSqlite(&'static str),
    /// Something else that SQLite said.
    #[error("the store in {path} cannot be opened: {source}")]
    Database {
        /// The directory.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The writing thread did not start.
    #[error("the writing thread of the store cannot be started: {0}")]
    Thread(std::io::Error),
}

/// The embedded store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    /// For what the engine and every accept wait for, so that long lists cannot hold them up.
    pub(crate) urgent_readers: Readers,
    pub(crate) lanes: Arc<parking_lot::Mutex<Lanes>>,
    pub(crate) users: Arc<UserCache>,
    pub(crate) policies: Policies,
    pub(crate) data_dir: PathBuf,
    last_id: Option<MessageId>,
}

impl SqliteStore {
    /// Opens the store of a directory, creating or migrating it. Blocks; takes the directory's exclusive lock.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(OpenError::OldSqlite(rusqlite::version()));
        }
        let data_dir = options.data_dir;
        let lock = lock(&data_dir)?;
        let unusable = |source| OpenError::Directory { path: data_dir.clone(), source };
        let database = |source| sorted(&data_dir, source);
        disk::give_up_left_over(&data_dir).map_err(unusable)?;
        let examined = examine::before_use(&data_dir, options.accept_loss)?;
        let mut connection = connect_writer(&data_dir).map_err(database)?;
        refuse_newer(&connection).map_err(database)??;
        migrations::run(&mut connection).map_err(database)?;
        let identity = examined.identity(Uuid::new_v4);
        let mark = Mark { epoch: identity.epoch, commits: identity.commits, is_clean: false };
        let mut seal = Seal::open(&data_dir).map_err(unusable)?;
        if examined.is_restored() {
            // Until the next line is durable the copy is still marked as a backup, so a crash in between does no harm.
            seal.write(&mark).map_err(unusable)?;
        }
        put_identity(&mut connection, identity).map_err(database)?;
        seal.write(&mark).map_err(unusable)?;

        let lanes = Arc::new(parking_lot::Mutex::new(Lanes::load(&connection).map_err(database)?));
        let memory = Memory::load(&connection).map_err(database)?;
        let last_id = last_id(&connection).map_err(database)?;
        let users = Arc::new(UserCache::default());
        let mirrors = Mirrors { lanes: Arc::clone(&lanes), users: Arc::clone(&users) };
        let disk = Disk::new(data_dir.clone(), options.min_free_bytes, options.reserve_bytes);
        let shared = Arc::new(Shared::new(data_dir.clone(), disk, identity.epoch, identity.commits));
        let keeper = Keeper::start(Arc::clone(&shared), seal).map_err(OpenError::Thread)?;
        keeper.watch(&mut connection).map_err(database)?;
        if examined.needs_check_later() {
            examine::check_later(&shared);
        }
        let writer = Writer::start(Desk { connection, memory, mirrors, keeper }, lock).map_err(OpenError::Thread)?;
        let inner = Inner {
            writer,
            readers: Readers::new(data_dir.join(DATABASE), READERS),
            urgent_readers: Readers::new(data_dir.join(DATABASE), URGENT_READERS),
            lanes,
            users,
            policies: options.policies,
            data_dir,
            last_id,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits until the store has given up, because the disk failed and cannot be trusted any more, and says why. The process
    /// has to end then. Never ends otherwise.
    pub async fn given_up(&self) -> String {
        self.inner.writer.given_up().await
    }

    /// The greatest id stored when the store was opened: ids have to continue after it.
    pub fn last_id(&self) -> Option<MessageId> {
        self.inner.last_id
    }

    /// Finishes what is waiting, writes the log back and stops. Later calls fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.writer.close().await;
    }

    /// Runs a short read that others wait for.
    pub(crate) async fn read_urgently<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.inner.writer.is_closed() {
            return Err(StoreError::Closed);
        }
        self.inner.urgent_readers.run(work).await
    }

    /// Runs a read on a connection of its own.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.inner.writer.is_closed() {
            return Err(StoreError::Closed);
        }
        self.inner.readers.run(work).await
    }
}

/// How long a connection waits for a lock that another one holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the writing connection.
pub(crate) fn connect_writer(data_dir: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(data_dir.join(DATABASE))?;
    // FULL makes a commit wait for the disk. What is deleted is overwritten, so that what was erased is gone from the file
    // too. The other lines are speed and caution that cost nothing in safety.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = 1;
         PRAGMA checkpoint_fullfsync = 1;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 134217728;
         PRAGMA cache_size = -65536;
         PRAGMA temp_store = MEMORY;
         PRAGMA mmap_size = 0;
         PRAGMA secure_delete = 1;
         PRAGMA trusted_schema = 0;
         PRAGMA cell_size_check = 1;",
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(&connection)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Applies pending migrations and nothing else.
pub fn migrate(data_dir: &Path) -> Result<Migrated, OpenError> {
    let _lock = lock(data_dir)?;
    let database = |source| sorted(data_dir, source);
    let mut connection = connect_writer(data_dir).map_err(database)?;
    refuse_newer(&connection).map_err(database)??;
    migrations::run(&mut connection).map_err(database)
}

/// The schema version of a data directory, `None` where there is no store yet.
pub fn schema_version(data_dir: &Path) -> Result<Option<u32>, String> {
    let file = data_dir.join(DATABASE);
    if !file.exists() {
        return Ok(None);
    }
    let connection = connect_reader(&file).map_err(|error| error.to_string())?;
    migrations::version(&connection).map(Some).map_err(|error| error.to_string())
}

/// Reads the whole store and says what is wrong with it. Works while a server runs.
pub fn check(data_dir: &Path) -> Result<(), String> {
    let connection = connect_reader(&data_dir.join(DATABASE)).map_err(|error| error.to_string())?;
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| error.to_string())?;
    if verdict == "ok" { Ok(()) } else { Err(verdict) }
}

/// Opens a connection that can only read.
pub(crate) fn connect_reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.execute_batch(
        "PRAGMA query_only = 1; PRAGMA cache_size = -4096; PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = 0;",
    )?;
    keep_plans(&connection)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Plans a statement once. Otherwise SQLite plans those anew, at each new value of a parameter, that touch a table with a
/// partial index: the value might let it use the index. That would be most of the work of a claim.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Directory { path: data_dir.to_owned(), source };
    create_private(data_dir).map_err(unusable)?;
    let path = data_dir.join(LOCK);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {
            // Who holds it, for the message that the next one gets. On a full disk that has to do without.
            drop(std::fs::write(&path, std::process::id().to_string()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).ok().filter(|pid| !pid.trim().is_empty());
            let holder = holder.map(|pid| format!(" (process {})", pid.trim())).unwrap_or_default();
            Err(OpenError::Locked(data_dir.to_owned(), holder))
        }
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Creates the directory for its owner alone.
fn create_private(data_dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

/// Says who this database is from now on, durably.
fn put_identity(connection: &mut Connection, identity: Identity) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    identity.write(&transaction)?;
    transaction.commit()
}

fn refuse_newer(connection: &Connection) -> rusqlite::Result<Result<(), OpenError>> {
    let found = migrations::version(connection)?;
    Ok(if found > SCHEMA_VERSION { Err(OpenError::Newer { found }) } else { Ok(()) })
}

fn last_id(connection: &Connection) -> rusqlite::Result<Option<MessageId>> {
    let last: Option<i64> = connection.query_row("SELECT max(id) FROM notifications", [], |row| row.get(0))?;
    Ok(last.and_then(MessageId::from_integer))
}

pub(crate) fn sorted(data_dir: &Path, source: rusqlite::Error) -> OpenError {
    let path = data_dir.to_owned();
    match super::error::sort(&source) {
        StoreError::Inconsistent(why) => OpenError::Damaged(path, why),
        _ => OpenError::Database { path, source },
    }
}
