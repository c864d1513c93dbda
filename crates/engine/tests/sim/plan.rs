//! What happens in one run: who is told what and when, and what goes wrong. A seed gives a plan; a plan that breaks
//! something is made smaller by leaving steps out.

mod draw;

use std::fmt;
use std::time::Duration;

use tidings_core::notification::{Destination, Priority};
use tidings_testkit::sim::{Call, Fault};

use crate::provider::Way;
use crate::wakes::Wakes;

/// How long one attempt may take.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The users that a plan can tell things. The last one belongs to another tenant; the one before may be deleted.
pub(crate) const USERS: usize = 4;
pub(crate) const MORTAL: usize = 2;

/// The hosts that webhooks go to.
pub(crate) const HOSTS: [&str; 3] = ["https://one.example:443", "https://two.example:443", "https://three.example:443"];

/// A run before it happens.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) settings: Settings,
    pub(crate) steps: Vec<Step>,
}

/// How the engine is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) concurrency: usize,
    pub(crate) per_destination: usize,
    pub(crate) automatic_redrive: bool,
    pub(crate) events: bool,
    /// When nothing goes wrong any more.
    pub(crate) lasting: Duration,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) act: Act,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A client sends something.
    Submit(Order),
    /// A client sends it again under the same key, if it had one.
    Repeat(usize),
    /// A client calls it back.
    Cancel(usize),
    /// Somebody decides about one of the dead letters.
    Review { nth: usize, redrive: bool },
    /// A user is deleted.
    DeleteUser,
    /// The next such call of the store goes wrong.
    Store(Call, Fault),
    /// The next call of a provider goes like this.
    Provider(Target, Way),
    /// A provider refuses everything for some time.
    Outage(Target, Duration),
    /// Hints fare like this from now on.
    Hints(Wakes),
    /// The wall clock is moved by so many milliseconds.
    Jump(i64),
    /// The process stands still, and both clocks go on.
    Freeze(Duration),
    /// The process is killed.
    Kill,
    /// The process is stopped in an orderly way, with this much time, and started again.
    Restart(Duration),
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Tells it from others.
    pub(crate) number: usize,
    pub(crate) target: Target,
    pub(crate) user: usize,
    pub(crate) priority: Priority,
    /// Whether the client gives a key, and so repeats what it does not know the answer of.
    pub(crate) keyed: bool,
    /// Whether it is a one-time code.
    pub(crate) at_most_once: bool,
    pub(crate) delay: Duration,
    pub(crate) ttl: Option<Duration>,
}

/// A channel and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Inbox,
    Email,
    Sms,
    Webhook(usize),
}

impl Target {
    /// The queue of its attempts.
    pub(crate) fn destination(self) -> Destination {
        match self {
            Self::Inbox => Destination::new("in-app", "inbox"),
            Self::Email => Destination::new("email", "smtp"),
            Self::Sms => Destination::new("sms", "twilio"),
            Self::Webhook(host) => Destination::new("webhook", HOSTS[host % HOSTS.len()]),
        }
    }
}

impl Order {
    /// What its client calls it, in the log and as its key.
    pub(crate) fn correlation(&self) -> String {
        format!("order-{}", self.number)
    }
}

impl Plan {
    /// The plan without some of its steps.
    pub(crate) fn without(&self, from: usize, count: usize) -> Self {
        let steps = self.steps.iter().enumerate().filter(|(place, _)| !(from..from + count).contains(place));
        Self { steps: steps.map(|(_, step)| step.clone()).collect(), ..self.clone() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {}, {:?}", self.seed, self.settings)?;
        for step in &self.steps {
            writeln!(formatter, "{:>8} ms  {:?}", step.at.as_millis(), step.act)?;
        }
        Ok(())
    }
}
