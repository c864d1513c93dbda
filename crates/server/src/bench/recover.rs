//! `tidings bench recover`: killed under load with much in the store, how soon is it back?

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::value_parser;
use tidings_core::time::{Clock as _, SystemClock};
use tokio::time::{Instant, sleep, sleep_until};

use crate::bench::deliver::{Channel, Ends, under_way};
use crate::bench::fill::{self, With};
use crate::bench::flags::{Audience, Load, Print, SetFlag, Whom};
use crate::bench::load::{self, Pace};
use crate::bench::machine::Machine;
use crate::bench::measured::Window;
use crate::bench::message::Message;
use crate::bench::report::{Recovering, Report, in_millis};
use crate::bench::server::Settings;
use crate::bench::target::Target;
use crate::bench::watch::Watcher;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings bench recover                                  100,000 notifications wait while it is killed
  tidings bench recover --pending 1000000 --channel webhook
  tidings bench recover --preload 5000000";

/// What waits is due after the measurement.
const FAR_AHEAD: Duration = Duration::from_hours(30 * 24);
const WATCH_EVERY: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The rate is back when this share of it is reached over this stretch.
const SHARE: f64 = 0.9;
const STRETCH: Duration = Duration::from_millis(200);
/// How long it may take to be back.
const PATIENCE: Duration = Duration::from_mins(2);

/// What `tidings bench recover` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many notifications wait in the store for a later time
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = value_parser!(u64).range(..=100_000_000))]
    pending: u64,
    /// How the notifications of the load are delivered
    #[arg(long, value_enum, default_value = "in-app")]
    channel: Channel,
    /// How many may be accepted and not yet delivered [default: 4096 for in-app, else 1024]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000))]
    under_way: Option<u32>,
    #[command(flatten)]
    print: Print,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    audience: Audience,
    #[command(flatten)]
    whom: Whom,
}

/// When things happened.
struct Moments {
    killed: Instant,
    started: Instant,
    ready: Instant,
    first_delivery: Instant,
    full_rate: Instant,
}

/// Measures, prints, cleans up.
pub(crate) async fn run(args: Args, flags: Vec<SetFlag>) -> anyhow::Result<ExitCode> {
    if args.whom.is_named() {
        bail!("only a server of its own is killed; leave out --url");
    }
    if args.load.rate.is_some() {
        bail!("the load follows the deliveries here; leave out --rate");
    }
    let limit = under_way(args.channel, args.under_way);
    let ends = Ends::open(args.channel, limit, 1).await?;
    let user = args.audience.people().first();
    let settings = Settings { env: ends.env(), flags: flags.clone() };
    let mut target = args.whom.open(user, settings).await?;
    let report = tokio::select! {
        report = measure(&args, &mut target, &ends, &flags) => report,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    args.print.conclude(target, report).await
}

async fn measure(args: &Args, target: &mut Target, ends: &Ends, flags: &[SetFlag]) -> anyhow::Result<Report> {
    let bytes = args.load.bytes();
    let manner = ends.manner("/api/notifications".to_owned(), &args.load, &args.audience);
    args.audience.prepare(target, &manner, bytes).await?;
    let waiting = Message { send_at: Some(SystemClock::default().now() + FAR_AHEAD), ..Message::in_app(bytes) };
    let filling = fill::fill(target, &waiting, &manner, args.pending, With::Waiting).await?;

    let templates = ends.templates(target, &manner, &args.load)?;
    let watcher = ends.watch(target, None, WATCH_EVERY).await?;
    let measured = args.load.window();
    // The load goes on until it is dropped.
    let window = Window { end: measured.end + 2 * PATIENCE, ..measured };
    let plan = load::Plan { address: target.address, pace: Pace::Throttled(ends.flow.clone()), window };
    let (rate_before, moments) = tokio::select! {
        ended = load::run(&plan, templates) => {
            ended?;
            bail!("the load ended before its time");
        }
        recovered = kill_and_wait(target, ends, &watcher, measured) => recovered?,
    };

    let mut shown = args.load.plan(&args.audience, "closed on delivery", flags);
    shown.channel = Some(ends.channel.name().to_owned());
    shown.under_way_at_most = Some(under_way(args.channel, args.under_way));
    shown.destinations = ends.destinations();
    shown.pending = args.pending;
    let store_bytes = target.own().map_or(0, |server| bytes_in(server.folder()));
    let mut report = Report::new("recover", Machine::under(target).await, shown);
    report.recover = Some(moments.report(rate_before, store_bytes, filling));
    Ok(report)
}

async fn kill_and_wait(
    target: &mut Target,
    ends: &Ends,
    watcher: &Watcher,
    measured: Window,
) -> anyhow::Result<(f64, Moments)> {
    sleep_until(measured.end).await;
    let rate = watcher.series().rate(measured.measure_from, measured.end).unwrap_or(0.0);
    if rate <= 0.0 {
        bail!("nothing was delivered before the kill");
    }
    let server = target.own_mut().context("only a server of our own can be killed")?;
    let killed = Instant::now();
    server.kill().await?;
    let started = Instant::now();
    let to_ready = server.start_again().await?;
    // What was on its way is either delivered or will be; the dead server cannot say which.
    ends.flow.forget_what_is_under_way();
    let until = killed + PATIENCE;
    while Instant::now() < until {
        sleep(LOOK_EVERY).await;
        let series = watcher.series();
        let first = series.first_delivery_after(started);
        let full = first.and_then(|first| series.reached(rate * SHARE, first, STRETCH));
        if let (Some(first_delivery), Some(full_rate)) = (first, full) {
            return Ok((rate, Moments { killed, started, ready: started + to_ready, first_delivery, full_rate }));
        }
    }
    bail!("the rate of {rate:.0} deliveries per second was not back within {} s", PATIENCE.as_secs())
}

impl Moments {
    fn report(&self, rate_before: f64, store_bytes: u64, filling: Duration) -> Recovering {
        let since_kill = |instant: Instant| in_millis(instant.saturating_duration_since(self.killed));
        Recovering {
            rate_before,
            start_to_ready_ms: in_millis(self.ready - self.started),
            kill_to_first_delivery_ms: since_kill(self.first_delivery),
            ready_to_first_delivery_ms: in_millis(self.first_delivery.saturating_duration_since(self.ready)),
            kill_to_full_rate_ms: since_kill(self.full_rate),
            store_bytes,
            filling_seconds: filling.as_secs_f64(),
        }
    }
}

/// All files in a folder and in its folders; the store is in the second.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_told_from_the_kill() {
        let killed = Instant::now();
        let at = |millis| killed + Duration::from_millis(millis);
        let moments = Moments { killed, started: at(10), ready: at(160), first_delivery: at(150), full_rate: at(400) };
        let report = moments.report(1000.0, 7, Duration::from_secs(2));
        assert_eq!((report.store_bytes, report.ready_to_first_delivery_ms.to_bits()), (7, 0.0_f64.to_bits()));
        assert!((report.start_to_ready_ms - 150.0).abs() < 1e-6);
        assert!((report.kill_to_first_delivery_ms - 150.0).abs() < 1e-6);
        assert!((report.kill_to_full_rate_ms - 400.0).abs() < 1e-6);
    }

    #[test]
    fn a_store_is_as_large_as_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/store"), [0; 100]).unwrap();
        fs::write(folder.path().join("log"), [0; 10]).unwrap();
        assert_eq!(bytes_in(folder.path()), 110);
    }
}
