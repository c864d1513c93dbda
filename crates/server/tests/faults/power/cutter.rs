//! A power cut that can be repeated: what had reached the disk at one moment, and nothing of what was still in memory.
//!
//! The data directory is an ext4 in an image file, and the image lies on an XFS that shares blocks between files. A clone
//! of the image (`cp --reflink`) is the disk as it was at that moment: what programs had flushed is in it, what only the
//! page cache of the ext4 knew is not. The program goes on undisturbed, so one run gives many cuts. All of it lives in
//! memory. Needs root (or `sudo`), xfsprogs and e2fsprogs.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::disk::mount::{Mount, run};

/// What is never written to is not allocated, so these may be generous.
const MEMORY: &str = "3g";
const OUTER: &str = "2G";
const INNER: &str = "256M";

/// The bench. The fields are taken down in this order.
pub(crate) struct Cutter {
    inner: Mount,
    outer: Mount,
    _memory: Mount,
    dir: TempDir,
}

/// The disk after a cut, mounted. Its image is deleted with it.
pub(crate) struct Remains {
    mount: Mount,
    image: PathBuf,
}

impl Cutter {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let memory = Mount::tmpfs(&dir.path().join("memory"), MEMORY);
        let outer_image = memory.path().join("xfs.img");
        run(Command::new("truncate").args(["-s", OUTER]).arg(&outer_image));
        run(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&outer_image));
        let outer = Mount::image(&outer_image, &dir.path().join("outer"));
        let inner_image = outer.path().join("ext4.img");
        run(Command::new("truncate").args(["-s", INNER]).arg(&inner_image));
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&inner_image));
        let inner = Mount::image(&inner_image, &dir.path().join("data"));
        Self { inner, outer, _memory: memory, dir }
    }

    /// The folder on the disk whose power will be cut.
    pub(crate) fn live(&self) -> &Path {
        self.inner.path()
    }

    /// Cuts the power, as it were: returns the image of the disk as it is at this moment.
    pub(crate) fn cut(&self, number: usize) -> PathBuf {
        let image = self.outer.path().join(format!("cut-{number}.img"));
        run(Command::new("cp").arg("--reflink=always").arg(self.outer.path().join("ext4.img")).arg(&image));
        image
    }

    /// Mounts what a cut has left, as a machine that starts again would.
    pub(crate) fn look_at(&self, image: PathBuf) -> Remains {
        Remains { mount: Mount::image(&image, &self.dir.path().join("remains")), image }
    }
}

impl Remains {
    pub(crate) fn path(&self) -> &Path {
        self.mount.path()
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        // The mount goes after this and keeps the blocks until then.
        drop(std::fs::remove_file(&self.image));
    }
}
