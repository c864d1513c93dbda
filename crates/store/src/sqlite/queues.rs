//! Short names for queues, kept in memory by the writer.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::fairness::QueueKey;

/// More names than this are not kept in memory.
const CAPACITY: usize = 50_000;

/// The ids of queues seen lately.
#[derive(Default)]
pub(crate) struct Queues {
    ids: HashMap<QueueKey, i64>,
}

impl Queues {
    /// The id of a queue, made if it has none.
    pub(crate) fn intern(&mut self, connection: &Connection, key: &QueueKey) -> rusqlite::Result<i64> {
        if let Some(id) = self.find(connection, key)? {
            return Ok(id);
        }
        let mut insert =
            connection.prepare_cached("INSERT INTO queues (tenant_id, destination) VALUES (?1, ?2) RETURNING id")?;
        let id = insert.query_row(params![key.tenant.as_integer(), key.destination.as_str()], |row| row.get(0))?;
        self.keep(key, id);
        Ok(id)
    }

    /// The id of a queue, if it has one.
    pub(crate) fn find(&mut self, connection: &Connection, key: &QueueKey) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.ids.get(key) {
            return Ok(Some(*id));
        }
        let mut select =
            connection.prepare_cached("SELECT id FROM queues WHERE tenant_id = ?1 AND destination = ?2")?;
        let found = select
            .query_row(params![key.tenant.as_integer(), key.destination.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(id) = found {
            self.keep(key, id);
        }
        Ok(found)
    }

    /// Forgets everything: after a rollback, or when names were deleted.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
    }

    fn keep(&mut self, key: &QueueKey, id: i64) {
        if self.ids.len() >= CAPACITY {
            self.ids.clear();
        }
        self.ids.insert(key.clone(), id);
    }
}
