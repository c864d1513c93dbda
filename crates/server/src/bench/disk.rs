//! What a flush to the disk costs. The rate of durable accepts means nothing without it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

const FLUSHES: usize = 50;
const PAGE: [u8; 4096] = [7; 4096];
/// No disk is as fast as this; it is memory that is flushed to.
const TOO_FAST: Duration = Duration::from_micros(8);

/// Measures in this directory and puts the finding into words.
pub(crate) async fn describe(directory: &Path) -> String {
    let file = directory.join("flush-probe");
    let measured = tokio::task::spawn_blocking(move || median_flush(&file)).await;
    match measured {
        Ok(Ok(cost)) if cost < TOO_FAST => format!(
            "fsync on each commit, but the directory is in memory ({} us): choose one on a disk with --dir",
            cost.as_micros()
        ),
        Ok(Ok(cost)) => format!(
            "fsync on each group commit (WAL, synchronous=FULL); one flush takes {} us here (median)",
            cost.as_micros()
        ),
        Ok(Err(_)) | Err(_) => "fsync on each group commit (WAL, synchronous=FULL)".to_owned(),
    }
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
        assert!(describe(directory.path()).await.starts_with("fsync"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
