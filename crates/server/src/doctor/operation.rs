//! How delivery gets on: the queue, the dead letters, the clock. Read from the running server; without one, from the
//! store itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidings_api::token::{Claims, Keys, SCOPE_ADMIN};
use tidings_channels::webhook;
use tidings_core::id::MessageId;
use tidings_core::time::{SystemClock, Timestamp};
use tidings_store::sqlite::{self, SCHEMA_VERSION};

use crate::config::{Channels, Config, JWT_SECRET_FILE, Secret, random, read};
use crate::doctor::finding::Finding;
use crate::doctor::scene::{Port, Scene};
use crate::wiring;

/// Notifications that have been due for longer than this are not being worked on as they should.
const STUCK: Duration = Duration::from_mins(5);
/// Clocks that are further apart than this disagree.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);
/// How long the token is valid that asks the running server.
const TOKEN_SECONDS: i64 = 60;

/// How delivery gets on, as far as it can be found out.
#[derive(Default)]
pub(crate) struct Operation {
    runs: bool,
    queued: Option<u64>,
    oldest_due: Option<Duration>,
    dead_letters: Option<u64>,
    oldest_dead_letter: Option<Duration>,
    newest: Option<MessageId>,
    server_time: Option<Timestamp>,
}

impl Operation {
    pub(crate) async fn observe(scene: &Scene<'_>) -> Self {
        match &scene.port {
            Port::Tidings(server) => {
                let time = server
                    .health
                    .json()
                    .get("timestamp")
                    .and_then(Value::as_str)
                    .and_then(|text| Timestamp::parse(text).ok());
                let known = ask_server(scene, time.unwrap_or(scene.now)).await;
                Self { runs: true, server_time: time, ..known.unwrap_or_default() }
            }
            _ if scene.is_in_use() => Self::default(),
            _ => ask_store(scene).await.unwrap_or_default(),
        }
    }

    /// Whether the clock goes right.
    pub(crate) fn clock(&self, now: Timestamp) -> Finding {
        const CHECK: &str = "clock";
        let ahead = |time: &Timestamp| time.since(now) > CLOCK_TOLERANCE;
        if let Some(time) = self.server_time.filter(|time| ahead(time) || now.since(*time) > CLOCK_TOLERANCE) {
            return Finding::warn(
                CHECK,
                format!("it is {now}, but {time} for the server"),
                "somebody moved the clock of `tidings dev`, or that of this machine",
            );
        }
        if let Some(time) = self.newest.map(MessageId::instant).filter(ahead) {
            let found = format!("it is {now}, but the newest notification was accepted at {time}");
            return Finding::warn(
                CHECK,
                found,
                "the clock of this machine went back (`timedatectl`), or somebody moved that of `tidings dev`; what is due then waits until then",
            );
        }
        Finding::ok(CHECK, format!("it is {now}"))
    }

    /// Whether what is due is sent.
    pub(crate) fn queue(&self) -> Finding {
        const CHECK: &str = "queue";
        let Some(queued) = self.queued else {
            return Finding::ok(CHECK, self.unknown());
        };
        let waiting = self.oldest_due.unwrap_or_default();
        let found = format!("{queued} waiting, the longest due for {} s", waiting.as_secs());
        match (self.runs, queued) {
            (_, 0) => Finding::ok(CHECK, "nothing is waiting"),
            (false, _) => Finding::warn(CHECK, found, "start the server: nothing is sent without it"),
            (true, _) if waiting > STUCK => {
                let remedy = "a destination is down or slow (see the attempts: GET /api/notifications?status=pending), or more arrives than WORKER_CONCURRENCY can send";
                Finding::warn(CHECK, found, remedy)
            }
            (true, _) => Finding::ok(CHECK, found),
        }
    }

    /// Whether somebody has to decide about dead letters.
    pub(crate) fn dead_letters(&self) -> Finding {
        const CHECK: &str = "dead letters";
        match self.dead_letters {
            None => Finding::ok(CHECK, self.unknown()),
            Some(0) => Finding::ok(CHECK, "none is waiting for a decision"),
            Some(count) => {
                let oldest = self.oldest_dead_letter.unwrap_or_default();
                let found = format!("{count} waiting for a decision, the oldest for {} min", oldest.as_secs() / 60);
                Finding::warn(
                    CHECK,
                    found,
                    "`tidings dlq list` shows why each died; then `tidings dlq redrive` or `tidings dlq discard`",
                )
            }
        }
    }

    fn unknown(&self) -> &'static str {
        if self.runs {
            "not known: the server shows its metrics only to a token of its own JWT_SECRET"
        } else {
            "not known without a server that answers, or a store that is free"
        }
    }
}

async fn ask_server(scene: &Scene<'_>, server_time: Timestamp) -> Option<Operation> {
    let token = admin_token(scene.config, server_time)?;
    let metrics = scene.ask("/metrics", &token).await.filter(|reply| reply.status == 200)?;
    let gauge = |name: &str| gauge(&metrics.body, name);
    let seconds = |name: &str| gauge(name).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let count = |name: &str| seconds(name).map(|whole| whole.as_secs());
    let latest = scene.ask("/api/notifications?limit=1", &token).await.map(|reply| reply.json());
    Some(Operation {
        queued: count("queue_depth"),
        oldest_due: seconds("oldest_due_seconds"),
        dead_letters: count("dead_letters_pending"),
        oldest_dead_letter: seconds("oldest_dead_letter_seconds"),
        newest: latest.as_ref().and_then(|page| page.pointer("/items/0/messageId")?.as_str()?.parse().ok()),
        ..Operation::default()
    })
}

/// A token for a minute, by the clock of the server: that of `tidings dev` can be moved.
fn admin_token(config: &Config, now: Timestamp) -> Option<String> {
    let kept = || read(&config.data.join(JWT_SECRET_FILE)).ok().flatten();
    let secret = config.auth.jwt_secret.clone().or_else(kept)?;
    let issued = now.as_seconds();
    let claims = Claims {
        username: Some("doctor".to_owned()),
        scope: Some(SCOPE_ADMIN.to_owned()),
        iat: Some(issued),
        exp: Some(issued + TOKEN_SECONDS),
        ..Claims::default()
    };
    Keys::new(secret.expose().as_bytes(), true).issue(&claims).ok()
}

/// The value of a metric without labels.
fn gauge(exposition: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    exposition.lines().find_map(value)
}

/// Opens the store as the server would, but only where that changes nothing: it is there, free and of our schema.
async fn ask_store(scene: &Scene<'_>) -> Option<Operation> {
    let data = scene.config.data.clone();
    let version = tokio::task::spawn_blocking(move || sqlite::schema_version(&data)).await.ok()?;
    if version != Ok(Some(SCHEMA_VERSION)) {
        return None;
    }
    let parts = wiring::assemble(&bare(scene.config)?, Arc::new(SystemClock::default()), false).await.ok()?;
    let stats = parts.ports.upkeep.stats().await.ok();
    parts.store.close().await;
    let stats = stats?;
    let age = |since: Option<Timestamp>| since.map(|since| scene.now.since(since));
    Some(Operation {
        queued: Some(stats.queued + stats.leased),
        oldest_due: age(stats.oldest_due),
        dead_letters: Some(stats.dead_letters_pending),
        oldest_dead_letter: age(stats.oldest_dead_letter),
        // The next id follows the newest one stored, whatever the clock says.
        newest: Some(parts.ports.ids.next(Timestamp::EPOCH)),
        ..Operation::default()
    })
}

/// The configuration without anything that could be wrong with it, or be made and kept, beside the store.
fn bare(config: &Config) -> Option<Config> {
    let mut bare = config.clone();
    bare.auth.jwt_secret = Some(Secret::new(random().ok()?));
    bare.channels =
        Channels { smtp: None, sms: None, webhook_secret: Some(Secret::new(webhook::Secret::generate().expose())) };
    Some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_store_from_the_future_is_told() {
        let newest = Some(MessageId::floor(NOW + Duration::from_hours(1)));
        assert_eq!(Operation { newest, ..Operation::default() }.clock(NOW).verdict, Verdict::Warn);
        let newest = Some(MessageId::floor(NOW));
        assert_eq!(Operation { newest, ..Operation::default() }.clock(NOW).verdict, Verdict::Ok);
    }

    #[test]
    fn a_server_with_another_clock_is_told() {
        let operation = |time| Operation { runs: true, server_time: Some(time), ..Operation::default() };
        assert_eq!(operation(NOW + Duration::from_mins(1)).clock(NOW).verdict, Verdict::Warn);
        assert_eq!(operation(NOW - Duration::from_mins(1)).clock(NOW).verdict, Verdict::Warn);
        assert_eq!(operation(NOW).clock(NOW).verdict, Verdict::Ok);
    }

    #[test]
    fn work_that_nobody_does_is_told() {
        let operation = |runs, minutes| Operation {
            runs,
            queued: Some(3),
            oldest_due: Some(Duration::from_mins(minutes)),
            ..Operation::default()
        };
        assert_eq!(operation(true, 1).queue().verdict, Verdict::Ok);
        assert_eq!(operation(true, 6).queue().verdict, Verdict::Warn);
        assert_eq!(operation(false, 1).queue().verdict, Verdict::Warn);
    }

    #[test]
    fn a_gauge_is_found_by_its_whole_name() {
        let exposition = "# TYPE queue_depth gauge\nqueue_depth_total 9\nqueue_depth 4\noldest_due_seconds 1.5\n";
        assert_eq!(gauge(exposition, "queue_depth"), Some(4.0));
        assert_eq!(gauge(exposition, "oldest_due_seconds"), Some(1.5));
        assert_eq!(gauge(exposition, "queue"), None);
    }
}
