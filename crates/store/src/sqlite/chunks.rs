//! Finding the notifications of a user without an index over random keys.
//!
//! An index by user alone has as many warm pages as there are users, and every accept dirties one. So the index is cut
//! into chunks of some thousand consecutive notifications: an accept writes into the small part of the current chunk, and a
//! list walks the chunks from the newest to the oldest, one seek each.
//!
//! A chunk is named by the smallest id that belongs to it, so which chunk an id belongs to never changes, whatever order
//! ids arrive in.

use rusqlite::{Connection, OptionalExtension, params};

/// How many notifications a chunk has, about: an index of them takes a few hundred pages.
const ROWS: u32 = 16_384;

/// The chunks that new notifications go into.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    current: i64,
    previous: i64,
    rows: u32,
    highest: i64,
}

impl Chunks {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let current = at_most(connection, i64::MAX)?.unwrap_or(0);
        let previous = before(connection, current)?.unwrap_or(0);
        let count = "SELECT count(*) FROM notifications WHERE chunk = ?1 AND user_id NOTNULL";
        let rows = connection.query_row(count, params![current], |row| row.get(0))?;
        let highest: Option<i64> = connection.query_row("SELECT max(id) FROM notifications", [], |row| row.get(0))?;
        Ok(Self { current, previous, rows, highest: highest.unwrap_or(0) })
    }

    /// The chunk of an id that is about to be stored.
    pub(crate) fn of(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<i64> {
        if id > self.highest {
            self.highest = id;
            if self.rows >= ROWS {
                (self.previous, self.current, self.rows) = (self.current, id, 0);
            }
        }
        self.rows += 1;
        match id {
            _ if id >= self.current => Ok(self.current),
            _ if id >= self.previous => Ok(self.previous),
            // It was made long before it came here.
            _ => Ok(at_most(connection, id)?.unwrap_or(0)),
        }
    }
}

/// The last chunk that begins at or before an id.
pub(crate) fn at_most(connection: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    one(
        connection,
        "SELECT chunk FROM notifications WHERE user_id NOTNULL AND chunk <= ?1 ORDER BY chunk DESC LIMIT 1",
        id,
    )
}

/// The chunk before a chunk.
pub(crate) fn before(connection: &Connection, chunk: i64) -> rusqlite::Result<Option<i64>> {
    one(
        connection,
        "SELECT chunk FROM notifications WHERE user_id NOTNULL AND chunk < ?1 ORDER BY chunk DESC LIMIT 1",
        chunk,
    )
}

/// The chunk after a chunk.
pub(crate) fn after(connection: &Connection, chunk: i64) -> rusqlite::Result<Option<i64>> {
    one(
        connection,
        "SELECT chunk FROM notifications WHERE user_id NOTNULL AND chunk > ?1 ORDER BY chunk LIMIT 1",
        chunk,
    )
}

fn one(connection: &Connection, sql: &str, than: i64) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached(sql)?.query_row(params![than], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_belongs_to_one_chunk_whenever_it_arrives() {
        let connection = Connection::open_in_memory().expect("a database in memory");
        connection
            .execute_batch("CREATE TABLE notifications (id INTEGER PRIMARY KEY, chunk INTEGER, user_id BLOB)")
            .expect("a table");
        let mut chunks = Chunks::default();
        let mut seen = std::collections::BTreeMap::new();
        // Every third id comes late, by more than a chunk now and then.
        let ids = (0..100_000_i64).map(|n| if n % 3 == 0 { (n - 20_000 * (n % 2)).max(1) * 10 } else { n * 10 + 5 });
        for id in ids {
            let chunk = chunks.of(&connection, id).expect("a chunk");
            assert!(chunk <= id);
            connection
                .execute("INSERT OR IGNORE INTO notifications VALUES (?1, ?2, x'00')", params![id, chunk])
                .expect("a row");
            seen.insert(id, chunk);
        }
        assert!(seen.values().collect::<std::collections::BTreeSet<_>>().len() > 3);
        assert!(seen.values().zip(seen.values().skip(1)).all(|(one, next)| one <= next), "chunks grow with ids");
    }
}
