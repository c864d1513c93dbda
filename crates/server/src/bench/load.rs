//! The load: connections that send requests, each with at most one in flight, and count the answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench::client::{Answer, Link};
use crate::bench::flow::Flow;
use crate::bench::measured::{Counted, Measured, Window};
use crate::bench::schedule::Schedule;

/// How long a connection that failed waits before it is opened anew.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);
/// How long the last answers are waited for.
const GRACE: Duration = Duration::from_secs(5);
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// How much of an unwelcome answer is shown.
const SHOWN_CHARS: usize = 300;

/// Where to, and how hard.
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) pace: Pace,
    pub(crate) window: Window,
}

/// When the next request is sent.
#[derive(Clone)]
pub(crate) enum Pace {
    /// When the answer to the last one is there.
    Closed,
    /// The same, while few enough notifications are on their way.
    Throttled(Arc<Flow>),
    /// So many times per second, whether or not answers come.
    Open(u32),
}

impl Pace {
    /// How reports call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Throttled(_) => "closed on delivery",
            Self::Open(_) => "open",
        }
    }
}

/// The requests of one connection.
pub(crate) trait Requests: Send + 'static {
    /// How many notifications a request asks for.
    fn items(&self) -> u32;
    /// The bytes of the next request, which was to be sent at this instant.
    fn next(&mut self, intended: Instant) -> &[u8];
    /// Takes note of an answer; gives how many notifications were accepted with it.
    fn answered(&mut self, status: u16, body: &[u8], intended: Instant) -> u64;
}

/// Runs the plan with one connection for each of `requests`, which are given back at the end.
pub(crate) async fn run<R: Requests>(plan: &Plan, requests: Vec<R>) -> anyhow::Result<(Measured, Vec<R>)> {
    let (window, count) = (plan.window, requests.len());
    let done = Arc::new(AtomicU64::new(0));
    let schedule = match plan.pace {
        Pace::Open(per_second) => Some(Arc::new(Schedule::new(window.begin, window.end, per_second))),
        Pace::Closed | Pace::Throttled(_) => None,
    };
    let _pacer = schedule.clone().map(|schedule| schedule.pace(count)).transpose()?;
    let mut connections = JoinSet::new();
    for requests in requests {
        let turns = match (&schedule, &plan.pace) {
            (Some(schedule), _) => Turns::Open(Arc::clone(schedule)),
            (None, Pace::Throttled(flow)) => Turns::Throttled(Arc::clone(flow)),
            (None, Pace::Closed | Pace::Open(_)) => Turns::Closed,
        };
        let driver = Driver { address: plan.address, window, turns, done: Arc::clone(&done) };
        connections.spawn(driver.run_until_over(requests));
    }
    let mut measured = Measured::new()?;
    let mut all_requests = Vec::with_capacity(count);
    let mut progress = Progress::new(window);
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
    loop {
        tokio::select! {
            joined = connections.join_next() => match joined {
                Some(joined) => {
                    let (one, requests) = joined.context("a connection of the load generator broke down")??;
                    measured.merge(one)?;
                    all_requests.push(requests);
                }
                None => break,
            },
            _ = redraw.tick() => progress.show(done.load(Ordering::Relaxed)),
        }
    }
    measured.unsent = schedule.map_or(0, |schedule| schedule.left());
    Ok((measured, all_requests))
}

/// Whose turn it is.
enum Turns {
    Closed,
    Throttled(Arc<Flow>),
    Open(Arc<Schedule>),
}

impl Turns {
    /// Waits for the next turn and says when the request was to be sent; `None` at the end.
    async fn next(&self, items: u32, window: &Window) -> Option<Instant> {
        let has_room = match self {
            Self::Open(schedule) => return schedule.next().await,
            Self::Throttled(flow) => flow.admit(items, window.end).await,
            Self::Closed => true,
        };
        let now = Instant::now();
        (has_room && now < window.end).then_some(now)
    }

    /// Makes room again for what was let in and not accepted.
    fn give_back(&self, items: u32, accepted: u64) {
        if let Self::Throttled(flow) = self {
            flow.give_back(u64::from(items).saturating_sub(accepted));
        }
    }

    const fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// One connection at work.
struct Driver {
    address: SocketAddr,
    window: Window,
    turns: Turns,
    done: Arc<AtomicU64>,
}

impl Driver {
    /// One timer guards the whole of a connection's work: one for each request would cost more than the request.
    async fn run_until_over<R: Requests>(self, mut requests: R) -> anyhow::Result<(Measured, R)> {
        let mut measured = Measured::new()?;
        let driven = self.run(&mut measured, &mut requests);
        match tokio::time::timeout_at(self.window.end + GRACE, driven).await {
            Ok(outcome) => outcome?,
            Err(_elapsed) => {
                measured.fail(&io::Error::new(io::ErrorKind::TimedOut, "no answer came until the end of the run"));
            }
        }
        Ok((measured, requests))
    }

    async fn run<R: Requests>(&self, measured: &mut Measured, requests: &mut R) -> anyhow::Result<()> {
        let mut link = Link::to(self.address);
        let items = requests.items();
        while let Some(intended) = self.turns.next(items, &self.window).await {
            let sent = Instant::now();
            match link.exchange(requests.next(intended), sent).await {
                Ok(answer) => {
                    stop_if_hopeless(&answer)?;
                    let accepted = requests.answered(answer.status, answer.body, intended);
                    let counted = Counted { status: answer.status, accepted, intended, finished: Instant::now() };
                    self.turns.give_back(items, accepted);
                    measured.count(counted, &self.window, self.turns.is_open());
                    self.done.fetch_add(u64::from(items), Ordering::Relaxed);
                }
                Err(error) => {
                    self.turns.give_back(items, 0);
                    measured.fail(&error);
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
        Ok(())
    }
}

/// Some answers would be the same for every further request.
pub(crate) fn stop_if_hopeless(answer: &Answer<'_>) -> anyhow::Result<()> {
    let advice = match answer.status {
        401 => "the token is not valid there",
        403 => "the token does not allow it; `tidings token --scope admin` makes one that does",
        404 => "there is no such path or no such user; see --path and --user",
        400 | 405 | 413 | 415 | 422 => "it does not take such requests",
        _ => return Ok(()),
    };
    let text = String::from_utf8_lossy(answer.body);
    let shown: String = text.trim().chars().take(SHOWN_CHARS).collect();
    bail!("the server answered {}, so {advice}: {shown}", answer.status);
}

/// A bar over the time of the run. On anything but a terminal it draws nothing.
struct Progress {
    bar: ProgressBar,
    window: Window,
    last: (Instant, u64),
}

impl Progress {
    fn new(window: Window) -> Self {
        let bar = ProgressBar::new(millis(window.end - window.begin));
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Self { bar, window, last: (window.begin, 0) }
    }

    fn show(&mut self, done: u64) {
        let now = Instant::now();
        let (last_time, last_done) = std::mem::replace(&mut self.last, (now, done));
        let rate = (done - last_done) * 1000 / millis(now - last_time).max(1);
        let phase = if now < self.window.measure_from { "warming up" } else { "measuring" };
        self.bar.set_position(millis(now - self.window.begin));
        self.bar.set_message(format!("{phase}  {rate}/s"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// The same request again and again; counts the answers.
    struct Always(u64);

    impl Requests for Always {
        fn items(&self) -> u32 {
            1
        }

        fn next(&mut self, _intended: Instant) -> &[u8] {
            b"GET / HTTP/1.1\r\n\r\n"
        }

        fn answered(&mut self, status: u16, _body: &[u8], _intended: Instant) -> u64 {
            self.0 += 1;
            u64::from(status == 202)
        }
    }

    async fn answer_all(mut stream: tokio::net::TcpStream, answer: &'static str) {
        let mut request = [0; 1024];
        while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    /// A server that gives everybody the same answer.
    async fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer_all(stream, answer));
            }
        });
        address
    }

    fn plan(address: SocketAddr, pace: Pace) -> Plan {
        let window = Window::from_now(Duration::ZERO, Duration::from_millis(100));
        Plan { address, pace, window }
    }

    #[tokio::test]
    async fn an_open_loop_sends_what_was_due_and_no_more() {
        let address = answering("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
        let (measured, requests) = run(&plan(address, Pace::Open(500)), vec![Always(0), Always(0)]).await.unwrap();
        let answers: u64 = requests.iter().map(|requests| requests.0).sum();
        assert_eq!((answers, measured.unsent, measured.failures), (50, 0, 0));
        assert_eq!(measured.latency.len(), 50, "every one of them counts, however late it was");
    }

    #[tokio::test]
    async fn a_refusal_ends_the_run_and_says_why() {
        let address = answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope").await;
        let error = run(&plan(address, Pace::Closed), vec![Always(0), Always(0)]).await.err().unwrap().to_string();
        assert!(error.contains("401") && error.contains("token") && error.contains("nope"), "{error}");
    }

    #[tokio::test]
    async fn no_more_than_has_room_is_under_way() {
        let address = answering("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
        let flow = Arc::new(Flow::new(3));
        let (measured, _) = run(&plan(address, Pace::Throttled(flow)), vec![Always(0), Always(0)]).await.unwrap();
        assert_eq!(measured.accepted_in_total, 3);
    }
}
