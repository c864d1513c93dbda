//! `tidings backup`: a consistent copy of the store, also while a server uses it.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output;
use crate::config::Config;
use crate::wiring;

const EXAMPLES: &str = "\
Examples:
  tidings backup --to /backups/tidings-$(date +%F).db
  tidings backup --data /var/lib/tidings --to tidings.db

To restore: stop the server, put the copy in the place of tidings.db in an empty data directory, start the server.
The secrets (webhook.secret) are not in the copy; keep them apart.";

/// What `tidings backup` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to write; must not exist
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Copies the store. The progress bar shows itself only on a terminal.
pub(crate) fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("{bar:40} {percent}%  {pos} of {len} pages, {eta} left")?);
    let mut progress = |done: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let copied = wiring::back_up(&config.data, &args.to, &mut progress);
    bar.finish_and_clear();
    copied?;
    output::line(format!("Copied the store in {} to {}", config.data.display(), args.to.display()));
    Ok(ExitCode::SUCCESS)
}
