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
        let Some((last, _)) = oldest.last().copied() else {
            return Ok(());
        };
        oldest.sort_unstable_by_key(|(_, key)| *key);
        let mut insert = connection.prepare_cached(
            "INSERT INTO old_keys SELECT key, body, id, expires_at FROM keys WHERE number = ?1
             ON CONFLICT (key) DO UPDATE SET body = excluded.body, id = excluded.id, expires_at = excluded.expires_at",
        )?;
        for (number, _) in &oldest {
            insert.execute(params![number])?;
        }
        connection.prepare_cached("DELETE FROM keys WHERE number <= ?1")?.execute(params![last])?;
        self.has_old = true;
        self.pending.extend(oldest.into_iter().map(|(_, key)| (key, None)));
        Ok(())
    }

    /// Forgets keys that have expired, at most `batch`. Returns how many.
    pub(crate) fn forget_expired(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        batch: usize,
    ) -> rusqlite::Result<usize> {
        let mut select = connection
            .prepare_cached("SELECT number, key FROM keys WHERE expires_at <= ?1 ORDER BY number LIMIT ?2")?;
        let expired = select
            .query_map(params![now.as_millis(), i64::try_from(batch).unwrap_or(i64::MAX)], |row| {
                Ok((row.get::<_, i64>(0)?, Fingerprint(row.get(1)?)))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut delete = connection.prepare_cached("DELETE FROM keys WHERE number = ?1")?;
        for (number, key) in &expired {
            delete.execute(params![number])?;
            // The same key may have been used anew since: that use stays.
            if self.recent.get(key).is_some_and(|known| known.expires_at <= now) {
                self.pending.insert(*key, None);
            }
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

fn oldest_keys(connection: &Connection, count: usize) -> rusqlite::Result<Vec<(i64, Fingerprint)>> {
    let mut select = connection.prepare_cached("SELECT number, key FROM keys ORDER BY number LIMIT ?1")?;
    let rows = select.query_map(params![i64::try_from(count).unwrap_or(i64::MAX)], |row| {
        Ok((row.get(0)?, Fingerprint(row.get(1)?)))
    })?;
    rows.collect()
}
