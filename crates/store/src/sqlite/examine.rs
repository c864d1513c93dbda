//! What is looked at before a store is used: is it whole, is it all there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tidings_core::error::StoreError;
use uuid::Uuid;

use super::error::sort;
use super::identity::Identity;
use super::keeper::Shared;
use super::open::{DATABASE, OpenError, connect_reader, sorted};
use super::seal::{Found, Seal, Verdict, judge};

/// Up to this size a database that was not closed in order is read whole before it is used: it takes no time.
const CHECKED_AT_ONCE_BYTES: u64 = 32 << 20;
/// A larger one is read when the rush after the start is over.
const CHECKED_AFTER: Duration = Duration::from_secs(30);

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Examined {
    verdict: Verdict,
    database: Option<Identity>,
    sealed_commits: u64,
    is_large: bool,
}

impl Examined {
    /// Who the store is from now on. It begins a new history, with an epoch of `new_epoch`, if the old one has a break.
    pub(crate) fn identity(&self, new_epoch: impl FnOnce() -> Uuid) -> Identity {
        // Never fewer than any seal has seen, so that later seals can be compared with earlier ones.
        let commits = self.database.map_or(0, |database| database.commits).max(self.sealed_commits);
        let goes_on = matches!(self.verdict, Verdict::Whole { .. } | Verdict::Unsealed);
        match self.database {
            Some(database) if goes_on => Identity { epoch: database.epoch, commits, is_backup: false },
            _ => Identity { epoch: new_epoch(), commits, is_backup: false },
        }
    }

    /// Whether the database is a backup that somebody put in place.
    pub(crate) fn is_restored(&self) -> bool {
        self.verdict == Verdict::Restored
    }

    /// Whether the database was not closed in order and is too large to be read before the start.
    pub(crate) fn needs_check_later(&self) -> bool {
        self.is_large && !matches!(self.verdict, Verdict::Whole { is_clean: true })
    }
}

/// Looks at a directory that nobody uses. Refuses a store that is damaged, or has lost commits unless that is accepted.
pub(crate) fn before_use(data_dir: &Path, accept_loss: bool) -> Result<Examined, OpenError> {
    let unusable = |source| OpenError::Directory { path: data_dir.to_owned(), source };
    let seal = Seal::read(data_dir).map_err(unusable)?;
    let file = data_dir.join(DATABASE);
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    if has_foreign_log(data_dir, &file).map_err(unusable)? {
        return Err(OpenError::ForeignLog(data_dir.to_owned()));
    }
    let database = if bytes == 0 { None } else { read_identity(data_dir)? };
    let verdict = judge(seal, database);
    let examined = Examined {
        verdict,
        database,
        sealed_commits: if let Found::Mark(mark) = seal { mark.commits } else { 0 },
        is_large: bytes > CHECKED_AT_ONCE_BYTES,
    };
    let path = data_dir.display();
    match verdict {
        Verdict::Lost { sealed, found } if !accept_loss => {
            return Err(OpenError::Lost { path: data_dir.to_owned(), sealed, found });
        }
        Verdict::Foreign if !accept_loss => return Err(OpenError::Foreign(data_dir.to_owned())),
        Verdict::Lost { sealed, found } => {
            tracing::warn!(
                "The store in {path} goes on although {} transactions are missing; a new epoch begins",
                sealed - found
            );
        }
        Verdict::Foreign => tracing::warn!("The store in {path} goes on with another database; a new epoch begins"),
        Verdict::Restored => tracing::warn!("The store in {path} was restored from a backup; a new epoch begins"),
        Verdict::Unsealed if seal == Found::Damage => {
            tracing::warn!(
                "The seal of the store in {path} cannot be read; whether commits are missing is not known, and a new one is made"
            );
        }
        Verdict::Whole { .. } | Verdict::Unsealed => {}
    }
    if bytes > 0 && !examined.is_large && verdict != (Verdict::Whole { is_clean: true }) {
        check(data_dir)?;
    }
    Ok(examined)
}

/// Whether a copy that stands alone, as a backup does, lies beside the log of the store that was there before: SQLite would
/// read the one over the other. Looked at before SQLite has the file open: closing it would let go of SQLite's locks.
fn has_foreign_log(data_dir: &Path, file: &Path) -> io::Result<bool> {
    let log = data_dir.join(format!("{DATABASE}-wal"));
    if log.metadata().map_or(0, |metadata| metadata.len()) == 0 || !file.exists() {
        return Ok(false);
    }
    // The versions of the format for writing and reading: 2 with a log, 1 without (sqlite.org/fileformat2.html, 1.3.3).
    let mut versions = [0; 2];
    match File::open(file)?.read_exact_at(&mut versions, 18) {
        Ok(()) => Ok(versions == [1, 1]),
        // Too short to be a database at all, which is for others to say.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_identity(data_dir: &Path) -> Result<Option<Identity>, OpenError> {
    let database = |source| sorted(data_dir, source);
    // Not a reading connection: after a crash the log has to be recovered first.
    let connection = Connection::open(data_dir.join(DATABASE)).map_err(database)?;
    // Whatever is found, the files stay as they are.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(database)?;
    Identity::read(&connection).map_err(database)
}

fn check(data_dir: &Path) -> Result<(), OpenError> {
    super::open::check(data_dir).map_err(|damage| OpenError::Damaged(data_dir.to_owned(), damage))
}

/// Reads the whole database some time after the start, on a thread of its own, and notes what is wrong with it.
pub(crate) fn check_later(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let file = shared.data_dir.join(DATABASE);
    let work = move || {
        let (_never, waiting) = mpsc::channel::<()>();
        // Nobody sends: this waits. The store may be closed by then.
        if waiting.recv_timeout(CHECKED_AFTER).is_ok() || weak.upgrade().is_none() {
            return;
        }
        let verdict = connect_reader(&file)
            .and_then(|connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
        let damage = match verdict {
            Ok(verdict) if verdict == "ok" => return,
            Ok(verdict) => verdict,
            Err(error) if matches!(sort(&error), StoreError::Inconsistent(_)) => error.to_string(),
            Err(error) => return tracing::warn!("The store could not be checked in the background: {error}"),
        };
        if let Some(shared) = weak.upgrade() {
            shared.note_damage(damage);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("store-check".to_owned()).spawn(work) {
        tracing::warn!("The store cannot be checked in the background: {error}");
    }
}
