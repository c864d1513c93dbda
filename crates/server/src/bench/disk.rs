//! What a flush to the disk costs. The rate of durable accepts means nothing without it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

const FLUSHES: usize = 50;
const PAGE: [u8; 4096] = [7; 4096];
/// No disk is as fast as this; it is memory that is flushed to.
pub(crate) const TOO_FAST: Duration = Duration::from_micros(8);

/// The median cost of a flush in this directory; `None` if it cannot be measured.
pub(crate) async fn flush_cost(directory: &Path) -> Option<Duration> {
    let file = directory.join("flush-probe");
    tokio::task::spawn_blocking(move || median_flush(&file)).await.ok()?.ok()
}

/// The kind of file system that a directory is on, as the kernel calls it.
pub(crate) fn file_system(directory: &Path) -> Option<String> {
    kind_of(&fs::read_to_string("/proc/self/mountinfo").ok()?, &fs::canonicalize(directory).ok()?)
}

/// proc(5): the mount point is the fifth field, the kind the first behind the hyphen. The last mount counts of those with
/// the longest path.
fn kind_of(mounts: &str, directory: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (place, rest) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        directory.starts_with(&point).then(|| (point.len(), rest.split(' ').next().unwrap_or_default()))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

fn median_flush(path: &Path) -> io::Result<Duration> {
    let mut file = File::create(path)?;
    let mut costs = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        file.write_all(&PAGE)?;
        let started = Instant::now();
        file.sync_data()?;
        costs.push(started.elapsed());
    }
    fs::remove_file(path)?;
    costs.sort_unstable();
    Ok(costs.get(FLUSHES / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_probe_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        assert!(flush_cost(directory.path()).await.is_some());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(file_system(directory.path()).is_some());
        assert_eq!(flush_cost(&directory.path().join("gone")).await, None);
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n30 22 0:5 / /data rw shared:1 - xfs /dev/vdb rw\n";
        assert_eq!(kind_of(mounts, Path::new("/data/store")).as_deref(), Some("xfs"));
        assert_eq!(kind_of(mounts, Path::new("/database")).as_deref(), Some("ext4"));
    }
}
