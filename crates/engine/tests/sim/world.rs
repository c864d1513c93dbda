//! One run: the real engine between a store, providers, hints and clocks that go wrong by plan; the clients; and the lives
//! of the process.

mod clients;
mod rest;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tidings_core::breaker;
use tidings_core::id::{BootId, MessageId, MonotonicIds, TenantId, UserId};
use tidings_core::ports::Catalog;
use tidings_core::retry::{Guarantee, Policies, Policy, Rule};
use tidings_core::services::redrive::Reviewer;
use tidings_core::time::Clock;
use tidings_engine::{Config, Engine, Metrics, Ports, alerts};
use tidings_testkit::sim::{FaultyStore, Layers, Process};
use tidings_testkit::{FakeStore, sample};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::audit::Audit;
use crate::clock::SimClock;
use crate::mutant::{Broken, Mutant};
use crate::plan::{ATTEMPT_TIMEOUT, Act, MORTAL, Plan};
use crate::provider::SimSender;
use crate::trace::Trace;
use crate::wakes::{SimBroker, Wakes};

use clients::Client;

/// The category of one-time codes.
const OTP: &str = "otp";

/// How many retries follow the first attempt.
pub(crate) const MAX_RETRIES: u32 = 3;

/// How long a process that ended is gone.
const DOWN: Duration = Duration::from_secs(2);

/// Between two starts when the store does not let one succeed.
const BETWEEN_STARTS: Duration = Duration::from_millis(500);

/// More lives than this are a process that does not come up.
const MOST_LIVES: usize = 100;

/// Everything in a run.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) process: Arc<Process>,
    pub(crate) trace: Arc<Trace>,
    /// What is true, underneath all faults.
    pub(crate) store: Arc<FakeStore>,
    /// What the process sees of it.
    pub(crate) faulty: Arc<FaultyStore>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) sender: Arc<SimSender>,
    pub(crate) broker: Arc<SimBroker>,
    pub(crate) policies: Policies,
    pub(crate) users: Vec<(TenantId, UserId)>,
    pub(crate) clients: Vec<Client>,
    ids: Arc<MonotonicIds>,
    agenda: Agenda,
    lives: usize,
}

/// What is still to happen, in order.
#[derive(Default)]
struct Agenda {
    tasks: BTreeMap<(Duration, usize), Task>,
    added: usize,
}

#[derive(Clone, Debug)]
enum Task {
    Act(Act),
    /// A client that got no answer asks again.
    Again(usize),
    /// From here on nothing goes wrong.
    Calm,
}

/// How a life of the process ended.
enum End {
    /// It was killed, or something killed it.
    Killed,
    /// It was stopped to be started again.
    Stopped,
    /// Everything has come to rest, and the engine has been drained.
    Over,
}

impl Agenda {
    fn add(&mut self, at: Duration, task: Task) {
        self.added += 1;
        self.tasks.insert((at, self.added), task);
    }

    fn next_at(&self) -> Option<Duration> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }

    fn take(&mut self) -> Option<Task> {
        self.tasks.pop_first().map(|(_, task)| task)
    }
}

/// Runs a plan to its end. What it gives is the world as it came to rest, to be looked at.
pub(crate) fn run(plan: &Plan, mutant: Option<Mutant>) -> World {
    // The engine takes its jitter from the generator of this thread.
    fastrand::seed(plan.seed);
    let mut world = World::new(plan, mutant);
    while world.lives < MOST_LIVES {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let end = runtime.block_on(world.live());
        // What was under way ends here, without another step.
        drop(runtime);
        if matches!(end, End::Over) || !world.trace.violations().is_empty() {
            return world;
        }
        world.clock.rest(DOWN);
    }
    world.trace.violation("the process does not come up");
    world
}

impl World {
    fn new(plan: &Plan, mutant: Option<Mutant>) -> Self {
        let policies = policies();
        let clock = Arc::<SimClock>::default();
        let process = Arc::<Process>::default();
        let trace = Arc::new(Trace::new(clock.clone()));
        let store = Arc::new(FakeStore::with_policies(policies.clone()));
        let mut layers = Layers::of(&store);
        if let Some(mutant) = mutant {
            let broken = Arc::new(Broken::over(store.clone(), mutant));
            layers.intake = broken.clone();
            layers.jobs = broken;
        }
        let audit = Arc::new(Audit::over(layers.jobs, process.clone(), trace.clone(), policies.clone()));
        layers.jobs = audit.clone();
        let faulty = Arc::new(FaultyStore::over(layers, process.clone()));
        let sender = Arc::new(SimSender::new(clock.clone(), process.clone(), trace.clone()));
        let mut agenda = Agenda::default();
        for step in &plan.steps {
            agenda.add(step.at, Task::Act(step.act.clone()));
        }
        agenda.add(plan.settings.lasting, Task::Calm);
        Self {
            plan: plan.clone(),
            clock,
            process,
            trace,
            store,
            faulty,
            audit,
            sender,
            broker: Arc::default(),
            policies,
            users: Vec::new(),
            clients: Vec::new(),
            ids: Arc::default(),
            agenda,
            lives: 0,
        }
    }

    /// A life of the process, from its start to its end.
    async fn live(&mut self) -> End {
        self.clock.begin();
        self.process.begin();
        self.lives += 1;
        self.trace.note(format_args!("life {} begins", self.lives));
        let process = self.process.clone();
        let end = tokio::select! {
            biased;
            () = process.ended() => End::Killed,
            end = Box::pin(self.work()) => end,
        };
        self.trace.note("it ends");
        self.clock.end();
        end
    }

    async fn work(&mut self) -> End {
        if self.users.is_empty() {
            self.create_users().await;
        }
        self.ids = Arc::new(MonotonicIds::after(self.store.last_id()));
        let engine = self.start().await;
        while let Some(at) = self.agenda.next_at() {
            self.clock.sleep_until(at).await;
            let Some(task) = self.agenda.take() else {
                break;
            };
            match task {
                Task::Act(Act::Kill) => return End::Killed,
                Task::Act(Act::Restart(within)) => {
                    let drained = engine.drain(within).await;
                    self.trace.note(format_args!("drained: {drained:?}"));
                    return End::Stopped;
                }
                Task::Act(act) => self.perform(act).await,
                Task::Again(client) => self.ask(client).await,
                Task::Calm => self.calm(),
            }
        }
        self.come_to_rest().await;
        self.drain(engine).await;
        End::Over
    }

    /// Starts the engine, again and again if the store does not let it.
    async fn start(&self) -> Engine {
        loop {
            let metrics = Arc::new(Metrics::register(&mut Registry::default()));
            match Engine::start(self.config(), self.ports(), metrics).await {
                Ok(engine) => return engine,
                Err(error) => self.trace.note(format_args!("the engine does not start: {error}")),
            }
            sleep(BETWEEN_STARTS).await;
        }
    }

    async fn perform(&mut self, act: Act) {
        self.trace.note(format_args!("{act:?}"));
        match act {
            Act::Submit(order) => self.submit(order).await,
            Act::Repeat(number) => self.repeat(number).await,
            Act::Cancel(number) => self.cancel(number).await,
            Act::Review { nth, redrive } => self.review(nth, redrive).await,
            Act::DeleteUser => self.delete_user().await,
            Act::Store(call, fault) => self.faulty.arm(call, fault),
            Act::Provider(target, way) => self.sender.arm(target.destination(), way),
            Act::Outage(target, time) => self.sender.break_down(target.destination(), time),
            Act::Hints(wakes) => self.broker.set(wakes),
            Act::Jump(millis) => self.clock.jump(millis),
            Act::Freeze(time) => tokio::time::advance(time).await,
            // These end a life, and are dealt with where one does.
            Act::Kill | Act::Restart(_) => {}
        }
    }

    fn calm(&self) {
        self.trace.note("nothing goes wrong any more");
        self.faulty.calm();
        self.sender.calm();
        self.broker.set(Wakes::Arrive);
    }

    async fn create_users(&mut self) {
        let now = self.clock.now();
        for user in sample::seed_users(now) {
            self.users.push((user.user.tenant, user.user.id));
            self.store.create_user(user).await.unwrap().unwrap();
        }
        let tenant = self.store.tenant("other", now).await.unwrap();
        let mut fourth = sample::user(UserId(identity(4).0), "fourth", now);
        fourth.user.tenant = tenant;
        self.users.push((tenant, fourth.user.id));
        self.store.create_user(fourth).await.unwrap().unwrap();
    }

    async fn delete_user(&self) {
        let (tenant, user) = self.users[MORTAL];
        let deleted = self.faulty.delete_user(tenant, user, self.clock.now()).await;
        self.trace.note(format_args!("deleted: {deleted:?}"));
    }

    fn config(&self) -> Config {
        let settings = &self.plan.settings;
        Config {
            concurrency: settings.concurrency,
            per_destination: settings.per_destination,
            attempt_timeout: ATTEMPT_TIMEOUT,
            policies: self.policies.clone(),
            breaker: breaker::Settings {
                min_calls: 8,
                consecutive_failures: 4,
                open_for: Duration::from_secs(5),
                open_for_at_most: Duration::from_secs(30),
                probes: 2,
                ..breaker::Settings::default()
            },
            sweep_every: Duration::from_secs(20),
            automatic_redrive: settings.automatic_redrive,
            events_url: settings.events.then(|| "https://ops.example:443".to_owned()),
            alerts: alerts::Config {
                pending: Some(3),
                age: None,
                every: Duration::from_secs(10),
                webhook_url: Some("https://ops.example:443".to_owned()),
                email: None,
            },
            ..Config::default()
        }
    }

    fn ports(&self) -> Ports {
        Ports {
            jobs: self.faulty.clone(),
            intake: self.faulty.clone(),
            catalog: self.faulty.clone(),
            dead_letters: self.faulty.clone(),
            upkeep: self.faulty.clone(),
            sender: self.sender.clone(),
            broker: self.broker.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            boot: identity(i64::try_from(self.lives).unwrap()),
        }
    }

    fn reviewer(&self) -> Reviewer {
        let Ports { dead_letters, catalog, sender, broker, clock, ids, .. } = self.ports();
        Reviewer { dead_letters, catalog, sender, broker, clock, ids }
    }
}

/// Short delays, so that a run is short; one-time codes are sent once at most.
fn policies() -> Policies {
    let default = Policy {
        schedule: vec![Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)],
        max_retries: MAX_RETRIES,
        guarantee: Guarantee::AtLeastOnce,
    };
    let once = Policy { guarantee: Guarantee::AtMostOnce, ..default.clone() };
    let pattern = format!("notification.*.{OTP}").parse().unwrap();
    Policies { rules: vec![Rule { pattern, policy: once }], default }
}

/// Identities that are the same in every run.
fn identity(number: i64) -> BootId {
    BootId(MessageId::from_integer(number).unwrap().to_uuid())
}
