//! Taking notifications in.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use tidings_core::delivery::Transition;
use tidings_core::error::StoreError;
use tidings_core::id::MessageId;
use tidings_core::idempotency::{Fingerprint, Idempotency};
use tidings_core::notification::NewNotification;
use tidings_core::ports::Intake;
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::time::Timestamp;

use super::FakeStore;
use super::rows::{Known, Tables};

#[async_trait]
impl Intake for FakeStore {
    async fn accept(&self, batch: Vec<Submission>) -> Result<Vec<Acceptance>, StoreError> {
        self.write(|tables| Judged::new(tables, batch).store(tables))?
    }

    async fn replay(&self, key: &Idempotency, now: Timestamp) -> Result<Option<Acceptance>, StoreError> {
        self.read(|tables| {
            let known = tables.keys.get(&key.key).filter(|known| known.expires_at > now);
            known.map(|known| answer(known, key))
        })
    }

    fn accept_wait(&self) -> Duration {
        self.accept_wait_now()
    }
}

/// A batch as it would be answered, before anything of it is stored.
#[derive(Default)]
struct Judged {
    answers: Vec<Acceptance>,
    fresh: Vec<(NewNotification, Option<Transition>)>,
    keys: HashMap<Fingerprint, Known>,
}

impl Judged {
    fn new(tables: &Tables, batch: Vec<Submission>) -> Self {
        let mut judged = Self::default();
        for submission in batch {
            judged.judge(tables, submission);
        }
        judged
    }

    fn judge(&mut self, tables: &Tables, submission: Submission) {
        let notification = submission.notification;
        if let Some(key) = &submission.idempotency {
            let known = self.keys.get(&key.key).or_else(|| tables.keys.get(&key.key));
            if let Some(known) = known.filter(|known| known.expires_at > notification.accepted_at) {
                self.answers.push(answer(known, key));
                return;
            }
            let known = Known { body: key.body, id: notification.id, expires_at: key.expires_at };
            self.keys.insert(key.key, known);
        }
        let owner = notification.user.map(|user| (notification.tenant, user));
        let at_once = submission.at_once.filter(|_| owner.is_some_and(|owner| tables.has_user(owner)));
        self.answers.push(match at_once {
            Some(_) => Acceptance::Delivered(notification.id),
            None => Acceptance::Accepted(notification.id),
        });
        self.fresh.push((notification, at_once));
    }

    fn store(self, tables: &mut Tables) -> Result<Vec<Acceptance>, StoreError> {
        let mut ids: HashSet<MessageId> = HashSet::new();
        let is_taken = |notification: &&NewNotification| {
            !ids.insert(notification.id) || tables.notifications.contains_key(&notification.id)
        };
        if let Some(taken) = self.fresh.iter().map(|(notification, _)| notification).find(is_taken) {
            return Err(StoreError::Inconsistent(format!("notification {} is stored already", taken.id)));
        }
        tables.keys.extend(self.keys);
        for (notification, at_once) in self.fresh {
            let id = notification.id;
            tables.insert(notification);
            if let Some(transition) = at_once {
                tables.deliver(id, &transition);
            }
        }
        Ok(self.answers)
    }
}

fn answer(known: &Known, key: &Idempotency) -> Acceptance {
    if known.body == key.body { Acceptance::Replayed(known.id) } else { Acceptance::Mismatched }
}
