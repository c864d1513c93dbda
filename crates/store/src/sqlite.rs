//! The embedded store: SQLite in one directory, for one process.
//!
//! One thread owns the only writing connection. It takes all writes that are waiting, runs them in one transaction,
//! commits once (`synchronous=FULL`: on stable storage) and then answers all of them: group commit without a timer,
//! because the next group forms while the disk works. Reads run on connections of their own and never wait for writes.
//!
//! A second thread keeps the house: it looks at the disk, seals what was committed ([`seal`]) and moves the log into the
//! database file ([`keeper`]).
//!
//! Three things are held in memory beside the tables and brought up to date after a commit, before its answers: where work
//! is due ([`lanes`]), recent idempotency keys ([`keys`]), and users read lately ([`users`]). The first two are rebuilt at
//! start; the third begins empty.

pub mod backup;
mod catalog;
mod chunks;
mod dead_letters;
mod disk;
mod error;
mod examine;
mod history;
mod identity;
mod intake;
mod jobs;
mod keeper;
mod keys;
mod lanes;
mod migrations;
mod open;
mod queues;
mod readers;
mod rows;
mod seal;
mod streams;
mod upkeep;
mod users;
mod writer;

pub use migrations::{Migrated, SCHEMA_VERSION};
pub use open::{OpenError, Options, SqliteStore, check, migrate, schema_version};
