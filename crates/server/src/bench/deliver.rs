//! `tidings bench deliver`: from the request to the delivery, sustained.
//!
//! Only so many notifications are let in as are on their way at most; the next is accepted when one has been delivered. So
//! the rate is that of whole lives and not that of a queue that grows.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{ValueEnum, value_parser};
use tokio::time::Instant;
use url::Url;

use crate::bench::arrivals::Arrivals;
use crate::bench::flags::{Audience, Load, Print, SetFlag, Whom};
use crate::bench::flow::Flow;
use crate::bench::load::{self, Pace};
use crate::bench::machine::Machine;
use crate::bench::measured::{Measured, Window};
use crate::bench::message::{Manner, Message, Sample, Template};
use crate::bench::process;
use crate::bench::records::{self, Anchor};
use crate::bench::report::{Accepting, Delivering, Latency, Report};
use crate::bench::server::Settings;
use crate::bench::sink::{Protocol, Sinks};
use crate::bench::target::Target;
use crate::bench::watch::{Counter, Source, Watcher};

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings bench deliver                                  in-app, against a server of its own
  tidings bench deliver --channel webhook                webhooks to receivers within this program
  tidings bench deliver --channel email --rate 200       latencies at a fixed rate (open loop)
  tidings bench deliver --preload 5000000                with five million notifications in the store
  tidings bench deliver --channel webhook --set delivery.concurrency=64 --set delivery.per_destination=64

The receivers are within this program and share its processors with the server.";

/// How many may be on their way: more for in-app, whose deliveries are counted in steps.
const UNDER_WAY_IN_APP: usize = 4096;
const UNDER_WAY: usize = 1024;
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// How many records are looked at afterwards.
const SAMPLES: usize = 10_000;
/// What is on its way at the end has so long to arrive, as long as something arrives at least every so often.
const DRAIN_WITHIN: Duration = Duration::from_mins(2);
const STALLED_AFTER: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `tidings bench deliver` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How notifications are delivered
    #[arg(long, value_enum, default_value = "in-app")]
    channel: Channel,
    /// How many may be accepted and not yet delivered, unless --rate is given [default: 4096 for in-app, else 1024]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000))]
    under_way: Option<u32>,
    /// How many receivers of webhooks there are, each on a port of its own
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u16).range(1..=1000))]
    destinations: u16,
    /// Where a server that is not Tidings shows `notifications_delivered_total`
    #[arg(long, value_name = "URL", requires = "url")]
    delivered_url: Option<Url>,
    /// Where on the server the requests go
    #[arg(long, value_name = "PATH", default_value = "/api/notifications")]
    path: String,
    #[command(flatten)]
    print: Print,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    audience: Audience,
    #[command(flatten)]
    whom: Whom,
}

/// How notifications are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Channel {
    /// To the inbox within the server
    InApp,
    /// To receivers within this program
    Webhook,
    /// To a mail server within this program
    Email,
}

/// Where deliveries go, and who counts them.
pub(crate) struct Ends {
    pub(crate) channel: Channel,
    pub(crate) flow: Arc<Flow>,
    pub(crate) arrivals: Arc<Arrivals>,
    sinks: Option<Sinks>,
}

/// Measures, prints, cleans up. Fails when something was refused or never delivered.
pub(crate) async fn run(args: Args, flags: Vec<SetFlag>) -> anyhow::Result<ExitCode> {
    if args.whom.is_named() && args.channel == Channel::Email {
        bail!("which relay a server uses is its own setting; leave out --url, or measure --channel webhook");
    }
    let ends = Ends::open(args.channel, args.under_way(), usize::from(args.destinations)).await?;
    let manner = ends.manner(args.path.clone(), &args.load, &args.audience);
    let settings = Settings { env: ends.env(), flags: flags.clone() };
    let target = args.whom.open(manner.people.first(), settings).await?;
    let report = tokio::select! {
        report = measure(&args, &target, &ends, &manner, &flags) => report,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    args.print.conclude(target, report).await
}

impl Args {
    fn under_way(&self) -> usize {
        under_way(self.channel, self.under_way)
    }
}

/// How many may be on their way.
pub(crate) fn under_way(channel: Channel, asked_for: Option<u32>) -> usize {
    let usual = if channel == Channel::InApp { UNDER_WAY_IN_APP } else { UNDER_WAY };
    asked_for.map_or(usual, |limit| usize::try_from(limit).unwrap_or(usual))
}

impl Channel {
    /// Its name in requests.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InApp => "in-app",
            Self::Webhook => "webhook",
            Self::Email => "email",
        }
    }

    const fn protocol(self) -> Option<Protocol> {
        match self {
            Self::InApp => None,
            Self::Webhook => Some(Protocol::Http),
            Self::Email => Some(Protocol::Smtp),
        }
    }
}

impl Ends {
    /// Starts the receivers that the channel needs.
    pub(crate) async fn open(channel: Channel, under_way: usize, destinations: usize) -> anyhow::Result<Self> {
        let flow = Arc::new(Flow::new(under_way));
        let arrivals = Arc::new(Arrivals::new(Some(Arc::clone(&flow)))?);
        // There is one relay.
        let count = if channel == Channel::Email { 1 } else { destinations };
        let sinks = match channel.protocol() {
            None => None,
            Some(protocol) => Some(Sinks::start(protocol, count, &arrivals).await?),
        };
        Ok(Self { channel, flow, arrivals, sinks })
    }

    /// What a server has to be told to reach the receivers.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        match (self.channel, self.addresses().first()) {
            (Channel::Webhook, _) => vec![("OUTBOUND_ALLOW", "127.0.0.0/8".to_owned())],
            (Channel::Email, Some(relay)) => vec![
                ("SMTP_URL", format!("smtp://{relay}?tls=none")),
                ("SMTP_FROM", "Bench <bench@example.com>".to_owned()),
            ],
            (Channel::InApp | Channel::Email, _) => Vec::new(),
        }
    }

    /// How notifications are asked for.
    pub(crate) fn manner(&self, path: String, load: &Load, audience: &Audience) -> Manner {
        let is_in_app = self.channel == Channel::InApp;
        Manner {
            path,
            people: audience.people(),
            batch: None,
            keys: None,
            arrivals: (!is_in_app).then(|| Arc::clone(&self.arrivals)),
            samples: if is_in_app { SAMPLES / usize::from(load.connections).min(SAMPLES) } else { 0 },
        }
    }

    /// The requests of all connections, spread over the receivers.
    pub(crate) fn templates(&self, target: &Target, manner: &Manner, load: &Load) -> anyhow::Result<Vec<Template>> {
        let mut addresses = self.addresses().iter().cycle();
        let template = |connection| {
            let url = addresses.next().filter(|_| self.channel == Channel::Webhook);
            let message = Message {
                channel: self.channel.name().to_owned(),
                url: url.map(|address| format!("http://{address}/hook")),
                is_numbered: manner.arrivals.is_some(),
                ..Message::in_app(load.bytes())
            };
            Template::new(target, &message, manner, connection)
        };
        (0..usize::from(load.connections)).map(template).collect()
    }

    /// Watches the deliveries from now on.
    pub(crate) async fn watch(
        &self,
        target: &Target,
        elsewhere: Option<&Url>,
        every: Duration,
    ) -> anyhow::Result<Watcher> {
        let source = match self.channel {
            Channel::InApp => Source::Counter(Counter::of(target, elsewhere).await?, Arc::clone(&self.flow)),
            Channel::Webhook | Channel::Email => Source::Sinks(Arc::clone(&self.arrivals)),
        };
        Ok(Watcher::start(source, every))
    }

    /// How many receivers there are.
    pub(crate) fn destinations(&self) -> Option<usize> {
        self.sinks.as_ref().map(|sinks| sinks.addresses().len())
    }

    fn addresses(&self) -> &[SocketAddr] {
        self.sinks.as_ref().map(Sinks::addresses).unwrap_or_default()
    }
}

async fn measure(
    args: &Args,
    target: &Target,
    ends: &Ends,
    manner: &Manner,
    flags: &[SetFlag],
) -> anyhow::Result<Report> {
    args.audience.prepare(target, manner, args.load.bytes()).await?;
    let templates = ends.templates(target, manner, &args.load)?;
    let watcher = ends.watch(target, args.delivered_url.as_ref(), WATCH_EVERY).await?;
    let anchor = Anchor::drop_here();
    let pace = args.load.rate.map_or_else(|| Pace::Throttled(Arc::clone(&ends.flow)), Pace::Open);
    let plan = load::Plan { address: target.address, pace, window: args.load.window() };
    ends.arrivals.measure(plan.window, args.load.rate.is_some())?;
    let cost = async { anyhow::Ok(process::cost(target.processes(), plan.window).await) };
    let ((measured, templates), cost) = tokio::try_join!(load::run(&plan, templates), cost)?;

    let waiting_at_the_end = measured.accepted_in_total.saturating_sub(ends.flow.delivered());
    drain(&ends.flow, measured.accepted_in_total).await;
    let mut deliver = delivering(ends, &watcher, &measured, plan.window);
    deliver.waiting_at_the_end = waiting_at_the_end;
    if ends.channel == Channel::InApp && args.delivered_url.is_none() {
        let samples = templates.into_iter().flat_map(Template::into_samples);
        let samples: Vec<Sample> = samples.filter(|sample| plan.window.has(sample.intended)).collect();
        let told = records::ask(target, &samples, anchor).await?;
        deliver.latency_ms = (!told.latency.is_empty()).then(|| Latency::of(&told.latency));
        deliver.latency_source = "a sample of the records, whose milliseconds are rounded up";
        deliver.never_delivered = deliver.never_delivered.max(told.missing);
    }

    let mut shown = args.load.plan(&args.audience, plan.pace.name(), flags);
    shown.channel = Some(ends.channel.name().to_owned());
    shown.under_way_at_most = args.load.rate.is_none().then(|| args.under_way());
    shown.destinations = ends.destinations();
    let mut report = Report::new("deliver", Machine::under(target).await, shown);
    report.server = cost.map(|cost| cost.shared_by(measured.accepted));
    report.accept = Some(Accepting::of(measured, args.load.duration, None));
    report.deliver = Some(deliver);
    Ok(report)
}

fn delivering(ends: &Ends, watcher: &Watcher, measured: &Measured, window: Window) -> Delivering {
    let series = watcher.series();
    let has_sinks = ends.channel != Channel::InApp;
    let oddities = ends.arrivals.oddities();
    let latency = ends.arrivals.latency().filter(|latency| has_sinks && !latency.is_empty());
    Delivering {
        per_second: series.rate(window.measure_from, window.end).unwrap_or(0.0),
        count_in_total: ends.flow.delivered(),
        waiting_at_the_end: 0,
        never_delivered: measured.accepted_in_total.saturating_sub(ends.flow.delivered()),
        latency_ms: latency.map(|latency| Latency::of(&latency)),
        latency_source: if has_sinks { "as the receivers saw it" } else { "the server keeps no records to look at" },
        repeated: has_sinks.then_some(oddities.repeats),
        unexpected: has_sinks.then_some(oddities.unexpected),
    }
}

/// Waits until what was accepted has been delivered, or nothing more comes.
async fn drain(flow: &Flow, accepted: u64) {
    let begin = Instant::now();
    let (mut seen, mut since) = (flow.delivered(), begin);
    while seen < accepted && begin.elapsed() < DRAIN_WITHIN && since.elapsed() < STALLED_AFTER {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = flow.delivered();
        if now > seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_is_told_where_the_receivers_are() {
        let mail = Ends::open(Channel::Email, 10, 8).await.unwrap();
        assert_eq!(mail.destinations(), Some(1), "there is one relay");
        assert!(mail.env()[0].1.starts_with("smtp://127.0.0.1:"), "{:?}", mail.env());
        let hooks = Ends::open(Channel::Webhook, 10, 3).await.unwrap();
        assert_eq!((hooks.destinations(), hooks.env().len()), (Some(3), 1));
        let inbox = Ends::open(Channel::InApp, 10, 3).await.unwrap();
        assert_eq!((inbox.destinations(), inbox.env().len()), (None, 0));
    }

    #[test]
    fn as_many_are_on_their_way_as_asked_for() {
        assert_eq!(under_way(Channel::InApp, None), UNDER_WAY_IN_APP);
        assert_eq!(under_way(Channel::Webhook, None), UNDER_WAY);
        assert_eq!(under_way(Channel::Webhook, Some(7)), 7);
    }
}
