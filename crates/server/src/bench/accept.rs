//! `tidings bench accept`: durable accepts per second.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::value_parser;
use tidings_core::time::{Clock as _, SystemClock};
use uuid::Uuid;

use crate::bench::flags::{Audience, Load, Print, SetFlag, Whom};
use crate::bench::load::{self, Pace};
use crate::bench::machine::Machine;
use crate::bench::message::{Manner, Message, Template};
use crate::bench::process;
use crate::bench::report::{Accepting, Report};
use crate::bench::server::Settings;
use crate::bench::target::Target;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings bench accept                                   against a server of its own, in a temporary directory
  tidings bench accept --connections 128 --duration 30s --idempotency-keys
  tidings bench accept --rate 1000                       latencies at a fixed rate (open loop)
  tidings bench accept --channel none-due                accepting alone: nothing is due, so nothing is delivered
  tidings bench accept --batch 100 --users 1000 --preload 1000000
  tidings bench accept --dir /var/tmp                    on the disk of that directory
  tidings bench accept --url http://127.0.0.1:8080 --token $(tidings token --scope admin) --json report.json

Without --scope admin on the token of another server, what was delivered stays unknown.";

/// Delivered within the server.
const IN_APP: &str = "in-app";
/// The same, but not before next year.
const NONE_DUE: &str = "none-due";
const FAR_AHEAD: Duration = Duration::from_hours(300 * 24);

/// What `tidings bench accept` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// in-app, or none-due for in-app notifications that are not to be sent this year; another server may have more
    #[arg(long, alias = "type", value_name = "CHANNEL", default_value = IN_APP)]
    channel: String,
    /// Send this many notifications with each request, through the batch route
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1000))]
    batch: Option<u32>,
    /// Send an idempotency key with each notification
    #[arg(long)]
    idempotency_keys: bool,
    /// Where on the server the requests go [default: /api/notifications, or /api/notifications/batch]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    print: Print,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    audience: Audience,
    #[command(flatten)]
    whom: Whom,
}

/// Measures, prints, cleans up. Fails when not every request was accepted.
pub(crate) async fn run(args: Args, flags: Vec<SetFlag>) -> anyhow::Result<ExitCode> {
    if !args.whom.is_named() && ![IN_APP, NONE_DUE].contains(&args.channel.as_str()) {
        bail!("a server of its own takes {IN_APP} and {NONE_DUE} here; name another server with --url");
    }
    let manner = args.manner();
    let settings = Settings { env: Vec::new(), flags: flags.clone() };
    let target = args.whom.open(manner.people.first(), settings).await?;
    let report = tokio::select! {
        report = measure(&args, &target, &manner, &flags) => report,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    args.print.conclude(target, report).await
}

impl Args {
    fn manner(&self) -> Manner {
        let usual = if self.batch.is_some() { "/api/notifications/batch" } else { "/api/notifications" };
        Manner {
            path: self.path.clone().unwrap_or_else(|| usual.to_owned()),
            people: self.audience.people(),
            batch: self.batch,
            keys: self.idempotency_keys.then(Uuid::new_v4),
            arrivals: None,
            samples: 0,
        }
    }

    fn message(&self) -> Message {
        let mut message = Message::in_app(self.load.bytes());
        if self.channel == NONE_DUE {
            message.send_at = Some(SystemClock::default().now() + FAR_AHEAD);
        } else {
            message.channel.clone_from(&self.channel);
        }
        message
    }
}

async fn measure(args: &Args, target: &Target, manner: &Manner, flags: &[SetFlag]) -> anyhow::Result<Report> {
    args.audience.prepare(target, manner, args.load.bytes()).await?;
    let message = args.message();
    let templates: Vec<Template> = (0..usize::from(args.load.connections))
        .map(|connection| Template::new(target, &message, manner, connection))
        .collect::<anyhow::Result<_>>()?;
    let delivered_before = target.delivered().await;
    let plan = load::Plan {
        address: target.address,
        pace: args.load.rate.map_or(Pace::Closed, Pace::Open),
        window: args.load.window(),
    };
    let cost = async { anyhow::Ok(process::cost(target.processes(), plan.window).await) };
    let ((measured, _), cost) = tokio::try_join!(load::run(&plan, templates), cost)?;
    let delivered = target.delivered().await.zip(delivered_before).map(|(after, before)| after.saturating_sub(before));

    let mut shown = args.load.plan(&args.audience, plan.pace.name(), flags);
    shown.channel = Some(args.channel.clone());
    shown.batch = args.batch.unwrap_or(1);
    shown.idempotency_keys = args.idempotency_keys;
    let mut report = Report::new("accept", Machine::under(target).await, shown);
    report.server = cost.map(|cost| cost.shared_by(measured.accepted));
    report.accept = Some(Accepting::of(measured, args.load.duration, delivered));
    Ok(report)
}
