//! The `tidings` binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // What is written here, the store and its backups above all, is for nobody but its owner.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    tidings::crypto::install();
    tidings::cli::main()
}
