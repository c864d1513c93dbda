//! What the measurements take, and what they prepare with it.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::value_parser;
use url::Url;
use uuid::Uuid;

use crate::bench::fill::{self, With};
use crate::bench::measured::Window;
use crate::bench::message::{Manner, Message};
use crate::bench::people::People;
use crate::bench::report::{Plan, Report};
use crate::bench::server::Settings;
use crate::bench::target::{Target, Whose};
use crate::config;
use crate::serve::SEED_USERS;

/// What a person said with `--set` or a flag that is short for it: path and value.
pub(crate) type SetFlag = (String, String);

/// Words in the path of a setting whose value is not shown.
const SECRETIVE: [&str; 4] = ["secret", "token", "password", "url"];

/// How hard and how long.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct Load {
    /// How many connections each keep at most one request in flight
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = config::parse_ttl)]
    pub(crate) duration: Duration,
    /// How long to send before measuring
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::parse_ttl)]
    pub(crate) warmup: Duration,
    /// Send this many requests per second whether or not answers come (open loop), with latencies counted from when each
    /// was to be sent; without it each connection waits for its answer (closed loop)
    #[arg(long, value_name = "REQUESTS", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// About how long each payload is
    #[arg(long, value_name = "BYTES", default_value_t = 400, value_parser = value_parser!(u32).range(..=200_000))]
    pub(crate) payload_bytes: u32,
}

/// Who is told, and what is there before.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct Audience {
    /// How many users are told in turn; more than one are created first, which needs a token with the scope admin
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub(crate) users: u64,
    /// Who is told, if it is one [default: the first test user]
    #[arg(long, value_name = "UUID", conflicts_with = "users")]
    pub(crate) user: Option<Uuid>,
    /// Fill the store with this many delivered notifications first
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u64).range(..=100_000_000))]
    pub(crate) preload: u64,
}

/// Which server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Whom {
    /// A running server, instead of one of its own
    #[arg(long, value_name = "URL", requires = "token")]
    url: Option<Url>,
    /// A token for that server
    #[arg(long, value_name = "TOKEN")]
    token: Option<Token>,
    /// A process of that server, to tell what it costs, its children included; can be repeated
    #[arg(long, value_name = "PID", requires = "url")]
    pid: Vec<u32>,
    /// Where the server of its own keeps its data [default: the temporary directory of the system]
    #[arg(long, value_name = "FOLDER", conflicts_with = "url")]
    dir: Option<PathBuf>,
}

/// What becomes of the report.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Print {
    /// Write the report as JSON to this file too; `-` prints it
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Never shown.
#[derive(Clone)]
struct Token(String);

impl FromStr for Token {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(********)")
    }
}

impl Load {
    /// The measured time, from now on.
    pub(crate) fn window(&self) -> Window {
        Window::from_now(self.warmup, self.duration)
    }

    /// The part of the plan that is known from here.
    pub(crate) fn plan(&self, audience: &Audience, pace: &'static str, flags: &[SetFlag]) -> Plan {
        Plan {
            connections: usize::from(self.connections),
            pace,
            rate_per_second: self.rate,
            warmup_seconds: self.warmup.as_secs_f64(),
            duration_seconds: self.duration.as_secs_f64(),
            payload_bytes: self.bytes(),
            batch: 1,
            users: audience.users,
            preloaded: audience.preload,
            settings: shown(flags),
            ..Plan::default()
        }
    }

    /// The length of payloads.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.payload_bytes).unwrap_or(usize::MAX)
    }
}

impl Audience {
    /// Who they are in this run.
    pub(crate) fn people(&self) -> People {
        if self.users > 1 {
            return People::many(Uuid::new_v4(), self.users);
        }
        People::one(self.user.unwrap_or(SEED_USERS[0].0))
    }

    /// Creates who is not there yet, and fills the store.
    pub(crate) async fn prepare(&self, target: &Target, manner: &Manner, payload_bytes: usize) -> anyhow::Result<()> {
        let is_ours = matches!(target.whose, Whose::Ours(_));
        if is_ours || self.users > 1 {
            manner.people.create(target).await?;
        }
        fill::fill(target, &Message::in_app(payload_bytes), manner, self.preload, With::Delivered).await?;
        Ok(())
    }
}

impl Whom {
    /// Whether it is a server that somebody else runs.
    pub(crate) fn is_named(&self) -> bool {
        self.url.is_some()
    }

    /// Finds the server, or starts one whose token names `user`.
    pub(crate) async fn open(&self, user: Uuid, settings: Settings) -> anyhow::Result<Target> {
        match &self.url {
            Some(url) => {
                let token = self.token.as_ref().map(|token| token.0.clone());
                Target::existing(url, token.unwrap_or_default(), self.pid.clone()).await
            }
            None => Target::of_our_own(self.dir.as_deref(), user, settings).await,
        }
    }
}

impl Print {
    /// Cleans up, then shows what was found. Failure if not everything went as it should.
    pub(crate) async fn conclude(&self, target: Target, report: anyhow::Result<Report>) -> anyhow::Result<ExitCode> {
        target.stop().await;
        let report = report?;
        report.publish(self.json.as_deref())?;
        Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The settings, without the values that nobody is to see.
fn shown(flags: &[SetFlag]) -> Vec<String> {
    let is_secret = |path: &str| SECRETIVE.iter().any(|word| path.contains(word));
    let show = |(path, value): &SetFlag| {
        if is_secret(path) { format!("{path}=...") } else { format!("{path}={value}") }
    };
    flags.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_reported() {
        let flags =
            [("delivery.concurrency", "64"), ("auth.jwt_secret", "hunter2"), ("channels.smtp.url", "smtp://u:p@h")];
        let flags = flags.map(|(path, value)| (path.to_owned(), value.to_owned()));
        let shown = shown(&flags).join(" ");
        assert!(shown.contains("delivery.concurrency=64") && shown.contains("auth.jwt_secret=..."), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("u:p"), "{shown}");
        assert_eq!(format!("{:?}", Token("hunter2".to_owned())), "Token(********)");
    }
}
