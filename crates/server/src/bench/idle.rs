//! `tidings bench idle`: how soon it is ready, and what it costs when nobody asks anything of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::value_parser;
use tokio::time::{Instant, sleep};

use crate::bench::flags::{Print, SetFlag};
use crate::bench::machine::Machine;
use crate::bench::process;
use crate::bench::report::{Idling, Plan, Report, Spread};
use crate::bench::server::{OwnServer, Settings};
use crate::bench::target::Target;
use crate::config;
use crate::serve::SEED_USERS;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings bench idle
  tidings bench idle --starts 50 --duration 60s --json -";

/// What a start leaves to be done has been done by then.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);

/// What `tidings bench idle` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often it is started, into an empty directory and again into a used one
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u16).range(1..=1000))]
    starts: u16,
    /// How long it is watched at rest
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = config::parse_ttl)]
    duration: Duration,
    /// Where it keeps its data [default: the temporary directory of the system]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<std::path::PathBuf>,
    #[command(flatten)]
    print: Print,
}

/// Measures, prints, cleans up.
pub(crate) async fn run(args: Args, flags: Vec<SetFlag>) -> anyhow::Result<ExitCode> {
    let settings = Settings { env: Vec::new(), flags };
    let mut target = Target::of_our_own(args.dir.as_deref(), SEED_USERS[0].0, settings.clone()).await?;
    let report = tokio::select! {
        report = measure(&args, &mut target, &settings) => report,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    args.print.conclude(target, report).await
}

/// Each into a directory of its own, which is removed again.
async fn first_starts(args: &Args, settings: &Settings) -> anyhow::Result<Vec<Duration>> {
    let mut durations = Vec::new();
    for _ in 0..args.starts {
        let started = Instant::now();
        let mut server = OwnServer::start(args.dir.as_deref(), settings.clone()).await?;
        durations.push(started.elapsed());
        server.kill().await?;
    }
    Ok(durations)
}

async fn measure(args: &Args, target: &mut Target, settings: &Settings) -> anyhow::Result<Report> {
    let first_starts = first_starts(args, settings).await?;
    let server = target.own_mut().context("only a server of our own can be started")?;
    let mut next_starts = Vec::new();
    for _ in 0..args.starts {
        server.kill().await?;
        next_starts.push(server.start_again().await?);
    }
    let process = server.id().context("the server has ended")?;
    sleep(SETTLES_WITHIN).await;
    let busy = process::cores_busy_until(process, Instant::now() + args.duration).await;
    let usage = process::usage(&[process]).context("the server cannot be watched")?;
    let plan = Plan { pace: "none", duration_seconds: args.duration.as_secs_f64(), ..Plan::default() };
    let mut report = Report::new("idle", Machine::under(target).await, plan);
    report.idle = Some(Idling {
        starts: usize::from(args.starts),
        first_start_ms: Spread::of(&first_starts),
        next_start_ms: Spread::of(&next_starts),
        resident_bytes: usage.resident_bytes,
        proportional_bytes: usage.proportional_bytes,
        cpu_percent: busy.context("the processor time of the server cannot be read")? * 100.0,
        watched_seconds: args.duration.as_secs_f64(),
    });
    Ok(report)
}
