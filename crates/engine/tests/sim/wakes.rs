//! A broker that loses, doubles and delays its hints.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_core::ports::Broker;
use tokio::sync::Notify;
use tokio::time::sleep;

/// What becomes of hints.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Wakes {
    /// They arrive.
    #[default]
    Arrive,
    /// They are lost.
    Lost,
    /// They arrive, and again, and again.
    Repeated,
    /// They arrive this much later.
    Late(Duration),
}

/// The broker of a simulation.
#[derive(Default)]
pub(crate) struct SimBroker {
    bell: Arc<Notify>,
    wakes: Mutex<Wakes>,
}

/// How often a repeated hint comes again, and how long after the one before.
const REPEATS: u32 = 3;
const BETWEEN_REPEATS: Duration = Duration::from_millis(7);

impl SimBroker {
    pub(crate) fn set(&self, wakes: Wakes) {
        *self.wakes.lock() = wakes;
    }
}

#[async_trait]
impl Broker for SimBroker {
    fn wake(&self) {
        let bell = self.bell.clone();
        let wakes = *self.wakes.lock();
        match wakes {
            Wakes::Arrive => bell.notify_one(),
            Wakes::Lost => {}
            Wakes::Repeated => {
                bell.notify_one();
                drop(tokio::spawn(async move {
                    for _ in 0..REPEATS {
                        sleep(BETWEEN_REPEATS).await;
                        bell.notify_one();
                    }
                }));
            }
            Wakes::Late(time) => drop(tokio::spawn(async move {
                sleep(time).await;
                bell.notify_one();
            })),
        }
    }

    async fn woken(&self) {
        self.bell.notified().await;
    }
}
