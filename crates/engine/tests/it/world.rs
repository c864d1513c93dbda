//! An engine among fakes.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tidings_core::delivery::{State, Verdict};
use tidings_core::id::{BootId, IdGen, MessageId, MonotonicIds, TenantId};
use tidings_core::journal::Event;
use tidings_core::notification::{Destination, NewNotification, Record};
use tidings_core::ports::{Broker, Catalog, History, Intake, Jobs};
use tidings_core::time::{Clock, Timestamp};
use tidings_engine::{Config, Engine, Metrics, Ports, alerts};
use tidings_testkit::sender::Call;
use tidings_testkit::{FakeBroker, FakeSender, FakeStore, ManualClock, sample};

/// Long enough for everything that happens by itself. The runtime's time is paused, so it costs nothing.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The boot of the engine under test.
pub(crate) const BOOT: BootId = BootId(sample::USER1.0);

/// The boot of a process that came before.
pub(crate) const EARLIER_BOOT: BootId = BootId(sample::USER2.0);

/// A provider that is out of order.
pub(crate) const FAILS: Verdict = Verdict::Retry { after: None };

/// Everything around an engine.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) sender: Arc<FakeSender>,
    pub(crate) broker: Arc<FakeBroker>,
    pub(crate) clock: Arc<ManualClock>,
    ids: Arc<MonotonicIds>,
    metrics: Arc<Metrics>,
    registry: Registry,
}

impl World {
    /// A world with the three users of a new installation, and no alerts.
    pub(crate) async fn new() -> Self {
        let mut registry = Registry::default();
        let world = Self {
            config: Config {
                alerts: alerts::Config { pending: None, age: None, ..alerts::Config::default() },
                ..Config::default()
            },
            store: Arc::default(),
            sender: Arc::default(),
            broker: Arc::default(),
            clock: Arc::default(),
            ids: Arc::default(),
            metrics: Arc::new(Metrics::register(&mut registry)),
            registry,
        };
        for user in sample::seed_users(world.now()) {
            let created = world.store.create_user(user).await.expect("nothing makes the store fail");
            created.expect("the users differ");
        }
        world
    }

    pub(crate) fn ports(&self, boot: BootId) -> Ports {
        Ports {
            jobs: self.store.clone(),
            intake: self.store.clone(),
            catalog: self.store.clone(),
            dead_letters: self.store.clone(),
            upkeep: self.store.clone(),
            sender: self.sender.clone(),
            broker: self.broker.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            boot,
        }
    }

    /// Starts an engine.
    pub(crate) async fn engine(&self) -> Engine {
        self.engine_with(self.ports(BOOT)).await
    }

    /// Starts an engine with other ports.
    pub(crate) async fn engine_with(&self, ports: Ports) -> Engine {
        let started = Engine::start(self.config.clone(), ports, self.metrics.clone()).await;
        started.expect("nothing makes the store fail")
    }

    /// Starts an engine that is to have this queue.
    pub(crate) async fn engine_on(&self, jobs: Arc<dyn Jobs>) -> Engine {
        self.engine_with(Ports { jobs, ..self.ports(BOOT) }).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock and says so.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.broker.wake();
    }

    pub(crate) fn id(&self) -> MessageId {
        self.ids.next(self.now())
    }

    /// An e-mail.
    pub(crate) fn email(&self) -> NewNotification {
        sample::email(self.id(), self.now())
    }

    /// A webhook to a host.
    pub(crate) fn webhook(&self, target: &str) -> NewNotification {
        sample::webhook(self.id(), target, self.now())
    }

    /// So many webhooks to a host.
    pub(crate) fn webhooks(&self, target: &str, count: usize) -> Vec<NewNotification> {
        (0..count).map(|_| self.webhook(target)).collect()
    }

    pub(crate) async fn submit(&self, notification: NewNotification) -> MessageId {
        let id = notification.id;
        self.submit_all(vec![notification]).await;
        id
    }

    pub(crate) async fn submit_all(&self, notifications: Vec<NewNotification>) {
        let batch = notifications.into_iter().map(sample::unkeyed).collect();
        self.store.accept(batch).await.expect("nothing makes the store fail");
        self.broker.wake();
    }

    /// Waits until a notification fits.
    pub(crate) async fn until(&self, id: MessageId, fits: impl Fn(&Record) -> bool) -> Record {
        let found = self.store.wait_until(TenantId::DEFAULT, id, SOON, fits).await;
        found.expect("what is waited for happens in time")
    }

    /// Waits until a notification is in a state.
    pub(crate) async fn until_it_is(&self, id: MessageId, state: State) -> Record {
        self.until(id, |record| record.summary.state == state).await
    }

    /// Waits until a notification waits for its next attempt after so many.
    pub(crate) async fn until_retry_after(&self, id: MessageId, attempts: u32) -> Record {
        self.until(id, |record| record.summary.state == State::Queued && record.summary.attempts == attempts).await
    }

    pub(crate) async fn record(&self, id: MessageId) -> Option<Record> {
        self.store.record(TenantId::DEFAULT, id).await.expect("nothing makes the store fail")
    }

    /// Waits until so many sends were begun.
    pub(crate) async fn calls(&self, count: usize) -> Vec<Call> {
        let calls = self.sender.wait_for_calls(count, SOON).await;
        calls.expect("what is waited for happens in time")
    }

    /// Sees that for some time no more than so many sends are begun.
    pub(crate) async fn no_more_calls_than(&self, count: usize, within: Duration) {
        let more = self.sender.wait_for_calls(count + 1, within).await;
        assert!(more.is_none(), "{more:?}");
    }

    pub(crate) fn calls_to(&self, destination: &Destination) -> Vec<Call> {
        self.sender.calls().into_iter().filter(|call| call.destination == *destination).collect()
    }

    /// The value of one series, 0 if it is not shown.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let mut shown = String::new();
        text::encode(&mut shown, &self.registry).expect("writing to a string cannot fail");
        let mut values = shown.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.find_map(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// Looks again and again, while the runtime's time goes on, until something is true.
pub(crate) async fn eventually<F: Future<Output = bool>>(is_true: impl Fn() -> F) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let looking = async {
        while !is_true().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), looking).await.expect("what is waited for happens in time");
}

/// What happened to a notification.
pub(crate) fn story(record: &Record) -> Vec<Event> {
    record.journal.iter().map(|entry| entry.event).collect()
}

/// What providers or we ourselves said about its attempts.
pub(crate) fn said(record: &Record) -> Vec<String> {
    let attempts = record.journal.iter().filter_map(|entry| entry.attempt.as_ref());
    attempts.filter_map(|attempt| attempt.message.clone()).collect()
}

/// The queue of webhooks to a host.
pub(crate) fn host(target: &str) -> Destination {
    Destination::new("webhook", target)
}

/// The queue of e-mails.
pub(crate) fn mail() -> Destination {
    Destination::new("email", "smtp")
}
