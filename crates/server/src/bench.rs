//! `tidings bench`: how fast this machine is, measured from outside, over the public API.
//!
//! Each measurement is a file here with its arguments, its requests and its verdict; they share the closed loop
//! ([`load`]), the client that costs little ([`client`]), the server under test ([`target`]) and the report.

pub(crate) mod client;

mod accept;
mod disk;
mod load;
mod report;
mod target;

use std::process::ExitCode;

/// What `tidings bench` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, clap::Subcommand)]
enum Measurement {
    /// How many notifications are accepted durably per second, and how long each waits for its 202
    #[command(after_help = accept::EXAMPLES)]
    Accept(accept::Args),
}

/// Runs a measurement and prints its report.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.measurement {
        Measurement::Accept(args) => Box::pin(accept::run(args)).await,
    }
}
