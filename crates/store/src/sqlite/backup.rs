//! A consistent copy of a store, also while it is being written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::identity::mark_backup;
use super::open::{DATABASE, connect_reader};

/// Pages copied at a time: small enough that the writer of a busy store is never held up.
const PAGES: i32 = 256;
/// How often a step is tried again when the store is busy, and how long it waits in between.
const PATIENCE: (u32, Duration) = (200, Duration::from_millis(25));

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no store in the directory.
    #[error("there is no store in {0}; check TIDINGS_DATA or --data")]
    NoStore(PathBuf),
    /// The target exists.
    #[error("{0} exists already; a backup never overwrites, choose another name")]
    TargetExists(PathBuf),
    /// The store stayed busy.
    #[error("the store stayed busy for too long; try again")]
    Busy,
    /// SQLite failed.
    #[error("the backup failed: {0}; the incomplete copy was removed")]
    Database(#[from] rusqlite::Error),
    /// The copy cannot be moved into place.
    #[error("the backup cannot be written: {0}")]
    File(#[from] std::io::Error),
}

/// Copies the store of `data_dir` to the file `target`. The copy is of one moment: every write is in it whole or not at all.
///
/// `progress` is told pages done and pages in all. The target appears only when it is complete and checked.
pub fn run(data_dir: &Path, target: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), BackupError> {
    let source = data_dir.join(DATABASE);
    if !source.exists() {
        return Err(BackupError::NoStore(data_dir.to_owned()));
    }
    if target.exists() {
        return Err(BackupError::TargetExists(target.to_owned()));
    }
    let mut unfinished = target.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let copied = copy(&source, &unfinished, progress);
    if copied.is_err() && unfinished.exists() {
        std::fs::remove_file(&unfinished)?;
    }
    copied?;
    std::fs::rename(&unfinished, target)?;
    // The name too, or a power cut may take it back.
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::File::open(parent)?.sync_all()?;
    Ok(())
}

fn copy(source: &Path, target: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), BackupError> {
    if target.exists() {
        std::fs::remove_file(target)?;
    }
    let from = connect_reader(source)?;
    // A read transaction pins one moment, so that writes going on beside do not restart the copy.
    from.execute_batch("BEGIN; SELECT count(*) FROM meta;")?;
    let mut to = Connection::open(target)?;
    let backup = Backup::new(&from, &mut to)?;
    let mut patience = PATIENCE.0;
    loop {
        let step = backup.step(PAGES)?;
        let state = backup.progress();
        let count = |pages: i32| u64::try_from(pages).unwrap_or(0);
        progress(count(state.pagecount - state.remaining), count(state.pagecount));
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ if patience == 0 => return Err(BackupError::Busy),
            _ => {
                patience -= 1;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a command of its own thread, waiting for a lock of another process"
                )]
                std::thread::sleep(PATIENCE.1);
            }
        }
    }
    drop(backup);
    // The copy stands alone: no log beside it, and every leased job is for the next boot to take up.
    to.execute_batch("PRAGMA journal_mode = DELETE;")?;
    mark_backup(&to)?;
    let verdict: String = to.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(BackupError::Database(rusqlite::Error::InvalidParameterName(format!(
            "the copy is damaged: {verdict}"
        ))));
    }
    drop(to);
    std::fs::File::open(target)?.sync_all()?;
    Ok(())
}
