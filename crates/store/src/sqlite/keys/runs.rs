//! Keys that are no longer held in memory, in sorted runs on disk.
//!
//! One b-tree over all of them would take every key to a page of its own. A run is written in the order of its keys, page
//! after page, and never changed; a filter in memory says which runs are not worth a look.

use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::idempotency::Fingerprint;
use tidings_core::time::Timestamp;

use super::filter::Filter;
use super::{Known, known};

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    number: i64,
    /// When its last key expires.
    expires_at: Timestamp,
    filter: Filter,
}

/// All runs, oldest first.
#[derive(Debug, Default)]
pub(super) struct Runs {
    complete: Vec<Run>,
    /// What the running transaction does to them.
    added: Option<Run>,
    removed: Option<i64>,
}

impl Runs {
    /// Reads what is complete, and deletes what a crash left half written.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut select = connection.prepare("SELECT run, expires_at, filter FROM key_runs ORDER BY run")?;
        let complete = select
            .query_map([], |row| {
                let expires_at = Timestamp::from_millis(row.get(1)?);
                Ok(Run { number: row.get(0)?, expires_at, filter: Filter::from_bytes(row.get(2)?) })
            })?
            .collect::<rusqlite::Result<Vec<Run>>>()?;
        let runs = Self { complete, added: None, removed: None };
        connection.execute("DELETE FROM run_keys WHERE run >= ?1", params![runs.next_number()])?;
        Ok(runs)
    }

    /// The number that the next run gets.
    pub(super) fn next_number(&self) -> i64 {
        self.added.as_ref().or_else(|| self.complete.last()).map_or(1, |run| run.number + 1)
    }

    /// What is known of a key; the latest run counts.
    pub(super) fn find(&self, connection: &Connection, key: Fingerprint) -> rusqlite::Result<Option<Known>> {
        for run in self.complete.iter().rev().filter(|run| run.filter.may_have(key)) {
            let mut select = connection
                .prepare_cached("SELECT key, body, id, expires_at FROM run_keys WHERE run = ?1 AND key = ?2")?;
            if let Some(found) = select.query_row(params![run.number, key.0], known).optional()? {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Declares a run complete whose keys are all written.
    pub(super) fn complete(
        &mut self,
        connection: &Connection,
        number: i64,
        expires_at: Timestamp,
        filter: Filter,
    ) -> rusqlite::Result<()> {
        let mut insert =
            connection.prepare_cached("INSERT INTO key_runs (run, expires_at, filter) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![number, expires_at.as_millis(), filter.as_bytes()])?;
        self.added = Some(Run { number, expires_at, filter });
        Ok(())
    }

    /// Deletes keys of a run that has expired altogether, at most `batch`. Returns how many.
    pub(super) fn forget_expired(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        batch: i64,
    ) -> rusqlite::Result<usize> {
        let Some(run) = self.complete.iter().find(|run| run.expires_at <= now).map(|run| run.number) else {
            return Ok(0);
        };
        let mut delete = connection.prepare_cached(
            "DELETE FROM run_keys WHERE run = ?1 AND key IN (SELECT key FROM run_keys WHERE run = ?1 LIMIT ?2)",
        )?;
        let deleted = delete.execute(params![run, batch])?;
        if i64::try_from(deleted).is_ok_and(|deleted| deleted < batch) {
            connection.prepare_cached("DELETE FROM key_runs WHERE run = ?1")?.execute(params![run])?;
            self.removed = Some(run);
        }
        Ok(deleted)
    }

    pub(super) fn committed(&mut self) {
        self.complete.extend(self.added.take());
        if let Some(removed) = self.removed.take() {
            self.complete.retain(|run| run.number != removed);
        }
    }

    pub(super) fn rolled_back(&mut self) {
        self.added = None;
        self.removed = None;
    }
}
