//! Reading connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tidings_core::error::StoreError;
use tokio::sync::Semaphore;

use super::error::sort;
use super::open::connect_reader;

/// How long a read waits for a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// A few connections, opened when they are needed.
pub(crate) struct Readers {
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
    /// Health asks here, so that a busy pool does not look like a dead store.
    reserved: Arc<Pool>,
}

struct Pool {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(file: PathBuf, size: usize) -> Self {
        let pool = |file| Arc::new(Pool { file, idle: Mutex::new(Vec::new()) });
        Self { pool: pool(file.clone()), permits: Arc::new(Semaphore::new(size)), reserved: pool(file) }
    }

    /// Runs `work` on a connection of the pool.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let waiting = tokio::time::timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = match waiting {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(StoreError::Closed),
            Err(_elapsed) => return Err(StoreError::Overloaded),
        };
        // The permit goes along: the work of a caller who went away still holds its connection.
        let permitted = move |connection: &Connection| {
            let _permit = permit;
            work(connection)
        };
        Arc::clone(&self.pool).run(permitted).await
    }

    /// Runs `work` beside the pool.
    pub(crate) async fn run_reserved<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Arc::clone(&self.reserved).run(work).await
    }
}

impl Pool {
    async fn run<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = tokio::task::spawn_blocking(move || {
            let idle = self.idle.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => connect_reader(&self.file).map_err(|error| sort(&error))?,
            };
            let result = work(&connection);
            // A connection that failed is not used again.
            if result.is_ok() {
                self.idle.lock().push(connection);
            }
            result
        });
        done.await.unwrap_or_else(|error| Err(StoreError::Inconsistent(format!("a read panicked: {error}"))))
    }
}
