//! What was caught: the latest items, within bounds, and ways to hear of more.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

/// How many items are kept.
const KEPT: usize = 1_000;
/// How many bytes are kept; the latest item stays whatever its size.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// How far a subscriber may fall behind.
const NEWS: usize = 64;

/// Fewer were caught in time than were waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// How many were waited for.
    pub wanted: usize,
    /// How many came.
    pub caught: usize,
}

impl fmt::Display for Late {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "only {} of {} were caught in time", self.caught, self.wanted)
    }
}

impl std::error::Error for Late {}

pub(crate) struct Shelf<T> {
    kept: Mutex<Kept<T>>,
    count: watch::Sender<usize>,
    news: broadcast::Sender<Arc<T>>,
}

struct Kept<T> {
    items: VecDeque<Weighed<T>>,
    bytes: usize,
    last_number: u64,
}

struct Weighed<T> {
    item: Arc<T>,
    bytes: usize,
}

impl<T> Shelf<T> {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::new(Kept { items: VecDeque::new(), bytes: 0, last_number: 0 }),
            count: watch::Sender::new(0),
            news: broadcast::Sender::new(NEWS),
        }
    }

    /// Puts an item of about `bytes` bytes on the shelf. `make` gets its number; the first is 1.
    pub(crate) fn put(&self, bytes: usize, make: impl FnOnce(u64) -> T) -> Arc<T> {
        let item = {
            let mut kept = self.kept.lock();
            kept.last_number += 1;
            let item = Arc::new(make(kept.last_number));
            kept.bytes += bytes;
            kept.items.push_back(Weighed { item: Arc::clone(&item), bytes });
            kept.trim();
            self.count.send_modify(|count| *count += 1);
            item
        };
        // Nobody may be listening.
        drop(self.news.send(Arc::clone(&item)));
        item
    }

    pub(crate) fn items(&self) -> Vec<T>
    where
        T: Clone,
    {
        let kept = self.kept.lock();
        kept.items.iter().map(|weighed| weighed.item.as_ref().clone()).collect()
    }

    /// Waits until `wanted` items were caught since the start or the last [`Shelf::clear`].
    pub(crate) async fn wait_for(&self, wanted: usize, within: Duration) -> Result<Vec<T>, Late>
    where
        T: Clone,
    {
        let mut counts = self.count.subscribe();
        // The guard that the wait gives must be gone before the items are locked.
        let enough = async { counts.wait_for(|count| *count >= wanted).await.is_ok() };
        if tokio::time::timeout(within, enough).await.unwrap_or(false) {
            return Ok(self.items());
        }
        let caught = *self.count.borrow();
        Err(Late { wanted, caught })
    }

    pub(crate) fn clear(&self) {
        let mut kept = self.kept.lock();
        kept.items.clear();
        kept.bytes = 0;
        self.count.send_replace(0);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<T>> {
        self.news.subscribe()
    }
}

impl<T> Kept<T> {
    fn trim(&mut self) {
        while self.items.len() > KEPT || (self.bytes > KEPT_BYTES && self.items.len() > 1) {
            if let Some(oldest) = self.items.pop_front() {
                self.bytes -= oldest.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_are_kept() {
        let shelf = Shelf::new();
        for _ in 0..KEPT + 5 {
            shelf.put(1, |number| number);
        }
        let items = shelf.items();
        assert_eq!((items.len(), items.first()), (KEPT, Some(&6)));
    }

    #[test]
    fn large_items_push_out_more_of_the_old_ones() {
        let shelf = Shelf::new();
        for _ in 0..3 {
            shelf.put(KEPT_BYTES / 2, |number| number);
        }
        assert_eq!(shelf.items(), [2, 3]);
        shelf.put(KEPT_BYTES * 2, |number| number);
        assert_eq!(shelf.items(), [4]);
    }

    #[tokio::test]
    async fn a_wait_says_how_many_came() {
        let moment = Duration::from_millis(5);
        let shelf = Shelf::new();
        shelf.put(1, |number| number);
        assert_eq!(shelf.wait_for(1, moment).await, Ok(vec![1]));
        assert_eq!(shelf.wait_for(2, moment).await, Err(Late { wanted: 2, caught: 1 }));
        shelf.clear();
        assert_eq!(shelf.wait_for(1, moment).await, Err(Late { wanted: 1, caught: 0 }));
    }

    #[tokio::test]
    async fn subscribers_hear_of_each_item() {
        let shelf = Shelf::new();
        let mut news = shelf.subscribe();
        shelf.put(1, |number| number);
        assert_eq!(*news.recv().await.unwrap(), 1);
    }
}
