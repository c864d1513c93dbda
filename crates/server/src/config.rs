//! Configuration: one table of settings, five layers, one typed result.
//!
//! The layers, later ones win: defaults, `.env`, TOML file, environment variables, flags. Whatever is unknown or not
//! allowed is refused with its name and with what would be right; nothing is guessed or ignored.

mod document;
mod dotenv;
mod error;
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod kind;
mod policies;
mod resolve;
mod secret;
mod settings;
mod show;
mod sources;
#[cfg(test)]
mod tests;
mod units;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tidings_core::{idempotency, retention, retry};
use url::Url;

pub use error::Error;
use resolve::Values;
pub use secret::{Secret, kept, prepare_data_dir, random, read};
pub use show::{configuration_markdown, env_example};
pub use sources::{Files, Sources};

/// The file of the token secret that `tidings dev` makes, in the data directory.
pub const JWT_SECRET_FILE: &str = "jwt.secret";
/// The file of the webhook secret that is made at the first start, in the data directory.
pub const WEBHOOK_SECRET_FILE: &str = "webhook.secret";

/// Everything that can be configured.
#[derive(Clone)]
pub struct Config {
    /// How strict to be.
    pub environment: Environment,
    /// The data directory.
    pub data: PathBuf,
    /// The HTTP server.
    pub server: Server,
    /// Logs.
    pub log: Log,
    /// Tokens.
    pub auth: Auth,
    /// Attempts.
    pub delivery: Delivery,
    /// When to try again.
    pub policies: retry::Policies,
    /// How long idempotency keys are kept, as configured.
    pub idempotency_ttl: Duration,
    /// The channels.
    pub channels: Channels,
    /// Where webhooks may go.
    pub outbound: Outbound,
    /// Alerts about dead letters.
    pub alerts: Alerts,
    /// How long notifications are kept.
    pub retention: retention::Policy,
    /// Accepting stops below this many free bytes.
    pub min_free_disk: u64,
    values: Values,
}

/// How strict to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Weak secrets are warned about.
    Development,
    /// Weak secrets are refused.
    Production,
}

/// The HTTP server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on; 0 is any.
    pub port: u16,
    /// The largest body in bytes.
    pub body_limit: usize,
    /// The most connections at once.
    pub connections: usize,
    /// The most connections of one peer, where that is configured.
    pub connections_per_peer: Option<usize>,
    /// The proxies that are believed about whom a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// Where metrics are served by themselves.
    pub metrics_addr: Option<SocketAddr>,
    /// How long a stopping server finishes what it has begun.
    pub shutdown_timeout: Duration,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// The least important level.
    pub level: tracing::Level,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal in development, else JSON.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// Tokens.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The secret that signs them.
    pub jwt_secret: Option<Secret>,
    /// Whether a token has to expire.
    pub require_expiry: bool,
    /// How long new tokens are valid.
    pub token_ttl: Duration,
    /// Whether anybody may register.
    pub registration: bool,
}

/// Attempts.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// How many run at once.
    pub concurrency: usize,
    /// How many to one destination run at once.
    pub per_destination: usize,
    /// How long one may take.
    pub attempt_timeout: Duration,
    /// Whether dead letters are sent anew by themselves.
    pub automatic_redrive: bool,
    /// Where operational events are posted.
    pub events_url: Option<Secret>,
}

/// The channels that need configuration.
#[derive(Clone, Debug)]
pub struct Channels {
    /// The mail relay.
    pub smtp: Option<Smtp>,
    /// The SMS API.
    pub sms: Option<Sms>,
    /// What webhooks are signed with; made at the first start unless set.
    pub webhook_secret: Option<Secret>,
}

/// A mail relay.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Its URL, which may hold a password.
    pub url: Secret,
    /// Who e-mails come from.
    pub from: String,
}

/// An SMS API.
#[derive(Clone, Debug)]
pub struct Sms {
    /// Where it is.
    pub base_url: String,
    /// The account.
    pub account_sid: String,
    /// The password of the account.
    pub auth_token: Secret,
    /// Who text messages come from.
    pub from: String,
}

/// Where webhooks may go.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Private networks that are allowed.
    pub allow: Vec<IpNet>,
    /// Whether only `https` is allowed.
    pub https_only: bool,
    /// Where webhooks go instead that would leave the allowed networks.
    pub divert_to: Option<Url>,
}

/// Alerts about dead letters.
#[derive(Clone, Debug)]
pub struct Alerts {
    /// More than this many pending.
    pub pending: Option<u64>,
    /// Pending for longer than this.
    pub age: Option<Duration>,
    /// How often that is looked at.
    pub every: Duration,
    /// Where alerts are posted.
    pub webhook_url: Option<Secret>,
    /// Who gets them by e-mail.
    pub email: Option<String>,
}

impl Config {
    /// Makes a configuration, or says everything that is wrong with the sources.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let values = Values::resolve(sources)?;
        let default = values.default_policy()?;
        Ok(Self {
            environment: match values.get::<String>("environment")?.as_str() {
                "production" => Environment::Production,
                _ => Environment::Development,
            },
            data: values.get("data")?,
            server: server(&values)?,
            log: log(&values)?,
            auth: auth(&values)?,
            delivery: delivery(&values)?,
            policies: retry::Policies { rules: values.rules.clone(), default },
            idempotency_ttl: values.get("idempotency.ttl")?,
            channels: channels(&values)?,
            outbound: Outbound {
                allow: values.find("outbound.allow").unwrap_or_default(),
                https_only: values.get("outbound.https_only")?,
                divert_to: values.find::<String>("outbound.divert_to").and_then(|url| Url::parse(&url).ok()),
            },
            alerts: alerts(&values)?,
            retention: retention::Policy {
                undelivered: values.get("retention.undelivered")?,
                delivered: values.get("retention.delivered")?,
                read: values.get("retention.read")?,
            },
            min_free_disk: values.get("storage.min_free_disk")?,
            values,
        })
    }

    /// How long idempotency keys are kept: never shorter than a notification can be retried.
    pub fn key_ttl(&self) -> Duration {
        idempotency::ttl(self.idempotency_ttl, self.policies.longest_window())
    }

    /// What stands in the way of `serve`; otherwise what its operator should know.
    pub fn check_for_serving(&self) -> Result<Vec<String>, Error> {
        let mut complaints: Vec<String> = self.unsupported_engines();
        let mut warnings = Vec::new();
        match self.auth.jwt_secret.as_ref().map(Secret::weakness) {
            None => complaints.push(
                "`JWT_SECRET` is not set, and nobody could log in; set it to at least 32 random bytes, such as the output of \
                 `openssl rand -base64 32` (`tidings dev` makes one itself)"
                    .to_owned(),
            ),
            Some(Some(why)) if self.is_exposed() => complaints.push(format!(
                "`JWT_SECRET` is too weak for production, or for a server that others can reach: {why}; use at least 32 random bytes, such as the output of `openssl rand -base64 32`"
            )),
            Some(Some(why)) => warnings.push(format!("JWT_SECRET is weak: {why}. Production would refuse it")),
            Some(None) => {}
        }
        for (path, variable) in [("reserved.queue_name", "QUEUE_NAME"), ("reserved.dlq_name", "DLQ_NAME")] {
            if self.values.entry(path).is_some() {
                warnings
                    .push(format!("{variable} is used by the RabbitMQ engine and has no effect on the embedded one"));
            }
        }
        Error::unless_empty(complaints)?;
        Ok(warnings)
    }

    /// Whether others than the people at this machine depend on it.
    fn is_exposed(&self) -> bool {
        self.environment == Environment::Production || !self.server.bind.is_loopback()
    }

    fn unsupported_engines(&self) -> Vec<String> {
        let reserved = [
            ("reserved.database_url", "DATABASE_URL", "PostgreSQL"),
            ("reserved.rabbitmq_url", "RABBITMQ_URL", "RabbitMQ"),
            ("reserved.redis_url", "REDIS_URL", "Redis"),
        ];
        let set = reserved.into_iter().filter_map(|(path, variable, engine)| {
            let origin = self.values.entry(path)?.origin;
            Some(format!(
                "`{variable}` ({origin}) is set, but this version has no {engine} engine: it stores in the data directory and needs no \
                 other server; unset {variable}"
            ))
        });
        set.collect()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("environment", &self.environment)
            .field("data", &self.data)
            .field("server", &self.server)
            .field("log", &self.log)
            .field("auth", &self.auth)
            .field("delivery", &self.delivery)
            .field("policies", &self.policies)
            .field("channels", &self.channels)
            .field("outbound", &self.outbound)
            .field("alerts", &self.alerts)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// Reads a duration such as `30m`, `24h` or `30d` from the command line.
pub(crate) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let kind = kind::Kind::Time(Duration::from_secs(1), Duration::from_hours(24 * 36_500));
    let time = kind.parse(text).as_ref().and_then(kind::FromValue::from_value);
    time.ok_or_else(|| format!("give {}", kind.allowed()))
}

fn server(values: &Values) -> Result<Server, Error> {
    Ok(Server {
        bind: values.get("server.bind")?,
        port: values.get("server.port")?,
        body_limit: values.get("server.body_limit")?,
        connections: values.get("server.connection_limit")?,
        connections_per_peer: values.find("server.connections_per_peer"),
        trusted_proxies: values.find("server.trusted_proxies").unwrap_or_default(),
        metrics_addr: values.find("server.metrics_addr"),
        shutdown_timeout: values.get("server.shutdown_timeout")?,
    })
}

fn log(values: &Values) -> Result<Log, Error> {
    let level = values.get::<String>("log.level")?;
    let format = match values.get::<String>("log.format")?.as_str() {
        "json" => LogFormat::Json,
        "pretty" => LogFormat::Pretty,
        _ => LogFormat::Auto,
    };
    Ok(Log { level: level.parse().unwrap_or(tracing::Level::INFO), format })
}

fn auth(values: &Values) -> Result<Auth, Error> {
    Ok(Auth {
        jwt_secret: secret(values, "auth.jwt_secret"),
        require_expiry: values.get::<String>("auth.jwt_compat")? == "strict",
        token_ttl: values.get("auth.token_ttl")?,
        registration: values.get("auth.registration")?,
    })
}

fn delivery(values: &Values) -> Result<Delivery, Error> {
    Ok(Delivery {
        concurrency: values.get("delivery.concurrency")?,
        per_destination: values.get("delivery.per_destination")?,
        attempt_timeout: values.get("delivery.attempt_timeout")?,
        automatic_redrive: values.get("delivery.auto_redrive")?,
        events_url: secret(values, "delivery.events_url"),
    })
}

fn channels(values: &Values) -> Result<Channels, Error> {
    let smtp = match (secret(values, "channels.smtp.url"), values.find("channels.smtp.from")) {
        (Some(url), Some(from)) => Some(Smtp { url, from }),
        (None, None) => None,
        (Some(_), None) => return Err(Error::new("`SMTP_URL` is set without `SMTP_FROM`; say who e-mails come from")),
        (None, Some(_)) => {
            return Err(Error::new("`SMTP_FROM` is set without `SMTP_URL`; say which relay takes e-mails"));
        }
    };
    Ok(Channels { smtp, sms: sms(values)?, webhook_secret: secret(values, "channels.webhook.secret") })
}

fn sms(values: &Values) -> Result<Option<Sms>, Error> {
    let account_sid = values.find("channels.sms.account_sid");
    let auth_token = secret(values, "channels.sms.auth_token");
    let from = values.find("channels.sms.from");
    match (account_sid, auth_token, from) {
        (Some(account_sid), Some(auth_token), Some(from)) => {
            Ok(Some(Sms { base_url: values.get("channels.sms.base_url")?, account_sid, auth_token, from }))
        }
        (None, None, None) => Ok(None),
        _ => {
            Err(Error::new("`SMS_ACCOUNT_SID`, `SMS_AUTH_TOKEN` and `SMS_FROM` belong together; set all three or none"))
        }
    }
}

fn alerts(values: &Values) -> Result<Alerts, Error> {
    let alerts = Alerts {
        pending: values.find("alerts.pending"),
        age: values.find("alerts.age"),
        every: values.get("alerts.every")?,
        webhook_url: secret(values, "alerts.webhook_url"),
        email: values.find("alerts.email"),
    };
    if alerts.email.is_some() && values.entry("channels.smtp.url").is_none() {
        return Err(Error::new("`ALERT_EMAIL` is set without `SMTP_URL`; say which relay takes e-mails"));
    }
    Ok(alerts)
}

fn secret(values: &Values, path: &'static str) -> Option<Secret> {
    values.find::<String>(path).map(Secret::new)
}
