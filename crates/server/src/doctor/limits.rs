//! What the operating system grants this process.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::doctor::finding::Finding;

/// Fewer file handles than this run out under a modest load.
const ENOUGH: u64 = 4096;
/// Handles that are no connections of clients: the store, logs, connections to providers.
const OTHERS: u64 = 512;

/// Whether there are handles for the connections that are allowed.
pub(crate) fn file_handles(config: &Config) -> Finding {
    const CHECK: &str = "file handles";
    let Some(granted) = getrlimit(Resource::Nofile).current else {
        return Finding::ok(CHECK, "no limit");
    };
    judge(CHECK, granted, u64::try_from(config.server.connections).unwrap_or(u64::MAX))
}

fn judge(check: &'static str, granted: u64, connections: u64) -> Finding {
    if granted < ENOUGH {
        let found = format!("a process may open {granted} files and connections; at least {ENOUGH} are recommended");
        return Finding::warn(
            check,
            found,
            "`ulimit -n 65536` before the start, or LimitNOFILE=65536 in the systemd unit",
        );
    }
    if granted < connections.saturating_add(OTHERS) {
        let found = format!(
            "a process may open {granted} files and connections, but CONNECTION_LIMIT allows {connections} clients"
        );
        return Finding::warn(check, found, "raise the one (`ulimit -n`, LimitNOFILE) or lower the other");
    }
    Finding::ok(check, format!("a process may open {granted} files and connections"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn handles_have_to_suffice_for_the_connections_allowed() {
        assert_eq!(judge("x", 1024, 100).verdict, Verdict::Warn);
        assert_eq!(judge("x", 8192, 10_000).verdict, Verdict::Warn);
        assert_eq!(judge("x", 65_536, 10_000).verdict, Verdict::Ok);
    }
}
