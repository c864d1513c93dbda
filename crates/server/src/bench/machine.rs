//! Where it was measured. Figures of different machines are not compared by themselves.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::bench::disk;
use crate::bench::target::Target;

/// The machine and the disk. Units are in the names.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) kernel: String,
    /// The kind of file system of the store; `None` if the store is somebody else's.
    pub(crate) file_system: Option<String>,
    /// What is flushed, and when.
    pub(crate) fsync: String,
    /// The median cost of a flush there, in microseconds.
    pub(crate) flush_micros: Option<u64>,
}

impl Machine {
    /// This machine and the disk of the server.
    pub(crate) async fn under(target: &Target) -> Self {
        let folder = target.own().map(crate::bench::server::OwnServer::folder);
        let flush = match folder {
            Some(folder) => disk::flush_cost(folder).await,
            None => None,
        };
        let fsync = match (folder, flush) {
            (None, _) => "whatever that server promises",
            (Some(_), Some(cost)) if cost < disk::TOO_FAST => {
                "on each commit, but the directory is in memory: choose one on a disk with --dir"
            }
            (Some(_), _) => "on each group commit (WAL, synchronous=FULL)",
        };
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            memory_bytes: memory(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            file_system: folder.and_then(disk::file_system),
            fsync: fsync.to_owned(),
            flush_micros: flush.map(micros),
        }
    }

    /// The machine in one line.
    pub(crate) fn in_words(&self) -> String {
        let Self { cores, processor, kernel, .. } = self;
        let cores = if *cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
        let disk = self.file_system.as_ref().map(|kind| format!(", {kind}")).unwrap_or_default();
        format!("{cores}, {processor}, Linux {kernel}{disk}")
    }

    /// What a 202 means there, in one line.
    pub(crate) fn durability(&self) -> String {
        match self.flush_micros {
            Some(micros) => format!("fsync {}; one flush takes {micros} us here (median)", self.fsync),
            None => format!("fsync: {}", self.fsync),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::target::Whose;

    #[tokio::test]
    async fn nothing_is_said_about_the_disk_of_somebody_else() {
        let target = Target {
            address: ([127, 0, 0, 1], 1).into(),
            host: "h".to_owned(),
            token: "t".to_owned(),
            whose: Whose::Theirs { processes: Vec::new() },
        };
        let machine = Machine::under(&target).await;
        assert!(machine.cores > 0 && !machine.kernel.is_empty(), "{machine:?}");
        assert_eq!((machine.file_system.as_deref(), machine.flush_micros), (None, None));
        assert!(machine.durability().contains("that server"));
    }
}
