//! Taking notifications in.

use std::time::Duration;

use async_trait::async_trait;
use tidings_core::error::StoreError;
use tidings_core::idempotency::Idempotency;
use tidings_core::ports::Intake;
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::time::Timestamp;

use super::keys::Known;
use super::open::SqliteStore;
use super::rows;
use super::writer::{Failure, Tx};

#[async_trait]
impl Intake for SqliteStore {
    async fn accept(&self, batch: Vec<Submission>) -> Result<Vec<Acceptance>, StoreError> {
        let weight = batch.len();
        self.inner.writer.try_write(weight, move |tx| accept(tx, &batch)).await
    }

    fn accept_wait(&self) -> Duration {
        self.inner.writer.wait()
    }

    async fn replay(&self, key: &Idempotency, now: Timestamp) -> Result<Option<Acceptance>, StoreError> {
        let key = *key;
        let found = move |tx: &mut Tx<'_>| {
            Ok(tx.memory.keys.find(tx.connection, key.key, now)?.map(|known| answer(&known, &key)))
        };
        self.inner.writer.write(1, found).await
    }
}

fn accept(tx: &mut Tx<'_>, batch: &[Submission]) -> Result<Vec<Acceptance>, Failure> {
    tx.require_disk()?;
    let accepted = batch.iter().map(|submission| accept_one(tx, submission)).collect::<rusqlite::Result<_>>()?;
    Ok(accepted)
}

fn accept_one(tx: &mut Tx<'_>, submission: &Submission) -> rusqlite::Result<Acceptance> {
    let notification = &submission.notification;
    if let Some(key) = &submission.idempotency {
        if let Some(known) = tx.memory.keys.find(tx.connection, key.key, notification.accepted_at)? {
            return Ok(answer(&known, key));
        }
        tx.memory.keys.insert(tx.connection, key, notification.id)?;
    }
    rows::insert(tx, notification)?;
    Ok(Acceptance::Accepted(notification.id))
}

fn answer(known: &Known, key: &Idempotency) -> Acceptance {
    if known.body == key.body { Acceptance::Replayed(known.id) } else { Acceptance::Mismatched }
}
