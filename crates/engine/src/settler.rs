//! Makes results durable: collects them from all attempts and gives many to the store in one call.

use std::sync::Arc;

use tidings_core::delivery::Next;
use tidings_core::error::StoreError;
use tidings_core::notification::NewNotification;
use tidings_core::ports::jobs::{Settled, Settlement};
use tidings_core::time::Timestamp;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::Shared;
use crate::leases::Held;
use crate::tasks::Backoff;

/// How many batches may wait. When they do, attempts keep their slots and nothing more is claimed.
const WAITING: usize = 256;

/// No further batch is added to a call that has this many settlements.
const ENOUGH: usize = 512;

/// A result on its way to the store.
pub(crate) struct Item {
    settlement: Settlement,
    channel: String,
    accepted_at: Timestamp,
    /// What Tidings itself sends is not what its users wait for: it counts in no metric of notifications.
    is_counted: bool,
    held: Held,
}

/// Results that are settled together.
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    /// The permission to be this far ahead of the store; given back when the batch is settled.
    pub(crate) ahead: Option<OwnedSemaphorePermit>,
}

/// Makes results durable.
pub(crate) struct Settler {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Batch>,
    receiver: Mutex<mpsc::Receiver<Batch>>,
    /// Cancelled when no more results will come.
    flush: CancellationToken,
}

/// What could not be made durable, and why not.
struct Failed {
    items: Vec<Item>,
    error: StoreError,
}

impl Item {
    pub(crate) fn new(notification: NewNotification, settlement: Settlement, held: Held) -> Self {
        let is_counted = notification.user.is_some();
        let NewNotification { channel, accepted_at, .. } = notification;
        Self { settlement, channel, accepted_at, is_counted, held }
    }
}

impl Settler {
    pub(crate) fn new(shared: Arc<Shared>, flush: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { shared, sender, receiver: Mutex::new(receiver), flush }
    }

    /// Hands over results; waits while too many wait already.
    pub(crate) async fn submit(&self, batch: Batch) {
        if let Err(mpsc::error::SendError(batch)) = self.sender.send(batch).await {
            give_up(&batch.items, &StoreError::Closed);
        }
    }

    /// Settles what is handed over, until no more will come and all that came is settled.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut receiver = self.receiver.lock().await;
        loop {
            let first = tokio::select! {
                biased;
                batch = receiver.recv() => batch,
                () = self.flush.cancelled(), if !receiver.is_closed() => {
                    receiver.close();
                    continue;
                }
            };
            let Some(Batch { mut items, ahead }) = first else {
                return;
            };
            let mut all_ahead = vec![ahead];
            while items.len() < ENOUGH {
                let Ok(more) = receiver.try_recv() else {
                    break;
                };
                items.extend(more.items);
                all_ahead.push(more.ahead);
            }
            self.settle(items).await;
            let frees_room = all_ahead.iter().any(Option::is_some);
            drop(all_ahead);
            if frees_room {
                self.shared.bell.notify_one();
            }
        }
    }

    async fn settle(&self, items: Vec<Item>) {
        let Err(Failed { items, error }) = self.persist(items).await else {
            return;
        };
        if items.len() <= 1 || matches!(error, StoreError::Closed) {
            return give_up(&items, &error);
        }
        // One of them is at fault; the others are not to suffer for it.
        for item in items {
            if let Err(Failed { items, error }) = self.persist(vec![item]).await {
                give_up(&items, &error);
            }
        }
    }

    /// Tries until it succeeds, the error is final, or the leases are over.
    async fn persist(&self, mut items: Vec<Item>) -> Result<(), Failed> {
        let mut backoff = Backoff::new();
        while !items.is_empty() {
            let settlements = items.iter().map(|item| item.settlement.clone()).collect();
            match self.shared.ports.jobs.settle(settlements).await {
                Ok(answers) => {
                    tidings_faultpoints::point("engine.after-settle");
                    self.note(&items, &answers);
                    return Ok(());
                }
                Err(error) if error.is_retryable() => {
                    // Should it be stored all the same, the repetition finds it stale and changes nothing.
                    let count = items.len();
                    warn!(count, "{count} results could not be stored yet: {error}");
                    sleep(backoff.next_pause()).await;
                    let (late, in_time): (Vec<Item>, Vec<Item>) =
                        items.into_iter().partition(|item: &Item| item.held.remaining().is_zero());
                    give_up(&late, &error);
                    items = in_time;
                }
                Err(error) => return Err(Failed { items, error }),
            }
        }
        Ok(())
    }

    fn note(&self, items: &[Item], answers: &[Settled]) {
        let mut more_is_due = false;
        for (item, answer) in items.iter().zip(answers) {
            let id = item.settlement.lease.id;
            match answer {
                Settled::Done => {
                    if item.is_counted {
                        self.shared.metrics.settled(&item.channel, item.accepted_at, &item.settlement.transition);
                    }
                    let is_queued = matches!(item.settlement.transition.next, Next::Queue { .. });
                    more_is_due |= is_queued || item.settlement.follow_up.is_some();
                }
                Settled::Stale => {
                    self.shared.metrics.stale_settlements.inc();
                    // The latter after a call whose failure was told, although its commit is on the disk.
                    warn!(messageId = %id, "The result for {id} came too late: its lease had been lost or settled before");
                }
            }
        }
        if more_is_due {
            self.shared.bell.notify_one();
        }
    }
}

/// What was not stored in spite of what the store said: the leases run out, and the notifications are tried again.
fn give_up(items: &[Item], error: &StoreError) {
    for item in items {
        let id = item.settlement.lease.id;
        error!(messageId = %id, "The result for {id} was not stored, as far as is known, and is left to the rescue: {error}");
    }
}
