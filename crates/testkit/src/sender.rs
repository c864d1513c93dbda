//! Channels that send nothing, and do as they are told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tidings_core::delivery::Verdict;
use tidings_core::error::{ErrorCode, Problem};
use tidings_core::id::MessageId;
use tidings_core::notification::Destination;
use tidings_core::ports::Sender;
use tidings_core::ports::sender::{Dispatch, Reach, Report};
use tidings_core::user::Contacts;
use tokio::sync::watch;

/// The name of the only provider.
pub const PROVIDER: &str = "fake";
/// Where webhooks go that name no URL.
pub const DEFAULT_TARGET: &str = "https://example.com:443";

/// One call of [`Sender::send`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was sent.
    pub id: MessageId,
    /// The number of the attempt.
    pub attempt: u32,
    /// The queue it came through.
    pub destination: Destination,
    /// How the user is reached, as the caller said.
    pub contacts: Contacts,
}

/// Channels named email, sms, webhook and in-app. Everything is delivered unless something else was prepared for the
/// destination: verdicts, a gate that holds sends back, or a panic.
///
/// A payload with a text in the field `refuse` is refused with this text before anything is queued.
#[derive(Debug)]
pub struct FakeSender {
    plans: Mutex<HashMap<Destination, Plan>>,
    log: Mutex<Log>,
    calls: watch::Sender<usize>,
    held: watch::Sender<HashSet<Destination>>,
}

#[derive(Debug, Default)]
struct Plan {
    verdicts: VecDeque<Verdict>,
    otherwise: Option<Verdict>,
    panics: usize,
}

#[derive(Debug, Default)]
struct Log {
    calls: Vec<Call>,
    running: HashMap<Destination, usize>,
    most: HashMap<Destination, usize>,
}

enum Order {
    Answer(Verdict),
    Panic,
}

impl Default for FakeSender {
    fn default() -> Self {
        Self {
            plans: Mutex::default(),
            log: Mutex::default(),
            calls: watch::Sender::new(0),
            held: watch::Sender::new(HashSet::new()),
        }
    }
}

impl FakeSender {
    /// Prepares verdicts for the next sends to a destination, one each, after those prepared before.
    pub fn script(&self, destination: &Destination, verdicts: impl IntoIterator<Item = Verdict>) {
        self.plan(destination, |plan| plan.verdicts.extend(verdicts));
    }

    /// From now on sends to a destination for which nothing is prepared end with this verdict.
    pub fn always(&self, destination: &Destination, verdict: Verdict) {
        self.plan(destination, |plan| plan.otherwise = Some(verdict));
    }

    /// The next send to a destination panics. Several calls make several sends panic.
    pub fn panic_next(&self, destination: &Destination) {
        self.plan(destination, |plan| plan.panics += 1);
    }

    /// From now on sends to a destination do not return.
    pub fn hold(&self, destination: &Destination) {
        self.held.send_modify(|held| {
            held.insert(destination.clone());
        });
    }

    /// Lets all sends to a destination return, those that wait and those to come.
    pub fn release(&self, destination: &Destination) {
        self.held.send_modify(|held| {
            held.remove(destination);
        });
    }

    /// All calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.log.lock().calls.clone()
    }

    /// Waits until there were `count` calls, and gives them all. `None` when the time is up.
    pub async fn wait_for_calls(&self, count: usize, within: Duration) -> Option<Vec<Call>> {
        let mut calls = self.calls.subscribe();
        let enough = async { calls.wait_for(|made| *made >= count).await.is_ok() };
        let in_time = tokio::time::timeout(within, enough).await.unwrap_or(false);
        in_time.then(|| self.calls())
    }

    /// The most sends to a destination that ran at the same time.
    pub fn most_at_once(&self, destination: &Destination) -> usize {
        self.log.lock().most.get(destination).copied().unwrap_or(0)
    }

    fn plan(&self, destination: &Destination, change: impl FnOnce(&mut Plan)) {
        change(self.plans.lock().entry(destination.clone()).or_default());
    }

    fn order(&self, destination: &Destination) -> Order {
        let mut plans = self.plans.lock();
        let Some(plan) = plans.get_mut(destination) else {
            return Order::Answer(Verdict::Delivered);
        };
        if plan.panics > 0 {
            plan.panics -= 1;
            return Order::Panic;
        }
        let prepared = plan.verdicts.pop_front().or_else(|| plan.otherwise.clone());
        Order::Answer(prepared.unwrap_or(Verdict::Delivered))
    }

    fn begin(&self, dispatch: Dispatch<'_>) -> Running<'_> {
        let destination = dispatch.notification.destination.clone();
        let mut log = self.log.lock();
        log.calls.push(Call {
            id: dispatch.notification.id,
            attempt: dispatch.attempt,
            destination: destination.clone(),
            contacts: dispatch.contacts.clone(),
        });
        let running = log.running.entry(destination.clone()).or_default();
        *running += 1;
        let now_running = *running;
        let most = log.most.entry(destination.clone()).or_default();
        *most = now_running.max(*most);
        let made = log.calls.len();
        drop(log);
        self.calls.send_replace(made);
        Running { sender: self, destination }
    }
}

/// A send under way; also one that is abandoned ends.
struct Running<'a> {
    sender: &'a FakeSender,
    destination: Destination,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.sender.log.lock().running.get_mut(&self.destination) {
            *running -= 1;
        }
    }
}

#[async_trait]
impl Sender for FakeSender {
    fn channels(&self) -> Vec<&'static str> {
        vec!["email", "sms", "webhook", "in-app"]
    }

    fn reach(&self, channel: &str) -> Option<Reach> {
        match channel {
            "in-app" => Some(Reach::Inbox),
            "email" | "sms" | "webhook" => Some(Reach::Remote),
            _ => None,
        }
    }

    fn address(
        &self,
        channel: &str,
        payload: &Map<String, Value>,
        contacts: &Contacts,
    ) -> Result<Destination, Problem> {
        if let Some(Value::String(why)) = payload.get("refuse") {
            return Err(Problem::field(ErrorCode::INVALID_PAYLOAD, "payload.refuse", why));
        }
        match channel {
            "email" => Ok(Destination::new("email", "smtp")),
            "sms" => Ok(Destination::new("sms", "twilio")),
            "in-app" => Ok(Destination::new("in-app", "inbox")),
            "webhook" => {
                let named = payload.get("url").and_then(Value::as_str);
                let target = named.or(contacts.webhook_url.as_deref()).unwrap_or(DEFAULT_TARGET);
                Ok(Destination::new("webhook", target))
            }
            _ => Err(Problem::plain(ErrorCode::UNKNOWN_TYPE)),
        }
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let running = self.begin(dispatch);
        let order = self.order(&running.destination);
        let mut held = self.held.subscribe();
        // The gate is a part of this sender, so it cannot be gone while somebody waits at it.
        drop(held.wait_for(|held| !held.contains(&running.destination)).await);
        match order {
            Order::Answer(verdict) => Report::new(PROVIDER, verdict),
            Order::Panic => panic_as_told(),
        }
    }
}

#[expect(clippy::panic, reason = "tests ask for it, to see that a worker survives")]
fn panic_as_told() -> ! {
    panic!("the fake sender was told to panic")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{clock, sample};

    const SOON: Duration = Duration::from_secs(10);

    fn dispatch<'a>(
        notification: &'a tidings_core::notification::NewNotification,
        contacts: &'a Contacts,
    ) -> Dispatch<'a> {
        Dispatch { notification, contacts, attempt: 1, now: clock::START }
    }

    #[tokio::test]
    async fn verdicts_are_given_in_order() {
        let sender = FakeSender::default();
        let (notification, contacts) =
            (sample::email(MessageId::floor(clock::START), clock::START), Contacts::default());
        sender.script(&notification.destination, [Verdict::Reject, Verdict::Unknown]);
        for expected in [Verdict::Reject, Verdict::Unknown, Verdict::Delivered] {
            assert_eq!(sender.send(dispatch(&notification, &contacts)).await.verdict, expected);
        }
        sender.always(&notification.destination, Verdict::Reject);
        assert_eq!(sender.send(dispatch(&notification, &contacts)).await.verdict, Verdict::Reject);
        assert_eq!(sender.wait_for_calls(4, SOON).await.unwrap().len(), 4);
    }

    #[tokio::test]
    async fn a_held_send_returns_when_released() {
        let sender = Arc::new(FakeSender::default());
        let destination = Destination::new("email", "smtp");
        sender.hold(&destination);
        let sending = {
            let sender = Arc::clone(&sender);
            tokio::spawn(async move {
                let notification = sample::email(MessageId::floor(clock::START), clock::START);
                sender.send(dispatch(&notification, &Contacts::default())).await.verdict
            })
        };
        sender.wait_for_calls(1, SOON).await.unwrap();
        assert!(!sending.is_finished());
        sender.release(&destination);
        assert_eq!(sending.await.unwrap(), Verdict::Delivered);
        assert_eq!(sender.most_at_once(&destination), 1);
    }
}
