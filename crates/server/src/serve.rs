//! Runs the whole product in this process, and ends it without losing anything.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tidings_api::{Gate, Services, server};
use tidings_core::id::{TenantId, UserId};
use tidings_core::ports::Catalog;
use tidings_core::time::{Clock, SystemClock, Timestamp};
use tidings_core::user::{Contacts, NewUser, User};
use tidings_engine::{Drained, Engine};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::config::{Config, Environment};
use crate::telemetry::listener::Listener;
use crate::telemetry::metrics::Metrics;
use crate::{crypto, files, telemetry, wiring};

/// The users of the seed: id, user name, e-mail address.
pub const SEED_USERS: [(Uuid, &str, &str); 3] = [
    (Uuid::from_u128(0x9fc8_1fdd_fc9c_49e3_9df1_a36d_f7e1_ec5a), "testuser", "test@example.com"),
    (Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0001), "user1", "user1@example.com"),
    (Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0002), "user2", "user2@example.com"),
];

/// The store gave up (`EX_SOFTWARE` of sysexits.h): a supervisor may try again, but somebody should look at the disk.
const EXIT_STORE: u8 = 70;
/// How long requests in flight may take to hear that there is no store any more.
const WITHOUT_STORE: Duration = Duration::from_secs(2);

/// The password of the users of the seed, which exist in development only.
pub const SEED_PASSWORD: &str = "password";

/// What is different from plain `serve`, for `dev` and for tests.
#[derive(Default)]
pub struct Overrides {
    /// The clock, instead of that of the machine.
    pub clock: Option<Arc<dyn Clock>>,
    /// What is made of the router before it serves: more routes, guards.
    pub dress: Option<Box<dyn FnOnce(Router) -> Router + Send>>,
    /// Whether the users of the seed are created if they are absent.
    pub seed_users: bool,
    /// Whether a store is opened that has lost commits that were acknowledged.
    pub accept_loss: bool,
}

/// The running product. Ends with [`App::stop`].
pub struct App {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where metrics are served by themselves, if they are.
    pub metrics_addr: Option<SocketAddr>,
    /// The use cases, for those who live in the same process.
    pub services: Services,
    gate: Arc<Gate>,
    engine: Engine,
    store: wiring::Store,
    no_more_requests: CancellationToken,
    http: JoinHandle<()>,
    no_more_readings: CancellationToken,
    readings: JoinHandle<()>,
    metrics: Option<Listener>,
    drain: Duration,
}

impl fmt::Debug for App {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("App").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// How it ended.
#[derive(Debug)]
pub struct Stopped {
    /// What became of the work in flight.
    pub drained: Drained,
}

impl App {
    /// Starts everything. When it returns, requests are answered.
    pub async fn start(config: Config, overrides: Overrides) -> anyhow::Result<Self> {
        crypto::install();
        tidings_faultpoints::arm();
        let listener = listen(&config).await?;
        let addr = listener.local_addr().context("the listening socket has no address")?;
        let metrics = Metrics::new();
        let metrics_listener = match config.server.metrics_addr {
            Some(address) => Some(Listener::start(address, &metrics).await?),
            None => None,
        };
        let clock = overrides.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        let mut parts = wiring::assemble(&config, clock, overrides.accept_loss).await?;
        // Operational events are sent by whoever settles, so with them everything goes through the queue.
        if config.delivery.events_url.is_none() {
            parts.services.submitter.witness = Some(metrics.engine.clone());
        }
        if overrides.seed_users {
            create_seed_users(parts.services.catalog.as_ref(), parts.services.clock.now()).await?;
        }
        let engine = Engine::start(wiring::engine_config(&config), parts.ports.clone(), metrics.engine.clone()).await?;

        let gate = Arc::new(Gate::default());
        let api = tidings_api::router(
            parts.services.clone(),
            wiring::api_config(&config),
            gate.clone(),
            metrics.api.clone(),
            metrics.exposition(),
        );
        let router = match overrides.dress {
            Some(dress) => dress(api),
            None => api,
        };
        let drain = config.server.shutdown_timeout;
        let no_more_requests = CancellationToken::new();
        let limits = limits(&config);
        let served = server::serve(listener, router, limits, metrics.api.clone(), no_more_requests.clone(), drain);
        let http = tokio::spawn(served);

        let no_more_readings = CancellationToken::new();
        let upkeep = parts.ports.upkeep.clone();
        let readings =
            tokio::spawn(metrics.store.clone().follow(upkeep, parts.ports.clock.clone(), no_more_readings.clone()));
        gate.open();
        Ok(Self {
            addr,
            metrics_addr: metrics_listener.as_ref().map(|listener| listener.addr),
            services: parts.services,
            gate,
            engine,
            store: parts.store,
            no_more_requests,
            http,
            no_more_readings,
            readings,
            metrics: metrics_listener,
            drain,
        })
    }

    /// Where it is reached from this machine.
    pub fn url(&self) -> String {
        let mut reachable = self.addr;
        if reachable.ip().is_unspecified() {
            reachable.set_ip(match reachable {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{reachable}")
    }

    /// Waits until the store has given up because the disk failed, and says why. Never ends otherwise.
    pub async fn store_given_up(&self) -> String {
        self.store.given_up().await
    }

    /// Ends it: not ready any more, no new connections, no new attempts; what has begun is finished within the time
    /// given, the rest is handed back to the store; then the store is closed.
    pub async fn stop(self) -> anyhow::Result<Stopped> {
        self.gate.close();
        self.no_more_requests.cancel();
        // Side by side, so that a slow client does not use up the time of the attempts in flight.
        let (http, drained) = tokio::join!(self.http, self.engine.drain(self.drain));
        self.no_more_readings.cancel();
        let readings = self.readings.await;
        self.store.close().await;
        http.context("the HTTP server ended badly")?;
        readings.context("reading the metrics of the store ended badly")?;
        if let Some(metrics) = self.metrics {
            metrics.stop().await?;
        }
        Ok(Stopped { drained })
    }
}

/// `tidings serve`: checks, starts, serves until a signal, drains.
///
/// With `accept_loss` it also opens a store that has lost commits that were acknowledged.
pub async fn run(config: Config, accept_loss: bool) -> anyhow::Result<ExitCode> {
    let warnings = config.check_for_serving()?;
    let logs = telemetry::start_logs(&config)?;
    let mut signals = Signals::listen()?;
    files::raise_limit();
    for warning in warnings {
        warn!("{warning}");
    }
    warn_about_exposure(&config);
    let app = App::start(config, Overrides { accept_loss, ..Overrides::default() }).await?;
    let url = app.url();
    info!(url, "Ready at {url}: POST /api/notifications, documentation at {url}/docs");
    let code = stop_on_signal(app, &mut signals).await;
    drop(logs);
    code
}

/// Serves until a signal comes, then drains. A second signal ends the process at once.
pub async fn run_until_signal(app: App) -> anyhow::Result<ExitCode> {
    stop_on_signal(app, &mut Signals::listen()?).await
}

async fn stop_on_signal(app: App, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let name = tokio::select! {
        signal = signals.next() => signal.name(),
        why = app.store_given_up() => return Ok(end_without_store(app, &why).await),
    };
    info!("Stopping on {name}: finishing what has begun, a second signal stops at once");
    tokio::select! {
        stopped = app.stop() => {
            let Drained { finished, handed_back, complete } = stopped?.drained;
            info!(finished, handedBack = handed_back, complete, "Stopped");
            Ok(ExitCode::SUCCESS)
        }
        second = signals.next() => end_at_once(second),
    }
}

/// Ends after the disk has failed. What is in flight at a provider may finish; it cannot be recorded, and is tried again
/// after the next start.
async fn end_without_store(app: App, why: &str) -> ExitCode {
    error!(
        "Stopping because {why}. What was acknowledged and reached the disk is safe. Look at the system's log for errors of \
         the disk, and mend or replace it; then start again, or restore a backup"
    );
    // Nothing can be settled any more, so there is nothing to wait long for.
    if tokio::time::timeout(WITHOUT_STORE, app.stop()).await.is_err() {
        warn!("Requests in flight were cut off");
    }
    ExitCode::from(EXIT_STORE)
}

#[expect(clippy::exit, reason = "a second signal means at once; the store survives that as it survives a crash")]
fn end_at_once(signal: Stop) -> ! {
    std::process::exit(signal.exit_code())
}

/// The signals that end the process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

#[derive(Clone, Copy)]
enum Stop {
    Interrupt,
    Terminate,
}

impl Stop {
    const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// What a shell reports for a process that the signal killed: 128 and its number.
    const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("the signals of the system cannot be received");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}

async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(config.server.bind, config.server.port);
    TcpListener::bind(address).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program uses the port; stop it, or choose another with API_PORT or --port"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege; choose another with API_PORT or --port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; choose one with TIDINGS_BIND or --bind"
            }
            _ => "check TIDINGS_BIND and API_PORT",
        };
        anyhow::Error::new(error).context(format!("cannot listen on {address}: {advice}"))
    })
}

fn limits(config: &Config) -> server::Limits {
    let connections = files::connections(config);
    let per_peer = config.server.connections_per_peer.unwrap_or_else(|| files::share_of_one_peer(connections));
    server::Limits { connections, connections_per_peer: per_peer, ..server::Limits::default() }
}

async fn create_seed_users(catalog: &dyn Catalog, now: Timestamp) -> anyhow::Result<()> {
    let hashing = tokio::task::spawn_blocking(|| tidings_api::hash_password(SEED_PASSWORD));
    let password_hash = hashing.await.context("hashing was interrupted")??;
    for (id, username, email) in SEED_USERS {
        let user = User {
            id: UserId(id),
            tenant: TenantId::DEFAULT,
            username: username.to_owned(),
            contacts: Contacts { email: Some(email.to_owned()), ..Contacts::default() },
            created_at: now,
            updated_at: now,
        };
        // A conflict means that the user is there, perhaps with contacts that somebody changed since.
        if catalog.create_user(NewUser { user, password_hash: Some(password_hash.clone()) }).await?.is_ok() {
            info!("Created the user {username}");
        }
    }
    Ok(())
}

fn warn_about_exposure(config: &Config) {
    if !config.server.bind.is_loopback() && config.environment == Environment::Development {
        warn!(
            "Other machines can reach this server (TIDINGS_BIND={}) although NODE_ENV is development",
            config.server.bind
        );
    }
}
