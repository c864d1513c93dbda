//! Wake-ups within one process.

use async_trait::async_trait;
use tidings_core::ports::Broker;
use tokio::sync::Notify;

/// Wakes a worker in the same process.
#[derive(Debug, Default)]
pub struct LocalBroker {
    bell: Notify,
}

#[async_trait]
impl Broker for LocalBroker {
    fn wake(&self) {
        self.bell.notify_one();
    }

    async fn woken(&self) {
        self.bell.notified().await;
    }
}
