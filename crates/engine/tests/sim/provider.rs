//! Providers that are slow, fail, hang, panic, or are the last that a process speaks to. They keep a log of their own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tidings_core::delivery::Verdict;
use tidings_core::error::Problem;
use tidings_core::id::MessageId;
use tidings_core::notification::Destination;
use tidings_core::ports::Sender;
use tidings_core::ports::sender::{Dispatch, Reach, Report};
use tidings_core::user::Contacts;
use tidings_testkit::FakeSender;
use tidings_testkit::sim::Process;
use tokio::time::sleep;

use crate::clock::SimClock;
use crate::plan::ATTEMPT_TIMEOUT;
use crate::trace::Trace;

/// The name of the only provider.
const PROVIDER: &str = "simulated";

/// How long a provider takes that nothing is wrong with.
const USUAL: Duration = Duration::from_millis(30);

/// The payload of every panic on purpose.
pub(crate) const ON_PURPOSE: &str = "a simulated fault of a provider module";

/// How a provider takes one call.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// It answers after some time, which may be longer than anybody waits.
    Answer { verdict: Verdict, after: Duration },
    /// It never answers.
    Hang,
    /// Its module panics.
    Panic,
    /// The process ends during the call.
    Crash,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The number of the attempt.
    pub(crate) attempt: u32,
    /// How long the provider asked to wait.
    pub(crate) retry_after: Option<Duration>,
}

/// All providers of a simulation.
pub(crate) struct SimSender {
    /// Knows the channels and their addresses.
    channels: FakeSender,
    clock: Arc<SimClock>,
    process: Arc<Process>,
    trace: Arc<Trace>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ways: HashMap<Destination, VecDeque<Way>>,
    /// Until when a destination is out of order.
    outages: HashMap<Destination, Duration>,
    running: HashMap<MessageId, Duration>,
    log: BTreeMap<MessageId, Vec<Sent>>,
}

/// A call under way. It ends with its future, however that ends.
struct Running<'a> {
    sender: &'a SimSender,
    id: MessageId,
    began: Duration,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.sender.state.lock();
        if state.running.get(&self.id) == Some(&self.began) {
            state.running.remove(&self.id);
        }
    }
}

impl SimSender {
    pub(crate) fn new(clock: Arc<SimClock>, process: Arc<Process>, trace: Arc<Trace>) -> Self {
        Self { channels: FakeSender::default(), clock, process, trace, state: Mutex::default() }
    }

    /// The next call to a destination goes like this, after those that were told to before.
    pub(crate) fn arm(&self, destination: Destination, way: Way) {
        self.state.lock().ways.entry(destination).or_default().push_back(way);
    }

    /// A destination is out of order for some time.
    pub(crate) fn break_down(&self, destination: Destination, time: Duration) {
        let until = self.clock.elapsed() + time;
        self.state.lock().outages.insert(destination, until);
    }

    /// From now on nothing is wrong with anybody.
    pub(crate) fn calm(&self) {
        let mut state = self.state.lock();
        state.ways.clear();
        state.outages.clear();
    }

    /// All calls by notification, in order.
    pub(crate) fn log(&self) -> BTreeMap<MessageId, Vec<Sent>> {
        self.state.lock().log.clone()
    }

    fn begin(&self, dispatch: &Dispatch<'_>) -> (Running<'_>, Way) {
        let (id, attempt) = (dispatch.notification.id, dispatch.attempt);
        let destination = &dispatch.notification.destination;
        let began = self.clock.elapsed();
        let mut state = self.state.lock();
        let is_down = state.outages.get(destination).is_some_and(|until| *until > began);
        let told = state.ways.get_mut(destination).and_then(VecDeque::pop_front);
        let way = told.unwrap_or(Way::Answer {
            verdict: if is_down { Verdict::Retry { after: None } } else { Verdict::Delivered },
            after: USUAL,
        });
        let retry_after = match &way {
            Way::Answer { verdict: Verdict::Retry { after: Some(asked) }, after } if *after < ATTEMPT_TIMEOUT => {
                Some(*asked)
            }
            _ => None,
        };
        state.log.entry(id).or_default().push(Sent { attempt, retry_after });
        let before = state.running.insert(id, began);
        drop(state);
        self.trace.note(format_args!("send {id} attempt {attempt} to {destination}: {way:?}"));
        // From its time limit on nobody works on an attempt any more: the process stood still, and its end is only late.
        if before.is_some_and(|before| began.saturating_sub(before) < ATTEMPT_TIMEOUT) {
            self.trace.violation(format_args!("two attempts of {id} run at the same time"));
        }
        (Running { sender: self, id, began }, way)
    }
}

#[async_trait]
impl Sender for SimSender {
    fn channels(&self) -> Vec<&'static str> {
        self.channels.channels()
    }

    fn reach(&self, channel: &str) -> Option<Reach> {
        self.channels.reach(channel)
    }

    fn address(
        &self,
        channel: &str,
        payload: &Map<String, Value>,
        contacts: &Contacts,
    ) -> Result<Destination, Problem> {
        self.channels.address(channel, payload, contacts)
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        self.process.go_on().await;
        let (_running, way) = self.begin(&dispatch);
        match way {
            Way::Answer { verdict, after } => {
                sleep(after).await;
                self.process.go_on().await;
                Report::new(PROVIDER, verdict)
            }
            Way::Hang => std::future::pending().await,
            Way::Panic => {
                sleep(USUAL).await;
                panic!("{ON_PURPOSE}")
            }
            Way::Crash => {
                sleep(USUAL).await;
                self.process.end().await
            }
        }
    }
}
