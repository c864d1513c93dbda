//! Watching deliveries while they happen: how many there were at which instant.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use url::Url;

use crate::bench::arrivals::Arrivals;
use crate::bench::client::{Link, Request};
use crate::bench::flow::Flow;
use crate::bench::target::{Target, delivered_total, resolve};

/// How long a server that is asked for its count may take. One that was just killed takes for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Where the number of deliveries is known from.
pub(crate) enum Source {
    /// The server says it; the flow is told.
    Counter(Counter, Arc<Flow>),
    /// Our own sinks, which have told the flow already.
    Sinks(Arc<Arrivals>),
}

/// Asks a server how much it has delivered.
pub(crate) struct Counter {
    link: Link,
    request: Vec<u8>,
    last: u64,
}

/// Looks at a source again and again until it is dropped.
pub(crate) struct Watcher {
    series: Arc<Mutex<Series>>,
    _task: JoinSet<()>,
}

/// Instants and how much had been delivered by then, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series(Vec<Point>);

/// How much had been delivered when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) at: Instant,
    pub(crate) delivered: u64,
}

impl Counter {
    /// The metrics of the server under test, or what another address shows in their form.
    pub(crate) async fn of(target: &Target, elsewhere: Option<&Url>) -> anyhow::Result<Self> {
        let (address, request) = match elsewhere {
            None => (target.address, target.request("GET", "/metrics", "")),
            Some(url) => {
                let (address, host) = resolve(url).await?;
                let request =
                    Request { method: "GET", path: url.path(), host: &host, token: None, header: None, body: "" };
                (address, request.to_bytes())
            }
        };
        Self::starting(address, request).await.context(
            "the server does not say how much it has delivered: /metrics needs a token with the scope admin, or name \
             another address with --delivered-url",
        )
    }

    async fn starting(address: SocketAddr, request: Vec<u8>) -> io::Result<Self> {
        let mut counter = Self { link: Link::to(address), request, last: 0 };
        counter.last = counter.read().await?;
        Ok(counter)
    }

    /// How much was delivered since the last question. A server that was started anew counts from zero.
    async fn since_last(&mut self) -> io::Result<u64> {
        let count = self.read().await?;
        let last = std::mem::replace(&mut self.last, count);
        Ok(if count >= last { count - last } else { count })
    }

    async fn read(&mut self) -> io::Result<u64> {
        let asked = timeout(ANSWER_WITHIN, self.link.exchange(&self.request, Instant::now()));
        let answer = asked.await.map_err(io::Error::from)??;
        if answer.status != 200 {
            return Err(io::Error::other(format!("the answer is {}", answer.status)));
        }
        Ok(delivered_total(&String::from_utf8_lossy(answer.body)))
    }
}

impl Watcher {
    /// Looks at the source at this interval.
    pub(crate) fn start(source: Source, every: Duration) -> Self {
        let series = Arc::new(Mutex::new(Series::default()));
        let mut task = JoinSet::new();
        task.spawn(watch(source, every, Arc::clone(&series)));
        Self { series, _task: task }
    }

    /// What was seen so far.
    pub(crate) fn series(&self) -> Series {
        self.series.lock().clone()
    }
}

async fn watch(mut source: Source, every: Duration, series: Arc<Mutex<Series>>) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let delivered = match &mut source {
            Source::Sinks(arrivals) => arrivals.count(),
            Source::Counter(counter, flow) => {
                // A server that is down delivers nothing.
                flow.deliver(counter.since_last().await.unwrap_or(0));
                flow.delivered()
            }
        };
        series.lock().0.push(Point { at: Instant::now(), delivered });
    }
}

impl Series {
    /// The last that was seen at or before an instant.
    pub(crate) fn by(&self, instant: Instant) -> Option<Point> {
        let after = self.0.partition_point(|point| point.at <= instant);
        self.0.get(after.checked_sub(1)?).copied()
    }

    /// Deliveries per second between two instants, as exactly as they were watched.
    pub(crate) fn rate(&self, from: Instant, until: Instant) -> Option<f64> {
        let (first, last) = (self.by(from).or_else(|| self.0.first().copied())?, self.by(until)?);
        rate_between(first, last)
    }

    /// When the first delivery after an instant was seen.
    pub(crate) fn first_delivery_after(&self, instant: Instant) -> Option<Instant> {
        let before = self.by(instant)?.delivered;
        self.after(instant).find(|point| point.delivered > before).map(|point| point.at)
    }

    /// The beginning of the first stretch of at least this length, after an instant, in which the rate was reached.
    pub(crate) fn reached(&self, rate: f64, instant: Instant, length: Duration) -> Option<Instant> {
        let begins: Vec<Point> = self.after(instant).collect();
        begins.iter().find_map(|begin| {
            let end = begins.iter().find(|point| point.at >= begin.at + length)?;
            (rate_between(*begin, *end)? >= rate).then_some(begin.at)
        })
    }

    fn after(&self, instant: Instant) -> impl Iterator<Item = Point> {
        let start = self.0.partition_point(|point| point.at <= instant);
        self.0.iter().skip(start).copied()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn rate_between(first: Point, last: Point) -> Option<f64> {
    let seconds = last.at.checked_duration_since(first.at)?.as_secs_f64();
    let delivered = last.delivered.checked_sub(first.delivered)?;
    (seconds > 0.0).then(|| delivered as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(begin: Instant, points: &[(u64, u64)]) -> Series {
        let point = |(millis, delivered): &(u64, u64)| Point {
            at: begin + Duration::from_millis(*millis),
            delivered: *delivered,
        };
        Series(points.iter().map(point).collect())
    }

    #[test]
    fn a_rate_is_what_was_delivered_between_two_instants() {
        let begin = Instant::now();
        let series = series(begin, &[(0, 0), (500, 40), (1000, 100), (2000, 400)]);
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(series.rate(at(1000), at(2000)), Some(300.0));
        assert_eq!(series.rate(at(0), at(1999)), Some(100.0), "only what was seen by then counts");
        assert_eq!(series.rate(at(0), at(0)), None);
    }

    #[test]
    fn a_rate_is_back_where_a_stretch_begins_that_has_it() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let series = series(begin, &[(0, 100), (100, 100), (200, 110), (300, 150), (400, 250), (500, 350), (600, 450)]);
        assert_eq!(series.first_delivery_after(at(0)), Some(at(200)));
        assert_eq!(series.reached(900.0, at(0), Duration::from_millis(200)), Some(at(300)));
        assert_eq!(series.reached(2000.0, at(0), Duration::from_millis(200)), None);
    }
}
