//! The schema, step by step. `PRAGMA user_version` says how far a file has come.

use rusqlite::Connection;

/// The steps, oldest first. A step that has been released never changes.
const STEPS: &[&str] = &[
    include_str!("../../migrations/sqlite/001_spine.sql"),
    include_str!("../../migrations/sqlite/002_receipt_floors.sql"),
    include_str!("../../migrations/sqlite/003_key_runs.sql"),
];

/// The schema version that this program works with.
pub const SCHEMA_VERSION: u32 = 3;
const _: () = assert!(STEPS.len() == SCHEMA_VERSION as usize, "one step per version");

/// What migrating did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 for a new file.
    pub from: u32,
    /// The version now.
    pub to: u32,
}

/// The version of a file.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings a file up to date, in one transaction. The caller has made sure that it is not newer.
pub(crate) fn run(connection: &mut Connection) -> rusqlite::Result<Migrated> {
    let from = version(connection)?;
    let pending = STEPS.iter().skip(from as usize);
    if pending.len() > 0 {
        let transaction = connection.transaction()?;
        for step in pending {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok(Migrated { from, to: SCHEMA_VERSION })
}
