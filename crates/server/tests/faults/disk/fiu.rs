//! Failing system calls, by libfiu (Debian: fiu-utils). The faults are switched while the program runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::mount::library;
use crate::program::{Builder, Program};

/// The remote control of the faults of one program.
pub(crate) struct Fiu {
    control: PathBuf,
}

impl Fiu {
    /// A control whose pipes are in this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { control: folder.join("fiu") }
    }

    /// The program, with all faults off.
    pub(crate) fn arm(&self, program: Builder) -> Builder {
        let preloaded = ["fiu/fiu_run_preload.so", "fiu/fiu_posix_preload.so"].map(|name| library(name, "fiu-utils"));
        let preloaded = preloaded.map(|path| path.display().to_string()).join(" ");
        program.env("LD_PRELOAD", &preloaded).env("FIU_CTRL_FIFO", &self.control.display().to_string())
    }

    /// Gives a command, such as `enable_random name=posix/io/rw/pwrite,probability=0.05,failinfo=5` (5 is EIO).
    pub(crate) async fn tell(&self, program: &Program, command: &str) {
        let mut control = Command::new("fiu-ctrl");
        control.arg("-f").arg(&self.control).args(["-c", command, &program.pid().to_string()]).kill_on_drop(true);
        // No answer comes when the program ended of the fault at once; that the fault came is for the test to see.
        if let Ok(status) = tokio::time::timeout(Duration::from_secs(5), control.status()).await {
            let status = status.unwrap_or_else(|error| panic!("fiu-ctrl cannot be run (see scripts/test): {error}"));
            assert!(status.success(), "fiu-ctrl {command}");
        }
    }
}
