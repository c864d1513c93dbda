//! What the handlers share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use moka::sync::Cache;

use tidings_core::error::Problem;
use tidings_core::id::TenantId;
use tidings_core::ports::{Catalog, Streams, Upkeep};
use tidings_core::routing::is_word;
use tidings_core::services::follow::Follower;
use tidings_core::services::redrive::Reviewer;
use tidings_core::services::submit::Submitter;
use tidings_core::services::users::Users;
use tidings_core::time::{Clock, Timestamp};

use crate::auth::limits::Limits;
use crate::auth::password::Passwords;
use crate::health::Gate;
use crate::metrics::Metrics;
use crate::token;

/// The name of the tenant of credentials that name none.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// How many tenant names are remembered; those of the busiest tenants stay.
const REMEMBERED_TENANTS: u64 = 10_000;

/// The use cases and ports that the routes call.
#[derive(Clone)]
pub struct Services {
    /// Accepts notifications.
    pub submitter: Submitter,
    /// Reads and cancels notifications.
    pub follower: Follower,
    /// Decides about dead letters.
    pub reviewer: Reviewer,
    /// Creates, changes and erases users.
    pub users: Users,
    /// Tenants and credentials.
    pub catalog: Arc<dyn Catalog>,
    /// Inboxes.
    pub streams: Arc<dyn Streams>,
    /// Whether the store answers.
    pub upkeep: Arc<dyn Upkeep>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The present for tokens: that of those who make them elsewhere, also while the clock of the product is moved.
    pub token_clock: Arc<dyn Clock>,
    /// Signs and verifies tokens.
    pub keys: Arc<token::Keys>,
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Services").finish_non_exhaustive()
    }
}

/// The limits and switches of the interface.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// The largest body of a batch, in bytes.
    pub max_batch_body_bytes: usize,
    /// Whether anybody may create an account with `POST /api/auth/register`.
    pub registration: bool,
    /// How long the tokens of a login last.
    pub token_ttl: Duration,
    /// The proxies that are believed when they say whom a request comes from (`X-Forwarded-For`).
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `GET /metrics` is among the routes. Not where [`metrics_router`](crate::metrics_router) is served beside them.
    pub metrics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body_bytes: 256 * 1024,
            max_batch_body_bytes: 8 * 1024 * 1024,
            registration: false,
            token_ttl: Duration::from_hours(1),
            trusted_proxies: Vec::new(),
            metrics: true,
        }
    }
}

/// Gives the text of `GET /metrics`.
pub(crate) type Exposition = Arc<dyn Fn() -> String + Send + Sync>;

/// The state of the router.
pub(crate) struct Api {
    pub(crate) services: Services,
    pub(crate) config: Config,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exposition: Exposition,
    pub(crate) passwords: Passwords,
    pub(crate) limits: Limits,
    channels: Vec<&'static str>,
    tenants: Cache<String, TenantId>,
}

impl Api {
    pub(crate) fn new(
        services: Services,
        config: Config,
        gate: Arc<Gate>,
        metrics: Arc<Metrics>,
        exposition: Exposition,
    ) -> Self {
        Self {
            channels: services.submitter.sender.channels(),
            services,
            config,
            gate,
            metrics,
            exposition,
            passwords: Passwords::default(),
            limits: Limits::default(),
            tenants: Cache::new(REMEMBERED_TENANTS),
        }
    }

    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    /// The channel of this name, as a label: callers must not be able to invent label values.
    pub(crate) fn channel(&self, name: &str) -> Option<&'static str> {
        self.channels.iter().copied().find(|known| *known == name)
    }

    /// The tenant that a signed token names, made when it is named for the first time; `None` if no tenant can have the
    /// name.
    pub(crate) async fn tenant(&self, name: Option<&str>) -> Result<Option<TenantId>, Problem> {
        let name = match self.known_tenant(name) {
            Ok(known) => return Ok(known),
            Err(unknown) => unknown,
        };
        let tenant = self.services.catalog.tenant(name, self.now()).await?;
        self.tenants.insert(name.to_owned(), tenant);
        Ok(Some(tenant))
    }

    /// The tenant of this name, if there is one. For callers who have not proved anything yet.
    pub(crate) async fn find_tenant(&self, name: Option<&str>) -> Result<Option<TenantId>, Problem> {
        match self.known_tenant(name) {
            Ok(known) => Ok(known),
            Err(unknown) => Ok(self.services.catalog.find_tenant(unknown).await?),
        }
    }

    /// The answer that needs no look at the store, or the name that has to be looked for.
    fn known_tenant<'a>(&self, name: Option<&'a str>) -> Result<Option<TenantId>, &'a str> {
        match name {
            None | Some(DEFAULT_TENANT) => Ok(Some(TenantId::DEFAULT)),
            Some(name) if !is_word(name) => Ok(None),
            Some(name) => self.tenants.get(name).map(Some).ok_or(name),
        }
    }
}
