//! Who a database is: the epoch of its history, and how many transactions it has seen.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

/// What a database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The history that it belongs to. A new one begins when commits were lost or a backup was restored.
    pub(crate) epoch: Uuid,
    /// The transactions since the history began, those of earlier epochs included.
    pub(crate) commits: u64,
    /// Whether the file was made by `tidings backup` and has not been opened since.
    pub(crate) is_backup: bool,
}

impl Identity {
    /// Reads it. `None` for a database that has not got one yet.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let has_meta: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'meta')",
            [],
            |row| row.get(0),
        )?;
        if !has_meta {
            return Ok(None);
        }
        let text = |key: &str| {
            let select = "SELECT value FROM meta WHERE key = ?1";
            connection.query_row(select, [key], |row| row.get::<_, String>(0)).optional()
        };
        let epoch = text("epoch")?.and_then(|text| text.parse().ok());
        let commits = text("commits")?.and_then(|text| text.parse().ok());
        let is_backup = text("backup")?.is_some();
        Ok(epoch.zip(commits).map(|(epoch, commits)| Self { epoch, commits, is_backup }))
    }

    /// Writes it, as that of a store in use.
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut put = connection.prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?;
        put.execute(params!["epoch", self.epoch.to_string()])?;
        put.execute(params!["commits", self.commits.to_string()])?;
        connection.execute("DELETE FROM meta WHERE key = 'backup'", []).map(drop)
    }
}

/// Counts a transaction, as part of it.
pub(crate) fn count_commit(connection: &Connection, commits: u64) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'commits'")?;
    update.execute(params![commits.to_string()]).map(drop)
}

/// Marks a copy as a backup: whoever opens it means to go back to it.
pub(crate) fn mark_backup(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('backup', '1')", []).map(drop)
}
