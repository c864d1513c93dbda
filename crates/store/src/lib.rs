//! The stores: the ports of the domain on real databases.
//!
//! Each database has a folder with the same file names: one per port, one for opening, one for rows.

pub mod sqlite;

pub use sqlite::{OpenError, Options, SqliteStore};
