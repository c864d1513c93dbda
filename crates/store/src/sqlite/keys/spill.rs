//! Moving the oldest keys from memory into a run, a little with each commit, so that nobody waits for it.
//!
//! Reading and sorting them happens on a thread of its own. Then each transaction writes some of them; when all are
//! written the run counts, and the transactions after that delete what it holds from the table of recent keys.

use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use rusqlite::{Connection, params};
use tidings_core::time::Timestamp;

use super::filter::Filter;
use super::runs::Runs;
use super::{StoredKey, oldest_keys};
use crate::sqlite::open::connect_reader;

/// How many keys one transaction writes or deletes at least.
pub(super) const STEP: usize = 1_000;

/// A run on its way.
#[derive(Default)]
pub(super) enum Spill {
    /// There is none.
    #[default]
    Idle,
    /// The keys are being read and sorted.
    Sorting(Receiver<rusqlite::Result<Sorted>>),
    /// The keys are being written. Up to `from` they are.
    Writing { sorted: Sorted, run: i64, from: usize },
    /// The run counts; its keys are being deleted from the recent ones. Up to `from` they are.
    Clearing { by_use: Vec<StoredKey>, from: usize },
}

/// The keys of a run.
pub(super) struct Sorted {
    by_key: Vec<StoredKey>,
    /// All uses, those that a later use of the same key outdates included.
    by_use: Vec<StoredKey>,
    filter: Filter,
    expires_at: Timestamp,
}

/// What a transaction did, for when it is committed.
pub(super) enum Progress {
    Wrote(usize),
    Completed,
    Cleared(usize),
}

impl Spill {
    /// Begins to move the `count` oldest keys of a database.
    pub(super) fn begin(file: &Path, count: usize) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(1);
        let file = file.to_owned();
        let work = move || {
            // Whoever asked may have closed the store.
            drop(sender.send(sort(&file, count)));
        };
        std::thread::Builder::new().name("store-keys".to_owned()).spawn(work)?;
        Ok(Self::Sorting(receiver))
    }

    /// Does the next step within a transaction, for `most` keys. `cleared` is told which are no longer among the recent ones.
    pub(super) fn step(
        &mut self,
        connection: &Connection,
        runs: &mut Runs,
        most: usize,
        mut cleared: impl FnMut(&StoredKey),
    ) -> rusqlite::Result<Option<Progress>> {
        if let Self::Sorting(receiver) = self {
            match receiver.try_recv() {
                Ok(Ok(sorted)) => *self = Self::Writing { sorted, run: runs.next_number(), from: 0 },
                Ok(Err(error)) => {
                    tracing::warn!("Idempotency keys stay in memory, because they cannot be read: {error}");
                    *self = Self::Idle;
                }
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => *self = Self::Idle,
            }
        }
        match self {
            Self::Idle | Self::Sorting(_) => Ok(None),
            Self::Writing { sorted, run, from } => {
                let step = sorted.by_key.iter().skip(*from).take(most);
                let wrote = write(connection, *run, step)?;
                if wrote > 0 {
                    return Ok(Some(Progress::Wrote(wrote)));
                }
                runs.complete(connection, *run, sorted.expires_at, sorted.filter.clone())?;
                Ok(Some(Progress::Completed))
            }
            Self::Clearing { by_use, from } => {
                let step = by_use.iter().skip(*from).take(most);
                let mut delete = connection.prepare_cached("DELETE FROM keys WHERE number = ?1")?;
                let mut count = 0;
                for row in step {
                    delete.execute(params![row.number])?;
                    cleared(row);
                    count += 1;
                }
                Ok(Some(Progress::Cleared(count)))
            }
        }
    }

    /// The step is durable.
    pub(super) fn committed(&mut self, progress: Progress) {
        *self = match (std::mem::take(self), progress) {
            (Self::Writing { sorted, run, from }, Progress::Wrote(count)) => {
                Self::Writing { sorted, run, from: from + count }
            }
            (Self::Writing { sorted, .. }, Progress::Completed) => Self::Clearing { by_use: sorted.by_use, from: 0 },
            (Self::Clearing { by_use, from }, Progress::Cleared(count)) if count > 0 => {
                Self::Clearing { by_use, from: from + count }
            }
            _ => Self::Idle,
        };
    }
}

fn write<'a>(connection: &Connection, run: i64, rows: impl Iterator<Item = &'a StoredKey>) -> rusqlite::Result<usize> {
    let mut insert = connection
        .prepare_cached("INSERT INTO run_keys (run, key, body, id, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut count = 0;
    for row in rows {
        insert.execute(params![run, row.key.0, row.body.0, row.id, row.expires_at])?;
        count += 1;
    }
    Ok(count)
}

fn sort(file: &Path, count: usize) -> rusqlite::Result<Sorted> {
    let connection = connect_reader(file)?;
    let by_use = oldest_keys(&connection, count)?;
    let mut by_key = by_use.clone();
    // Of two uses of one key the later one counts.
    by_key.sort_unstable_by_key(|row| (row.key, std::cmp::Reverse(row.number)));
    by_key.dedup_by_key(|row| row.key);
    let mut filter = Filter::for_keys(by_key.len());
    for row in &by_key {
        filter.add(row.key);
    }
    let latest = by_key.iter().map(|row| row.expires_at).max().unwrap_or(0);
    Ok(Sorted { by_key, by_use, filter, expires_at: Timestamp::from_millis(latest) })
}
