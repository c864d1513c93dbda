//! Idempotency keys: a table in the order of use, a hash map in memory for the look-up.
//!
//! A unique index over random keys would dirty one page for each accept; the map costs nothing on disk. It holds a
//! limited number of keys. When there are more, the oldest move to a b-tree, sorted and in large steps, which is cheap.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::id::MessageId;
use tidings_core::idempotency::{Fingerprint, Idempotency};
use tidings_core::time::Timestamp;

/// How many keys are held in memory (about 60 bytes each).
const CAPACITY: usize = 400_000;
/// How many keys move to the b-tree at a time.
const STEP: usize = 4_000;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) body: Fingerprint,
    pub(crate) id: MessageId,
    expires_at: Timestamp,
}

/// All keys.
#[derive(Default)]
pub(crate) struct Keys {
    recent: HashMap<Fingerprint, Known>,
    /// What the running transaction wrote: becomes part of `recent` when it is committed.
    pending: HashMap<Fingerprint, Option<Known>>,
    has_old: bool,
}

impl Keys {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut keys = Self::default();
        let mut select = connection.prepare("SELECT key, body, id, expires_at FROM keys ORDER BY number")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(known) = known(row)? {
                keys.recent.insert(Fingerprint(row.get(0)?), known);
            }
        }
        keys.has_old = connection.query_row("SELECT EXISTS (SELECT 1 FROM old_keys)", [], |row| row.get(0))?;
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
                None => self.find_old(connection, key)?,
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
    }

    /// The transaction never happened.
    pub(crate) fn rolled_back(&mut self) {
        self.pending.clear();
    }

    /// Moves the oldest keys to the b-tree, if there are too many in memory.
    pub(crate) fn make_room(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.recent.len() < CAPACITY {
            return Ok(());
        }
        let mut oldest = oldest_keys(connection, STEP)?;
        let Some(last) = oldest.last().map(|row| row.number) else { return Ok(()) };
        // In the order of the b-tree; of two uses of one key, the later one last, so that it stays.
        oldest.sort_unstable_by_key(|row| (row.key, row.number));
        let mut insert = connection.prepare_cached(
            "INSERT INTO old_keys SELECT key, body, id, expires_at FROM keys WHERE number = ?1
             ON CONFLICT (key) DO UPDATE SET body = excluded.body, id = excluded.id, expires_at = excluded.expires_at",
        )?;
        for row in &oldest {
            insert.execute(params![row.number])?;
        }
        connection.prepare_cached("DELETE FROM keys WHERE number <= ?1")?.execute(params![last])?;
        self.has_old = true;
        for row in oldest {
            self.drop_if_same(row);
        }
        Ok(())
    }

    /// Takes a row out of memory, unless the key has been used anew since.
    fn drop_if_same(&mut self, row: StoredKey) {
        let known = self.pending.get(&row.key).copied().unwrap_or_else(|| self.recent.get(&row.key).copied());
        if known.is_some_and(|known| known.id.as_integer() == row.id) {
            self.pending.insert(row.key, None);
        }
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
            self.drop_if_same(*row);
        }
        let mut forgotten = expired.len();
        if self.has_old && forgotten < batch {
            let rest = i64::try_from(batch - forgotten).unwrap_or(i64::MAX);
            let mut delete = connection.prepare_cached(
                "DELETE FROM old_keys WHERE key IN (SELECT key FROM old_keys WHERE expires_at <= ?1 LIMIT ?2)",
            )?;
            forgotten += delete.execute(params![now.as_millis(), rest])?;
        }
        Ok(forgotten)
    }

    fn find_old(&self, connection: &Connection, key: Fingerprint) -> rusqlite::Result<Option<Known>> {
        if !self.has_old {
            return Ok(None);
        }
        let mut select = connection.prepare_cached("SELECT key, body, id, expires_at FROM old_keys WHERE key = ?1")?;
        Ok(select.query_row(params![key.0], known).optional()?.flatten())
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
    id: i64,
    expires_at: i64,
}

fn oldest_keys(connection: &Connection, count: usize) -> rusqlite::Result<Vec<StoredKey>> {
    let mut select =
        connection.prepare_cached("SELECT number, key, id, expires_at FROM keys ORDER BY number LIMIT ?1")?;
    let rows = select.query_map(params![i64::try_from(count).unwrap_or(i64::MAX)], |row| {
        Ok(StoredKey { number: row.get(0)?, key: Fingerprint(row.get(1)?), id: row.get(2)?, expires_at: row.get(3)? })
    })?;
    rows.collect()
}
