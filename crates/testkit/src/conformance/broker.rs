//! What every [`Broker`] has to do.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::ports::Broker;

/// How long a hint may take within one process or one machine.
const SOON: Duration = Duration::from_secs(10);
/// Long enough for a wait to have begun, were it given up after it.
const MOMENT: Duration = Duration::from_millis(10);

/// A broker in the form that the cases take.
pub fn shared(broker: impl Broker + 'static) -> Arc<dyn Broker> {
    Arc::new(broker)
}

async fn is_woken(broker: &Arc<dyn Broker>) -> bool {
    tokio::time::timeout(SOON, broker.woken()).await.is_ok()
}

pub async fn a_hint_given_while_nobody_waits_is_kept(broker: &Arc<dyn Broker>) {
    broker.wake();
    assert!(is_woken(broker).await);
}

pub async fn a_hint_wakes_who_waits(broker: &Arc<dyn Broker>) {
    let waiting = {
        let broker = Arc::clone(broker);
        tokio::spawn(async move { is_woken(&broker).await })
    };
    // Whether the wait has begun by now or begins later, this hint has to end it.
    tokio::task::yield_now().await;
    broker.wake();
    assert!(waiting.await.expect("waiting does not panic"));
}

pub async fn a_wait_given_up_loses_no_hint(broker: &Arc<dyn Broker>) {
    let given_up = tokio::time::timeout(MOMENT, broker.woken()).await;
    assert!(given_up.is_err(), "nobody gave a hint");
    broker.wake();
    assert!(is_woken(broker).await);
}

pub async fn hints_never_block(broker: &Arc<dyn Broker>) {
    for _ in 0..100_000 {
        broker.wake();
    }
    assert!(is_woken(broker).await);
}
