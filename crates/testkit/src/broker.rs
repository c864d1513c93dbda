//! A broker within one process.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tidings_core::ports::Broker;
use tokio::sync::Notify;

/// Wakes whoever waits, and counts.
#[derive(Debug, Default)]
pub struct FakeBroker {
    bell: Notify,
    wakes: AtomicUsize,
}

impl FakeBroker {
    /// How many hints were given so far.
    pub fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Broker for FakeBroker {
    fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.bell.notify_one();
    }

    async fn woken(&self) {
        self.bell.notified().await;
    }
}
