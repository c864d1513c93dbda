//! `tidings bench accept`: durable accepts per second.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use crate::bench::client::Request;
use crate::bench::load::{self, Plan, Requests};
use crate::bench::report::{Report, Subject};
use crate::bench::target::{Target, Whose};
use crate::cli::output;
use crate::config;
use crate::serve::SEED_USERS;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings bench accept                                   against a server of its own, in a temporary directory
  tidings bench accept --connections 128 --duration 30s --idempotency-keys
  tidings bench accept --dir /var/tmp                    on the disk of that directory
  tidings bench accept --url http://127.0.0.1:8080 --token $(tidings token --scope admin) --json

Without --scope admin on the token of another server, what was delivered stays unknown.";

/// The channels whose notifications stay on this machine, if the server is our own.
const STAYS_HERE: &str = "in-app";
/// The digits of an idempotency key that change from request to request.
const KEY_DIGITS: usize = 16;

/// What `tidings bench accept` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many connections each keep one request in flight
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = config::parse_ttl)]
    duration: Duration,
    /// How long to send before measuring
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::parse_ttl)]
    warmup: Duration,
    /// A running server, instead of one of its own
    #[arg(long, value_name = "URL", requires = "token")]
    url: Option<Url>,
    /// A token for that server
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Who is told [default: the first test user]
    #[arg(long, value_name = "UUID")]
    user: Option<Uuid>,
    /// The channel of the notifications; a server of its own has only in-app
    #[arg(long = "type", value_name = "CHANNEL", default_value = STAYS_HERE)]
    channel: String,
    /// About how long each payload is
    #[arg(long, value_name = "BYTES", default_value_t = 400, value_parser = clap::value_parser!(u32).range(..=200_000))]
    payload_bytes: u32,
    /// Send an idempotency key with each request
    #[arg(long)]
    idempotency_keys: bool,
    /// Where the server of its own keeps its data [default: the temporary directory of the system]
    #[arg(long, value_name = "FOLDER", conflicts_with = "url")]
    dir: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl fmt::Debug for Args {
    /// A token is never shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Args")
            .field("connections", &self.connections)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// Measures, prints, cleans up. Fails when not every request was accepted.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let user = args.user.unwrap_or(SEED_USERS[0].0);
    let target = match &args.url {
        Some(url) => Target::existing(url, args.token.clone().unwrap_or_default()).await?,
        None if args.channel != STAYS_HERE => {
            bail!("a server of its own has only the channel {STAYS_HERE}; name another server with --url")
        }
        None => Target::of_our_own(args.dir.as_deref(), user).await?,
    };
    let measured = tokio::select! {
        measured = measure(&args, &target, user) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    target.stop().await;
    let report = measured?;
    output::line(if args.json { serde_json::to_string_pretty(&report)? } else { report.to_table() });
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(args: &Args, target: &Target, user: Uuid) -> anyhow::Result<Report> {
    let payload_bytes = usize::try_from(args.payload_bytes)?;
    let body = body(user, &args.channel, payload_bytes);
    let run = Uuid::new_v4();
    let make = |connection: usize| Template::new(target, &body, args.idempotency_keys.then_some((run, connection)));
    let plan = Plan {
        address: target.address,
        connections: usize::from(args.connections),
        warmup: args.warmup,
        duration: args.duration,
    };
    let before = target.delivered().await;
    let measured = load::run(&plan, make).await?;
    let after = target.delivered().await;
    let durability = match &target.whose {
        Whose::Ours(server) => server.durability().await,
        Whose::Theirs => "whatever that server promises".to_owned(),
    };
    let subject = Subject {
        benchmark: "accept",
        channel: args.channel.clone(),
        payload_bytes,
        idempotency_keys: args.idempotency_keys,
        delivered_by_the_end: after.zip(before).map(|(after, before)| after.saturating_sub(before)),
        durability,
    };
    Ok(Report::new(subject, &plan, measured))
}

/// A notification whose payload has about this many bytes.
fn body(user: Uuid, channel: &str, payload_bytes: usize) -> String {
    let with_filler = |filler: &str| payload(channel, filler).to_string();
    let rest = payload_bytes.saturating_sub(with_filler("").len());
    let filler = "All work and no play makes a dull load. ".chars().cycle().take(rest).collect::<String>();
    let payload = with_filler(&filler);
    format!(r#"{{"targetUserId":"{user}","type":{},"payload":{payload}}}"#, json!(channel))
}

fn payload(channel: &str, filler: &str) -> Value {
    match channel {
        "email" => json!({ "subject": "bench", "body": filler }),
        "sms" => json!({ "message": filler }),
        "webhook" => json!({ "event": "bench", "data": { "filler": filler } }),
        "in-app" => json!({ "title": "bench", "message": filler }),
        _ => Value::Object(Map::from_iter([("filler".to_owned(), json!(filler))])),
    }
}

/// The bytes of a request, made once. From one request to the next only the digits of the key change.
struct Template {
    bytes: Vec<u8>,
    key: Option<Range<usize>>,
    sent: u64,
}

impl Template {
    fn new(target: &Target, body: &str, key: Option<(Uuid, usize)>) -> Self {
        let prefix = key.map(|(run, connection)| format!("{}-{connection:04x}-", run.simple()));
        let value = prefix.as_ref().map(|prefix| format!("{prefix}{}", "0".repeat(KEY_DIGITS)));
        let request = Request {
            method: "POST",
            path: "/api/notifications",
            host: &target.host,
            token: Some(&target.token),
            header: value.as_deref().map(|value| ("Idempotency-Key", value)),
            body,
        };
        let bytes = request.to_bytes();
        let key = prefix.and_then(|prefix| digits_after(&bytes, prefix.as_bytes()));
        Self { bytes, key, sent: 0 }
    }
}

/// Where the digits of the key are.
fn digits_after(bytes: &[u8], prefix: &[u8]) -> Option<Range<usize>> {
    let start = bytes.windows(prefix.len()).position(|window| window == prefix)? + prefix.len();
    Some(start..start + KEY_DIGITS)
}

impl Requests for Template {
    fn next(&mut self) -> &[u8] {
        if let Some(range) = self.key.clone()
            && let Some(digits) = self.bytes.get_mut(range)
        {
            let number = format!("{:0KEY_DIGITS$x}", self.sent);
            digits.copy_from_slice(number.as_bytes());
            self.sent += 1;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_payload_has_the_length_asked_for() {
        for channel in ["in-app", "email", "sms", "webhook", "pigeon"] {
            let body: Value = serde_json::from_str(&body(Uuid::nil(), channel, 400)).unwrap();
            assert_eq!(body["payload"].to_string().len(), 400, "{channel}");
            assert_eq!(body["type"], channel);
        }
        assert!(serde_json::from_str::<Value>(&body(Uuid::nil(), "in-app", 0)).is_ok());
    }

    #[test]
    fn every_request_has_a_key_of_its_own() {
        let target = Target {
            address: ([127, 0, 0, 1], 1).into(),
            host: "h".to_owned(),
            token: "t".to_owned(),
            whose: Whose::Theirs,
        };
        let run = Uuid::from_u128(7);
        let mut keys = HashSet::new();
        for connection in 0..3 {
            let mut template = Template::new(&target, "{}", Some((run, connection)));
            for _ in 0..300 {
                let text = String::from_utf8(template.next().to_vec()).unwrap();
                let line = text.lines().find(|line| line.starts_with("Idempotency-Key: ")).unwrap().to_owned();
                assert!(keys.insert(line), "{text}");
            }
        }
    }

    #[test]
    fn without_keys_every_request_is_the_same() {
        let target = Target {
            address: ([127, 0, 0, 1], 1).into(),
            host: "h".to_owned(),
            token: "t".to_owned(),
            whose: Whose::Theirs,
        };
        let mut template = Template::new(&target, "{}", None);
        let first = template.next().to_vec();
        assert_eq!(template.next(), first);
    }
}
