//! The table of all settings. What the program reads, what `tidings config` prints and what the reference says all come
//! from here.

use std::time::Duration;

use super::kind::Kind;

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its path in the TOML file and for `--set`.
    pub(crate) path: &'static str,
    /// Its environment variable.
    pub(crate) variable: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What it is unless told otherwise.
    pub(crate) default: Standard,
    /// Whether its value is never shown.
    pub(crate) secret: bool,
    /// What it does, as sentences.
    pub(crate) doc: &'static str,
}

/// What holds when nobody says anything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standard {
    /// This value.
    Is(&'static str),
    /// Nothing.
    Unset,
    /// It depends; the text says on what.
    Depends(&'static str),
}

impl Setting {
    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// Variables that are no settings but belong to us: clients of the API read them.
pub(crate) const OTHER_VARIABLES: [&str; 1] = ["TIDINGS_TOKEN"];

/// Variables with this prefix are ours: one that means nothing is a mistake.
pub(crate) const OUR_PREFIX: &str = "TIDINGS_";

const CENTURY: Duration = Duration::from_hours(24 * 36_500);
const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(10);

const ENVIRONMENTS: Kind = Kind::Choice(&["development", "production"]);
const LEVELS: Kind = Kind::Choice(&["error", "warn", "info", "debug", "trace"]);
const FORMATS: Kind = Kind::Choice(&["auto", "json", "pretty"]);
const COMPATIBILITIES: Kind = Kind::Choice(&["strict", "seed"]);
const WEB: Kind = Kind::Url(&["http", "https"]);
const ONE_TO_MANY: Kind = Kind::Whole(1, 10_000);
const KEPT: Kind = Kind::Time(SECOND, CENTURY);

const fn is(
    path: &'static str,
    variable: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { path, variable, kind, default: Standard::Is(default), secret: false, doc }
}

const fn unset(path: &'static str, variable: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { path, variable, kind, default: Standard::Unset, secret: false, doc }
}

const fn depends(
    path: &'static str,
    variable: &'static str,
    kind: Kind,
    on: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { path, variable, kind, default: Standard::Depends(on), secret: false, doc }
}

/// All settings, in the order of the documentation.
#[rustfmt::skip]
pub(crate) static SETTINGS: &[Setting] = &[
    is("environment", "NODE_ENV", ENVIRONMENTS, "development",
        "`production` refuses weak secrets and tokens that never expire."),
    is("data", "TIDINGS_DATA", Kind::Folder, "./tidings-data",
        "Where everything is stored: the database, and the secrets that Tidings makes itself. Used by one process at a time."),

    is("server.bind", "TIDINGS_BIND", Kind::Address, "127.0.0.1",
        "The address to listen on. The default is reachable from this machine only; `0.0.0.0` or `::` is reachable from everywhere."),
    is("server.port", "API_PORT", Kind::Whole(0, 65_535), "8080",
        "The port to listen on. 0 takes any that is free."),
    is("server.body_limit", "BODY_LIMIT", Kind::Size(1 << 10, 64 << 20), "256 KiB",
        "The largest body of a request, enforced while it is read. Batches may be as large as this or 8 MiB, whichever is more."),
    is("server.connection_limit", "CONNECTION_LIMIT", Kind::Whole(1, 1_000_000), "10000",
        "How many connections are served at once. More wait until one closes. Fewer are served where the process may not open as many files."),
    depends("server.connections_per_peer", "CONNECTIONS_PER_PEER", Kind::Whole(1, 1_000_000), "a quarter of `CONNECTION_LIMIT`, but no less than 1000",
        "How many of these one peer may have: an IPv4 address, or a /64 network of IPv6. More are closed at once. Behind a proxy all connections have the address of the proxy: then give as many as it needs."),
    unset("server.trusted_proxies", "TRUSTED_PROXIES", Kind::Networks,
        "The proxies in front of this server. Only they are believed when they say in `X-Forwarded-For` whom a request comes from, which limits on logins go by."),
    unset("server.metrics_addr", "METRICS_ADDR", Kind::Endpoint,
        "Where `GET /metrics` is served without a token: an address that only those reach who may read them, such as `127.0.0.1:9464`. While it is set, the main port has no `/metrics`."),
    is("server.shutdown_timeout", "SHUTDOWN_TIMEOUT", Kind::Time(Duration::ZERO, Duration::from_hours(1)), "30s",
        "How long a stopping server finishes what it has begun. What is left after that stays in the store and is done after the next start."),

    is("log.level", "LOG_LEVEL", LEVELS, "info",
        "The least important lines that are written."),
    is("log.format", "LOG_FORMAT", FORMATS, "auto",
        "`json` writes one JSON object per line, `pretty` writes for people. `auto` is `pretty` on a terminal in development, `json` otherwise."),

    unset("auth.jwt_secret", "JWT_SECRET", Kind::Text,
        "The secret that signs and verifies tokens (HS256). Required by `serve`; in production at least 32 bytes and not a well-known sample. `dev` makes one and keeps it in the data directory.").secret(),
    depends("auth.jwt_compat", "JWT_COMPAT", COMPATIBILITIES, "`seed` in development, `strict` in production",
        "`strict` accepts only tokens that expire (`exp`). `seed` also accepts tokens with the claims `userId`, `username` and `iat` alone."),
    is("auth.token_ttl", "TOKEN_TTL", Kind::Time(SECOND, CENTURY), "24h",
        "How long the tokens of `POST /api/auth/login`, `POST /api/auth/register` and `tidings token` are valid."),
    depends("auth.registration", "REGISTRATION", Kind::Flag, "`true` in development, `false` in production",
        "Whether anybody may create a user for themselves with `POST /api/auth/register`."),

    is("delivery.concurrency", "WORKER_CONCURRENCY", ONE_TO_MANY, "10",
        "How many attempts run at once."),
    is("delivery.per_destination", "PER_DESTINATION", ONE_TO_MANY, "16",
        "How many attempts to one destination (a host, a relay, an account) run at once."),
    is("delivery.attempt_timeout", "ATTEMPT_TIMEOUT", Kind::Time(TICK, Duration::from_hours(1)), "30s",
        "How long one attempt may take."),
    is("delivery.max_retries", "MAX_RETRIES", Kind::Whole(0, 1000), "3",
        "How many retries follow the first attempt before a notification becomes a dead letter."),
    is("delivery.retry_schedule", "RETRY_SCHEDULE", Kind::Times, "2s,10s,60s",
        "The delays before the first, second, ... retry; the last one repeats. Each is moved by up to a fifth at random. A `Retry-After` of the provider lengthens it."),
    is("delivery.auto_redrive", "AUTO_REDRIVE", Kind::Flag, "false",
        "Whether dead letters are sent anew by themselves: after 60 s, then after twice as long each time, five times."),
    unset("delivery.events_url", "EVENTS_URL", WEB,
        "Where a signed event is posted whenever a notification is delivered or becomes a dead letter.").secret(),

    is("idempotency.ttl", "IDEMPOTENCY_TTL", KEPT, "24h",
        "How long idempotency keys are kept. Never shorter than the longest time that a notification can be retried."),

    unset("channels.smtp.url", "SMTP_URL", Kind::Url(&["smtp", "smtps"]),
        "The mail relay: `smtp://user:password@host:587?tls=required`, with `tls` being `required`, `opportunistic` or `none`; or `smtps://host`. Without it, the channel `email` is not configured.").secret(),
    unset("channels.smtp.from", "SMTP_FROM", Kind::Mailbox,
        "Who e-mails come from: `news@example.com` or `News <news@example.com>`. Required with `SMTP_URL`."),
    is("channels.sms.base_url", "SMS_BASE_URL", WEB, "https://api.twilio.com",
        "Where the SMS API is: Twilio, or anything that speaks like it."),
    unset("channels.sms.account_sid", "SMS_ACCOUNT_SID", Kind::Text,
        "The account at the SMS provider. Without it, the channel `sms` is not configured."),
    unset("channels.sms.auth_token", "SMS_AUTH_TOKEN", Kind::Text,
        "The password of the account. Required with `SMS_ACCOUNT_SID`.").secret(),
    unset("channels.sms.from", "SMS_FROM", Kind::Text,
        "The number or name that text messages come from. Required with `SMS_ACCOUNT_SID`."),
    depends("channels.webhook.secret", "WEBHOOK_SECRET", Kind::Text, "made at the first start and kept in `webhook.secret` in the data directory",
        "What webhooks and events are signed with (Standard Webhooks): `whsec_` and 24 to 64 bytes in Base64.").secret(),

    unset("outbound.allow", "OUTBOUND_ALLOW", Kind::Networks,
        "Networks that webhooks may reach although they are private. By default only public addresses are reached."),
    unset("outbound.divert_to", "OUTBOUND_DIVERT_TO", WEB,
        "Where webhooks are posted instead, as `<this URL>/<host>/<path>`, unless their address is in an allowed network: a catcher on staging. `tidings dev` sets its own."),
    is("outbound.https_only", "OUTBOUND_HTTPS_ONLY", Kind::Flag, "false",
        "Whether webhooks are sent to `https` addresses only."),

    is("alerts.pending", "ALERT_PENDING", Kind::OrOff(&Kind::Whole(1, 1_000_000_000)), "100",
        "Raises an alert when more dead letters than this wait for a decision."),
    is("alerts.age", "ALERT_AGE", Kind::OrOff(&Kind::Time(SECOND, CENTURY)), "24h",
        "Raises an alert when a dead letter has waited longer than this for a decision."),
    is("alerts.every", "ALERT_EVERY", Kind::Time(TICK, CENTURY), "1m",
        "How often dead letters are compared with these thresholds."),
    unset("alerts.webhook_url", "ALERT_WEBHOOK_URL", WEB,
        "Where alerts are posted, besides the log and the metrics.").secret(),
    unset("alerts.email", "ALERT_EMAIL", Kind::Email,
        "Who gets alerts by e-mail. Needs `SMTP_URL`."),

    is("retention.undelivered", "RETENTION_UNDELIVERED", KEPT, "90d",
        "How long notifications are kept that were not delivered."),
    is("retention.delivered", "RETENTION_DELIVERED", KEPT, "7d",
        "How long notifications are kept that were delivered and not read."),
    is("retention.read", "RETENTION_READ", KEPT, "3d",
        "How long notifications are kept that were read."),

    is("storage.min_free_disk", "MIN_FREE_DISK", Kind::Size(0, 1 << 50), "256 MiB",
        "With less free space than this, new notifications are refused (507), so that the ones already accepted can still be delivered."),

    unset("reserved.database_url", "DATABASE_URL", Kind::Text,
        "Reserved for PostgreSQL. This version stores in the data directory only, and `serve` refuses to start while this is set.").secret(),
    unset("reserved.rabbitmq_url", "RABBITMQ_URL", Kind::Text,
        "Reserved for RabbitMQ. `serve` refuses to start while this is set.").secret(),
    unset("reserved.redis_url", "REDIS_URL", Kind::Text,
        "Reserved for Redis. `serve` refuses to start while this is set.").secret(),
    unset("reserved.queue_name", "QUEUE_NAME", Kind::Text,
        "Used by the RabbitMQ engine; has no effect on the embedded one."),
    unset("reserved.dlq_name", "DLQ_NAME", Kind::Text,
        "Used by the RabbitMQ engine; has no effect on the embedded one."),
];

/// The setting with this path.
pub(crate) fn by_path(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// The setting with this variable.
pub(crate) fn by_variable(variable: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variable == variable)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_setting_is_unique_documented_and_has_a_good_default() {
        let mut seen = HashSet::new();
        for setting in SETTINGS {
            assert!(seen.insert(setting.path) && seen.insert(setting.variable), "{} appears twice", setting.path);
            assert!(setting.doc.ends_with('.'), "{}", setting.path);
            if let Standard::Is(default) = setting.default {
                assert!(setting.kind.parse(default).is_some(), "{} = {default}", setting.path);
            }
        }
    }

    #[test]
    fn the_names_and_defaults_of_the_seed_hold() {
        let seed = [
            ("API_PORT", "8080"),
            ("NODE_ENV", "development"),
            ("LOG_LEVEL", "info"),
            ("MAX_RETRIES", "3"),
            ("WORKER_CONCURRENCY", "10"),
        ];
        for (variable, expected) in seed {
            let default = by_variable(variable).unwrap().default;
            assert!(matches!(default, Standard::Is(text) if text == expected), "{variable}");
        }
    }
}
