//! The room on the disk: when to stop accepting, and a reserve for finishing what was accepted.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

const RESERVE: &str = "reserve";
const PROBE: &str = "probe";
/// More than SQLite asks for at once.
const PROBE_BYTES: u64 = 256 << 10;
/// The reserve takes at most this part of what is free.
const SHARE: u64 = 8;
/// A smaller reserve would help nobody.
const LEAST_RESERVE: u64 = 1 << 20;

/// How much room the disk of the data directory has. Looked at from time to time, asked at every write.
pub(crate) struct Disk {
    data_dir: PathBuf,
    min_free_bytes: u64,
    reserve_bytes: u64,
    /// Whether the reserve is on the disk, ready to be given up.
    has_reserve: Mutex<bool>,
    is_low: AtomicBool,
}

impl Disk {
    /// Looks at the disk for the first time and puts the reserve aside.
    pub(crate) fn new(data_dir: PathBuf, min_free_bytes: u64, reserve_bytes: u64) -> Self {
        let disk = Self {
            data_dir,
            min_free_bytes,
            reserve_bytes,
            has_reserve: Mutex::new(false),
            is_low: AtomicBool::new(false),
        };
        disk.look();
        disk
    }

    /// Whether new notifications are refused, so that those accepted can be finished.
    pub(crate) fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    /// Looks again: whether there is as much free space as has to be left, and whether the reserve can be put aside anew.
    pub(crate) fn look(&self) {
        // A system that does not say is taken to have room: the disk itself will tell.
        let free = free_bytes(&self.data_dir).unwrap_or(u64::MAX);
        let needs_reserve = self.needs_reserve(free);
        let is_low = free < self.min_free_bytes || needs_reserve;
        if self.is_low.swap(is_low, Ordering::Relaxed) != is_low {
            let state = if is_low { "nearly full: no notifications are accepted" } else { "no longer full" };
            tracing::warn!("The disk of the data directory {} is {state}", self.data_dir.display());
        }
    }

    /// Whether the reserve is missing because there is no room for it.
    fn needs_reserve(&self, free: u64) -> bool {
        let mut has_reserve = self.has_reserve.lock();
        if *has_reserve || self.reserve_bytes == 0 {
            return false;
        }
        let bytes = self.reserve_bytes.min(free / SHARE);
        if bytes < LEAST_RESERVE.min(self.reserve_bytes) || free < self.min_free_bytes.saturating_add(bytes) {
            return true;
        }
        match put_aside(&self.data_dir.join(RESERVE), bytes) {
            Ok(()) => {
                *has_reserve = true;
                false
            }
            Err(error) if is_full(&error) => true,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!("This file system cannot reserve space for finishing work on a full disk");
                *has_reserve = true;
                false
            }
            Err(error) => {
                tracing::warn!("No space can be reserved now for finishing work on a full disk: {error}");
                false
            }
        }
    }

    /// Whether no file can grow now. Quotas and some file systems say so in words that SQLite takes for a failed disk.
    pub(crate) fn has_no_room(&self) -> bool {
        let probe = self.data_dir.join(PROBE);
        let is_full = put_aside(&probe, PROBE_BYTES).is_err_and(|error| is_full(&error));
        if !is_full && let Err(error) = std::fs::remove_file(&probe) {
            tracing::debug!("The probe of the disk cannot be removed: {error}");
        }
        is_full
    }

    /// Gives the reserve up, so that what was accepted can be finished; nothing is accepted until it is back. `false` when
    /// it was given up before.
    pub(crate) fn give_up_reserve(&self) -> bool {
        self.is_low.store(true, Ordering::Relaxed);
        let mut has_reserve = self.has_reserve.lock();
        if !*has_reserve {
            return false;
        }
        *has_reserve = false;
        match std::fs::remove_file(self.data_dir.join(RESERVE)) {
            Ok(()) => {
                tracing::warn!("The disk is full: the reserve is given up to finish what was accepted");
                true
            }
            Err(error) => {
                tracing::error!("The disk is full, and the reserve cannot be given up: {error}");
                false
            }
        }
    }
}

/// Gives up what an earlier run put aside: room for the start. It is put aside anew afterwards, if there is enough.
pub(crate) fn give_up_left_over(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(data_dir.join(RESERVE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn free_bytes(directory: &Path) -> Option<u64> {
    statvfs(directory).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes a file of this size whose blocks are really taken.
fn put_aside(path: &Path, bytes: u64) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let taken = fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(io::Error::from);
    if taken.is_err() {
        drop(file);
        std::fs::remove_file(path)?;
    }
    taken
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_given_up_once_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = dir.path().join(RESERVE);
        let disk = Disk::new(dir.path().to_owned(), 0, 2 << 20);
        assert_eq!(reserve.metadata().unwrap().len(), 2 << 20);
        assert!(!disk.is_low());

        assert!(disk.give_up_reserve());
        assert!(disk.is_low(), "nothing is accepted without a reserve");
        assert!(!reserve.exists());
        assert!(!disk.give_up_reserve());

        disk.look();
        assert!(!disk.is_low());
        assert!(reserve.exists());
    }

    #[test]
    fn what_an_earlier_run_put_aside_is_given_up_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(RESERVE), [0; 4096]).unwrap();
        give_up_left_over(dir.path()).unwrap();
        give_up_left_over(dir.path()).unwrap();
        assert!(Disk::new(dir.path().to_owned(), u64::MAX, 2 << 20).is_low());
        assert!(!dir.path().join(RESERVE).exists(), "there is no room for a new one");
    }

    #[test]
    fn a_disk_with_less_than_has_to_be_left_is_low() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Disk::new(dir.path().to_owned(), u64::MAX, 0).is_low());
        assert!(!Disk::new(dir.path().to_owned(), 0, 0).is_low());
    }
}
