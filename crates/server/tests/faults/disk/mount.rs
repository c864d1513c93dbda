//! File systems of a test's own. Needs root, or `sudo` without a password.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

/// What a ballast grows by.
const STEP: usize = 256 * 1024;
/// Larger disks are not filled by a test.
const MOST_STEPS: usize = 4096;

/// Something mounted; unmounted when dropped.
pub(crate) struct Mount {
    path: PathBuf,
}

impl Mount {
    /// A file system in memory, at a folder that is made for it.
    pub(crate) fn tmpfs(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        run(privileged("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at));
        Self::ours(at)
    }

    /// The file system in an image, at a folder that is made for it.
    pub(crate) fn image(image: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run(privileged("mount").args(["-o", "loop"]).arg(image).arg(at));
        Self::ours(at)
    }

    fn ours(at: &Path) -> Self {
        let mount = Self { path: at.to_owned() };
        run(privileged("chown").arg(geteuid().as_raw().to_string()).arg(at));
        mount
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Nothing can be written there any more.
    pub(crate) fn make_read_only(&self) {
        run(privileged("mount").args(["-o", "remount,ro"]).arg(&self.path));
    }

    /// How much can still be written, in bytes.
    pub(crate) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.path).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Writes a file that leaves `free` bytes, or as few as can be had.
    pub(crate) fn fill_up_to(&self, free: u64) -> Ballast {
        let path = self.path.join("ballast");
        let mut file = File::create(&path).unwrap();
        let zeros = vec![0; STEP];
        for _step in 0..MOST_STEPS {
            // What a program writes at the same time counts too.
            let room = self.free().saturating_sub(free);
            let size = usize::try_from(room).unwrap_or(STEP).min(STEP);
            match file.write_all(&zeros[..size]) {
                Ok(()) if size > 0 => {}
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("the ballast cannot be written: {error}"),
            }
        }
        Ballast { path }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a program that was killed a moment ago may still be on its way out.
        let unmounted = privileged("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path.display());
        }
    }
}

/// What takes up the room of a disk; gone when dropped.
pub(crate) struct Ballast {
    path: PathBuf,
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // The file system may be gone already, and the file with it.
        drop(std::fs::remove_file(&self.path));
    }
}

/// A command as root.
fn privileged(program: &str) -> Command {
    if geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &mut Command) {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run (see scripts/test): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} failed; these tests need root (or sudo) and what scripts/test installs: {said}"
    );
}

/// A shared library of a Debian package, wherever the architecture has it.
pub(crate) fn library(name: &str, package: &str) -> PathBuf {
    let parts = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let candidates = std::iter::once(PathBuf::from("/usr/lib")).chain(parts).map(|folder| folder.join(name));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: install the Debian package {package} (scripts/test does)"))
}
