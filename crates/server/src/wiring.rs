//! Chooses the adapters behind the ports. The only file that names concrete ones: the embedded store, the wake-ups
//! within one process, the channels.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tidings_api::{Services, token};
use tidings_broker::LocalBroker;
use tidings_channels::{Channels, ConfigError, outbound, sms, smtp, webhook};
use tidings_core::breaker;
use tidings_core::id::{BootId, MonotonicIds};
use tidings_core::services::follow::Follower;
use tidings_core::services::redrive::Reviewer;
use tidings_core::services::submit::Submitter;
use tidings_core::services::users::Users;
use tidings_core::time::{Clock, WallClock};
use tidings_engine::{Ports, alerts};
use tidings_store::sqlite::{self, Migrated, backup};
use tidings_store::{Options, SqliteStore};
use uuid::Uuid;

use crate::config::{self, Config, WEBHOOK_SECRET_FILE, kept, prepare_data_dir};

/// How often retention goes through the store.
const SWEEP_EVERY: Duration = Duration::from_mins(15);
/// Space put aside for finishing work on a full disk.
const RESERVE: u64 = 64 << 20;
/// Batches may be this large, whatever the limit of a single request is.
const BATCH_BODY: usize = 8 * 1024 * 1024;

/// Everything with an adapter in it.
pub(crate) struct Parts {
    /// Has to be closed at the end.
    pub(crate) store: Store,
    /// For the engine.
    pub(crate) ports: Ports,
    /// For the API.
    pub(crate) services: Services,
}

/// The open store, as far as the process is concerned that has to close it.
pub(crate) struct Store(SqliteStore);

impl Store {
    /// Waits until the store has given up because the disk failed, and says why. Never ends otherwise.
    pub(crate) async fn given_up(&self) -> String {
        self.0.given_up().await
    }

    /// Writes what is waiting and lets go of the data directory.
    pub(crate) async fn close(&self) {
        self.0.close().await;
    }
}

/// Opens the store, makes the channels, and puts the services together.
pub(crate) async fn assemble(config: &Config, clock: Arc<dyn Clock>, accept_loss: bool) -> anyhow::Result<Parts> {
    let store = open_store(config, accept_loss).await?;
    let channels = make_channels(config)?;
    let ids = Arc::new(MonotonicIds::after(store.last_id()));
    let shared = Arc::new(store.clone());
    let ports = Ports {
        jobs: shared.clone(),
        intake: shared.clone(),
        catalog: shared.clone(),
        dead_letters: shared.clone(),
        upkeep: shared.clone(),
        sender: Arc::new(channels),
        broker: Arc::new(LocalBroker::default()),
        clock,
        ids,
        boot: BootId(Uuid::new_v4()),
    };
    let services = services(config, &ports, &shared)?;
    Ok(Parts { store: Store(store), ports, services })
}

async fn open_store(config: &Config, accept_loss: bool) -> anyhow::Result<SqliteStore> {
    let options = Options {
        data_dir: config.data.clone(),
        min_free_bytes: config.min_free_disk,
        reserve_bytes: RESERVE,
        accept_loss,
        policies: config.policies.clone(),
    };
    let opened = tokio::task::spawn_blocking(move || {
        prepare_data_dir(&options.data_dir)?;
        anyhow::Ok(SqliteStore::open(options)?)
    });
    opened.await.context("opening the store was interrupted")?
}

fn make_channels(config: &Config) -> anyhow::Result<Channels> {
    // A little less than the engine's own limit, so that the journal has the reason that the channel can give.
    let timeout = config.delivery.attempt_timeout.mul_f64(0.95);
    let smtp = config.channels.smtp.as_ref().map(|relay| smtp::Config {
        url: relay.url.expose().to_owned(),
        from: relay.from.clone(),
        timeout,
    });
    let sms = config.channels.sms.as_ref().map(|account| sms::Config {
        base_url: account.base_url.clone(),
        account_sid: account.account_sid.clone(),
        auth_token: account.auth_token.expose().to_owned(),
        from: account.from.clone(),
    });
    let webhook = webhook::Config { secret: webhook_secret(config)? };
    let outbound = outbound::Config {
        allowed_networks: config.outbound.allow.clone(),
        https_only: config.outbound.https_only,
        divert_to: config.outbound.divert_to.clone(),
        timeout,
    };
    Channels::new(tidings_channels::Config { smtp, sms, webhook, outbound }).map_err(|error| match error {
        ConfigError::Tls(_) | ConfigError::NoTlsProvider => anyhow::Error::new(error),
        setting => config::Error::new(setting.to_string()).into(),
    })
}

/// The secret that webhooks are signed with: as configured, or made once and kept.
fn webhook_secret(config: &Config) -> anyhow::Result<webhook::Secret> {
    let path = config.data.join(WEBHOOK_SECRET_FILE);
    let (name, secret) = match &config.channels.webhook_secret {
        Some(secret) => ("WEBHOOK_SECRET".to_owned(), secret.clone()),
        None => (path.display().to_string(), kept(&path, || Ok(webhook::Secret::generate().expose()))?),
    };
    let parsed = webhook::Secret::parse(secret.expose());
    parsed.map_err(|error| config::Error::new(format!("`{name}` is {error}")).into())
}

fn services(config: &Config, ports: &Ports, store: &Arc<SqliteStore>) -> anyhow::Result<Services> {
    let secret = config.auth.jwt_secret.as_ref().ok_or_else(|| config::Error::new("`JWT_SECRET` is not set"))?;
    Ok(Services {
        submitter: Submitter {
            sender: ports.sender.clone(),
            catalog: ports.catalog.clone(),
            intake: ports.intake.clone(),
            broker: ports.broker.clone(),
            clock: ports.clock.clone(),
            ids: ports.ids.clone(),
            key_ttl: config.key_ttl(),
            witness: None,
        },
        follower: Follower { history: store.clone(), clock: ports.clock.clone() },
        reviewer: Reviewer {
            dead_letters: ports.dead_letters.clone(),
            catalog: ports.catalog.clone(),
            sender: ports.sender.clone(),
            broker: ports.broker.clone(),
            clock: ports.clock.clone(),
            ids: ports.ids.clone(),
        },
        users: Users { catalog: ports.catalog.clone(), upkeep: ports.upkeep.clone(), clock: ports.clock.clone() },
        catalog: ports.catalog.clone(),
        streams: store.clone(),
        upkeep: ports.upkeep.clone(),
        clock: ports.clock.clone(),
        token_clock: Arc::new(WallClock),
        keys: Arc::new(token::Keys::new(secret.expose().as_bytes(), config.auth.require_expiry)),
    })
}

/// What the engine is told.
pub(crate) fn engine_config(config: &Config) -> tidings_engine::Config {
    tidings_engine::Config {
        concurrency: config.delivery.concurrency,
        per_destination: config.delivery.per_destination,
        attempt_timeout: config.delivery.attempt_timeout,
        policies: config.policies.clone(),
        breaker: breaker::Settings::default(),
        retention: config.retention.clone(),
        sweep_every: SWEEP_EVERY,
        automatic_redrive: config.delivery.automatic_redrive,
        events_url: plain(config.delivery.events_url.as_ref()),
        alerts: alerts::Config {
            pending: config.alerts.pending,
            age: config.alerts.age,
            every: config.alerts.every,
            webhook_url: plain(config.alerts.webhook_url.as_ref()),
            email: config.alerts.email.clone(),
        },
    }
}

fn plain(secret: Option<&config::Secret>) -> Option<String> {
    secret.map(|secret| secret.expose().to_owned())
}

/// What the API is told.
pub(crate) fn api_config(config: &Config) -> tidings_api::Config {
    tidings_api::Config {
        max_body_bytes: config.server.body_limit,
        max_batch_body_bytes: config.server.body_limit.max(BATCH_BODY),
        registration: config.auth.registration,
        token_ttl: config.auth.token_ttl,
        trusted_proxies: config.server.trusted_proxies.clone(),
        metrics: config.server.metrics_addr.is_none(),
    }
}

/// Brings the store of a directory up to date; it must not be in use.
pub(crate) fn migrate(data_dir: &Path) -> anyhow::Result<Migrated> {
    prepare_data_dir(data_dir)?;
    Ok(sqlite::migrate(data_dir)?)
}

/// Copies the store of a directory to a file; it may be in use.
pub(crate) fn back_up(data_dir: &Path, target: &Path, progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<()> {
    Ok(backup::run(data_dir, target, progress)?)
}
