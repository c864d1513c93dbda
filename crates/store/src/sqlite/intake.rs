//! Taking notifications in.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::params;
use tidings_core::delivery::Transition;
use tidings_core::error::StoreError;
use tidings_core::id::UserId;
use tidings_core::idempotency::Idempotency;
use tidings_core::notification::NewNotification;
use tidings_core::ports::Intake;
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::time::Timestamp;

use super::keys::Known;
use super::open::SqliteStore;
use super::rows::{self, Ended};
use super::streams;
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
    if let Some(transition) = &submission.at_once
        && let Some(owner) = owner(tx, notification)?
    {
        deliver(tx, notification, transition, owner)?;
        return Ok(Acceptance::Delivered(notification.id));
    }
    rows::insert(tx, notification)?;
    Ok(Acceptance::Accepted(notification.id))
}

/// Stores a notification and appends it to the inbox of its user.
fn deliver(
    tx: &mut Tx<'_>,
    notification: &NewNotification,
    transition: &Transition,
    owner: (i64, UserId),
) -> rusqlite::Result<()> {
    let at = transition.entry.as_ref().map_or(notification.accepted_at, |entry| entry.at);
    let inbox_number = streams::append_to(tx, owner, notification.id, at)?;
    rows::record(tx, notification, Some(&Ended { transition, at, inbox_number })).map(drop)
}

/// Whose inbox a notification goes to. `None` when the user was deleted since the request was judged.
fn owner(tx: &Tx<'_>, notification: &NewNotification) -> rusqlite::Result<Option<(i64, UserId)>> {
    let Some(user) = notification.user else { return Ok(None) };
    let tenant = notification.tenant.as_integer();
    let mut exists =
        tx.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM users WHERE tenant_id = ?1 AND id = ?2)")?;
    let exists: bool = exists.query_row(params![tenant, *user.0.as_bytes()], |row| row.get(0))?;
    Ok(exists.then_some((tenant, user)))
}

fn answer(known: &Known, key: &Idempotency) -> Acceptance {
    if known.body == key.body { Acceptance::Replayed(known.id) } else { Acceptance::Mismatched }
}
