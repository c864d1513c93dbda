//! From what SQLite says to what a caller can do about it.

use rusqlite::ErrorCode;
use tidings_core::error::StoreError;

/// Sorts an error of SQLite.
pub(crate) fn sort(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch,
        )
        // Not from SQLite but from reading a row: the row is not what it should be.
        | None => StoreError::Inconsistent(error.to_string()),
        Some(_) => StoreError::Unavailable(error.to_string()),
    }
}

/// Whether the connection cannot be trusted any more: the file system failed under it.
pub(crate) fn breaks_connection(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}
