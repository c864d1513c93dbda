//! Idempotency keys: a table in the order of use, a hash map in memory for the look-up.
//!
//! A unique index over random keys would dirty one page for each accept; the map costs nothing on disk. It holds a
//! limited number of keys. When there are more, the older half moves to a sorted run on disk ([`runs`]), a little with
//! each commit ([`spill`]).

mod filter;
mod runs;
mod spill;

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::{Connection, params};
use tidings_core::id::MessageId;
use tidings_core::idempotency::{Fingerprint, Idempotency};
use tidings_core::time::Timestamp;

use runs::Runs;
use spill::{Progress, STEP, Spill};

/// How many keys are held in memory (about 60 bytes each).
const CAPACITY: usize = 200_000;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) body: Fingerprint,
    pub(crate) id: MessageId,
    expires_at: Timestamp,
}

/// All keys.
pub(crate) struct Keys {
    recent: HashMap<Fingerprint, Known>,
    /// What the running transaction wrote: becomes part of `recent` when it is committed.
    pending: HashMap<Fingerprint, Option<Known>>,
    runs: Runs,
    spill: Spill,
    progress: Option<Progress>,
    capacity: usize,
    /// The file of the database.
    file: PathBuf,
}

impl Keys {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut keys = Self {
            recent: HashMap::new(),
            pending: HashMap::new(),
            runs: Runs::load(connection)?,
            spill: Spill::Idle,
            progress: None,
            capacity: CAPACITY,
            file: connection.path().map(PathBuf::from).unwrap_or_default(),
        };
        let mut select = connection.prepare("SELECT key, body, id, expires_at FROM keys ORDER BY number")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(known) = known(row)? {
                keys.recent.insert(Fingerprint(row.get(0)?), known);
            }
        }
        Ok(keys)
    }

    /// What is known of a key that has not expired.
    pub(crate) fn find(
        &self,
        connection: &Connection,
        key: Fingerprint,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Known>> {
        let found = match self.pending.get(&key) {
            Some(pending) => *pending,
            None => match self.recent.get(&key) {
                Some(known) => Some(*known),
                None => self.runs.find(connection, key)?,
            },
        };
        Ok(found.filter(|known| known.expires_at > now))
    }

    /// Remembers a key.
    pub(crate) fn insert(
        &mut self,
        connection: &Connection,
        idempotency: &Idempotency,
        id: MessageId,
    ) -> rusqlite::Result<()> {
        let mut insert =
            connection.prepare_cached("INSERT INTO keys (key, body, id, expires_at) VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![
            idempotency.key.0,
            idempotency.body.0,
            id.as_integer(),
            idempotency.expires_at.as_millis()
        ])?;
        let known = Known { body: idempotency.body, id, expires_at: idempotency.expires_at };
        self.pending.insert(idempotency.key, Some(known));
        Ok(())
    }

    /// The transaction is durable.
    pub(crate) fn committed(&mut self) {
        for (key, known) in self.pending.drain() {
            match known {
                Some(known) => self.recent.insert(key, known),
                None => self.recent.remove(&key),
            };
        }
        self.runs.committed();
        if let Some(progress) = self.progress.take() {
            self.spill.committed(progress);
        }
    }

    /// The transaction never happened.
    pub(crate) fn rolled_back(&mut self) {
        self.pending.clear();
        self.runs.rolled_back();
        self.progress = None;
    }

    /// Moves some of the oldest keys to a run, if there are too many in memory.
    pub(crate) fn make_room(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if matches!(self.spill, Spill::Idle) {
            if self.recent.len() < self.capacity {
                return Ok(());
            }
            match Spill::begin(&self.file, self.capacity / 2) {
                Ok(spill) => self.spill = spill,
                Err(error) => {
                    tracing::warn!("Idempotency keys stay in memory, because no thread can be started: {error}");
                }
            }
        }
        // Each key is written once and cleared once, so twice what came in would only keep pace.
        let most = STEP.max(4 * self.pending.len());
        let (recent, pending) = (&self.recent, &mut self.pending);
        let cleared = |row: &StoredKey| drop_if_same(recent, pending, row);
        self.progress = self.spill.step(connection, &mut self.runs, most, cleared)?;
        Ok(())
    }

    /// Forgets keys that have expired, at most `batch`. Returns how many.
    pub(crate) fn forget_expired(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        batch: usize,
    ) -> rusqlite::Result<usize> {
        // Keys expire in the order of their use, so the first one that has not ends the search.
        let expired: Vec<StoredKey> =
            oldest_keys(connection, batch)?.into_iter().take_while(|row| row.expires_at <= now.as_millis()).collect();
        let mut delete = connection.prepare_cached("DELETE FROM keys WHERE number = ?1")?;
        for row in &expired {
            delete.execute(params![row.number])?;
            drop_if_same(&self.recent, &mut self.pending, row);
        }
        let rest = i64::try_from(batch - expired.len()).unwrap_or(i64::MAX);
        let old = if rest > 0 { self.runs.forget_expired(connection, now, rest)? } else { 0 };
        Ok(expired.len() + old)
    }
}

/// Takes a key out of memory, unless it has been used anew since.
fn drop_if_same(
    recent: &HashMap<Fingerprint, Known>,
    pending: &mut HashMap<Fingerprint, Option<Known>>,
    row: &StoredKey,
) {
    let known = pending.get(&row.key).copied().unwrap_or_else(|| recent.get(&row.key).copied());
    if known.is_some_and(|known| known.id.as_integer() == row.id) {
        pending.insert(row.key, None);
    }
}

fn known(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Known>> {
    let (body, expires_at) = (Fingerprint(row.get(1)?), Timestamp::from_millis(row.get(3)?));
    Ok(MessageId::from_integer(row.get(2)?).map(|id| Known { body, id, expires_at }))
}

/// A row of the table of recent keys.
#[derive(Clone, Copy)]
struct StoredKey {
    number: i64,
    key: Fingerprint,
    body: Fingerprint,
    id: i64,
    expires_at: i64,
}

fn oldest_keys(connection: &Connection, count: usize) -> rusqlite::Result<Vec<StoredKey>> {
    let mut select =
        connection.prepare_cached("SELECT number, key, body, id, expires_at FROM keys ORDER BY number LIMIT ?1")?;
    let rows = select.query_map(params![i64::try_from(count).unwrap_or(i64::MAX)], |row| {
        Ok(StoredKey {
            number: row.get(0)?,
            key: Fingerprint(row.get(1)?),
            body: Fingerprint(row.get(2)?),
            id: row.get(3)?,
            expires_at: row.get(4)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests;
