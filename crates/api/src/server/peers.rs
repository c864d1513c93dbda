//! How many connections each peer has.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::peer::Peer;

/// Counts the connections of each peer. Asked when a connection begins and when it ends, not for requests.
#[derive(Debug)]
pub(super) struct Peers {
    limit: usize,
    counts: Mutex<HashMap<Peer, usize>>,
}

/// A connection of a peer; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    peers: Arc<Peers>,
    peer: Peer,
}

impl Peers {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, counts: Mutex::default() })
    }

    /// A further connection of a peer, if it may have one.
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> Option<Seat> {
        let mut counts = self.counts.lock();
        let count = counts.entry(peer).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Seat { peers: Arc::clone(self), peer })
    }

    fn leave(&self, peer: Peer) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&peer);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.peers.leave(self.peer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_peer_has_so_many_and_others_are_not_concerned() {
        let peers = Peers::new(2);
        let (one, other) = (peer("192.0.2.1"), peer("2001:db8::1"));
        let first = peers.enter(one).unwrap();
        let second = peers.enter(one).unwrap();
        assert!(peers.enter(one).is_none());
        assert!(peers.enter(other).is_some());
        drop(first);
        let third = peers.enter(one).unwrap();
        assert!(peers.enter(one).is_none());
        drop((second, third));
        assert!(peers.counts.lock().is_empty(), "nobody is remembered who is not there");
    }
}
