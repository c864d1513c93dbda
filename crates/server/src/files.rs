//! Open files: each connection is one, and the store and the connections to providers need theirs, too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::config::Config;

/// Files that are no connections: the store with its readers, logs, listeners, what the runtime holds.
const OWN: u64 = 96;

/// Files of one attempt: a connection to a provider, and what is kept open to it for the next.
const PER_ATTEMPT: u64 = 2;

/// Each connection is a file. The limit that a shell sets is made for people, the one above it for servers.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        warn!("The limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// How many connections of clients are served at once: as many as configured, or as many as there are files for. The latter
/// is warned about.
pub(crate) fn connections(config: &Config) -> usize {
    let (wanted, attempts) = (config.server.connections, config.delivery.concurrency);
    let Some(granted) = getrlimit(Resource::Nofile).current else {
        return wanted;
    };
    let connections = connections_within(granted, wanted, attempts);
    if connections < wanted {
        warn!(
            files = granted,
            connections,
            "This process may open {granted} files, so at most {connections} connections are served at once instead of {wanted} \
             (CONNECTION_LIMIT); more wait. The others are kept for the store and for connections to providers. To raise the limit: \
             `ulimit -n 65536` before the start, or LimitNOFILE=65536 in the systemd unit"
        );
    }
    connections
}

/// The connections that fit beside the store and this many attempts. At least half of the files are for connections, however
/// few there are: a server that takes none serves nobody.
fn connections_within(granted: u64, wanted: usize, attempts: usize) -> usize {
    let attempts = u64::try_from(attempts).unwrap_or(u64::MAX);
    let others = attempts.saturating_mul(PER_ATTEMPT).saturating_add(OWN).min(granted / 2);
    let fitting = usize::try_from(granted - others).unwrap_or(usize::MAX);
    wanted.min(fitting).max(1)
}

/// How many connections one peer gets unless configured otherwise.
pub(crate) fn share_of_one_peer(connections: usize) -> usize {
    (connections / 4).max(1_000).min(connections)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_configured_holds_where_there_are_files_for_it() {
        assert_eq!(connections_within(65_536, 10_000, 10), 10_000);
    }

    #[test]
    fn few_files_are_shared() {
        assert_eq!(connections_within(1_024, 10_000, 10), 1_024 - 96 - 20);
        assert_eq!(connections_within(256, 10_000, 10), 256 - 96 - 20);
        assert_eq!(connections_within(64, 10_000, 10), 32);
        assert_eq!(connections_within(0, 10_000, 10), 1);
    }

    #[test]
    fn a_peer_gets_a_quarter_where_there_is_plenty() {
        assert_eq!(share_of_one_peer(10_000), 2_500);
        assert_eq!(share_of_one_peer(2_000), 1_000);
        assert_eq!(share_of_one_peer(140), 140);
    }

    proptest! {
        #[test]
        fn connections_never_take_all_files(granted in 2_u64..1 << 20, wanted in 1_usize..1 << 20, attempts in 0_usize..10_000) {
            let connections = connections_within(granted, wanted, attempts);
            prop_assert!((1..=wanted).contains(&connections));
            prop_assert!(u64::try_from(connections).unwrap() < granted);
        }
    }
}
