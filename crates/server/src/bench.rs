//! `tidings bench`: how fast this machine is, measured from outside, over the public API.
//!
//! Each measurement is a file here with its arguments and its verdict ([`accept`], [`deliver`], [`recover`], [`idle`]);
//! [`compare`] sets two reports side by side. They share the load ([`load`], with [`schedule`] for fixed rates and [`flow`]
//! for bounded queues), its requests ([`message`], [`people`], [`fill`]), a client that costs little ([`client`]), the
//! server under test ([`target`], [`server`]), those who receive ([`sink`], [`arrivals`]) or look on ([`watch`],
//! [`records`], [`process`]), and the [`report`].

pub(crate) mod client;

mod accept;
mod compare;
mod deliver;
mod idle;
mod recover;

mod arrivals;
mod disk;
mod fill;
mod flags;
mod flow;
mod load;
mod machine;
mod measured;
mod message;
mod people;
mod process;
mod progress;
mod records;
mod report;
mod schedule;
mod server;
mod sink;
mod target;
mod watch;

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
    Accept(Box<accept::Args>),
    /// How many notifications are accepted and delivered per second, and how long each is on its way
    #[command(after_help = deliver::EXAMPLES)]
    Deliver(Box<deliver::Args>),
    /// How soon it delivers as before after `kill -9` under load
    #[command(after_help = recover::EXAMPLES)]
    Recover(Box<recover::Args>),
    /// How soon it is ready, and what it costs at rest
    #[command(after_help = idle::EXAMPLES)]
    Idle(idle::Args),
    /// The ratios of two reports
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::Args),
}

/// Runs a measurement and prints its report. A server of its own is told `settings`: paths and values.
pub async fn run(args: Args, settings: Vec<(String, String)>) -> anyhow::Result<ExitCode> {
    match args.measurement {
        Measurement::Accept(args) => Box::pin(accept::run(*args, settings)).await,
        Measurement::Deliver(args) => Box::pin(deliver::run(*args, settings)).await,
        Measurement::Recover(args) => Box::pin(recover::run(*args, settings)).await,
        Measurement::Idle(args) => Box::pin(idle::run(args, settings)).await,
        Measurement::Compare(args) => compare::run(&args),
    }
}
