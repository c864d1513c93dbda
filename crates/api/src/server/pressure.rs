//! Taking descriptors back from connections that have nothing to do.

use std::mem;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Nudges every connection, when the server stops and when the machine is out of descriptors.
///
/// One token stands for both, so that a connection waits for one thing only; and each connection has a token of its own, so
/// that no lock is shared by all requests.
#[derive(Debug)]
pub(super) struct Pressure {
    stop: CancellationToken,
    /// The parent of the tokens given out since the last time that descriptors were short.
    current: Mutex<CancellationToken>,
}

impl Pressure {
    pub(super) fn new(stop: CancellationToken) -> Self {
        let current = Mutex::new(stop.child_token());
        Self { stop, current }
    }

    /// Cancelled at the next nudge; then ask for another.
    pub(super) fn nudge(&self) -> CancellationToken {
        self.current.lock().child_token()
    }

    /// Whether the nudge means that the server stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks all connections that have nothing to do to end.
    pub(super) fn relieve(&self) {
        let next = self.stop.child_token();
        let before = mem::replace(&mut *self.current.lock(), next);
        before.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nudge_reaches_those_who_listen_and_nobody_after() {
        let stop = CancellationToken::new();
        let pressure = Pressure::new(stop.clone());
        let first = pressure.nudge();
        pressure.relieve();
        let second = pressure.nudge();
        assert!(first.is_cancelled() && !second.is_cancelled() && !pressure.is_stopping());
        stop.cancel();
        assert!(second.is_cancelled() && pressure.is_stopping());
        assert!(pressure.nudge().is_cancelled(), "whoever listens later learns of the stop, too");
    }
}
