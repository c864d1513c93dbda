//! `tidings send`: sends a notification through a running server, and follows it to its end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::client::{Access, Client};
use super::table::word;
use crate::cli::output;
use crate::config::{self, Config, Sources};

/// How often the server is asked while a notification is followed.
const ASK_EVERY: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  tidings send --to 9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a --type in-app --title Hello --message 'It works'
  tidings send --to 9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a --type email --subject Hello --body 'It works' --follow
  tidings send --to 9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a --type sms --phone +15005550006 --message 'It works'
  tidings send --to 9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a --type webhook --payload '{\"url\":\"https://example.com/hook\",\"data\":{\"n\":1}}'

Prints the messageId. With --follow it also prints what happens, and fails if the notification does.";

/// What `tidings send` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The id of the user to tell
    #[arg(long, value_name = "UUID")]
    to: Uuid,
    /// The channel: email, sms, webhook, in-app
    #[arg(long, value_name = "TYPE")]
    r#type: String,
    #[command(flatten)]
    content: Content,
    /// The second part of the routing key, such as `otp` or `news`
    #[arg(long, value_name = "WORD")]
    category: Option<String>,
    /// critical, high, normal or low
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<String>,
    /// Send it at this time (RFC 3339), at most 366 days ahead: `date -u -d tomorrow +%FT%TZ` gives one
    #[arg(long, value_name = "TIME")]
    send_at: Option<String>,
    /// Give up after this long, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = config::parse_ttl)]
    ttl: Option<Duration>,
    /// Sending twice with one key sends once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until it is delivered or has failed, and print what happens
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    access: Access,
}

/// What to say: a payload as it is, or its fields one by one.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Content")]
struct Content {
    /// The payload, a JSON object; the options below add to it
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// email: the subject
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// email: the text
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// email: the text as HTML, beside the plain one
    #[arg(long, value_name = "HTML")]
    html: Option<String>,
    /// email: the address, if not that of the user
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// sms, in-app: the text
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// sms: the number, if not that of the user
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// in-app: the title
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// in-app: where a click leads
    #[arg(long, value_name = "URL")]
    link: Option<String>,
    /// webhook: where to post, if not to the URL of the user
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// webhook: the name of the event
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
}

/// Sends, and follows if asked to.
pub(crate) async fn run(args: Args, config: &Config, sources: &Sources) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.access, config, sources)?;
    let follow = args.follow;
    let answer = client.post("/api/notifications", &request(args)?).await?;
    let id = answer.get("messageId").and_then(Value::as_str).context("the server answered without a messageId")?;
    output::line(id);
    if follow { follow_to_the_end(&client, id).await } else { Ok(ExitCode::SUCCESS) }
}

fn request(args: Args) -> anyhow::Result<Value> {
    let mut request = Map::new();
    request.insert("targetUserId".to_owned(), json!(args.to));
    request.insert("type".to_owned(), json!(args.r#type));
    request.insert("payload".to_owned(), Value::Object(args.content.into_payload()?));
    let options = [
        ("category", args.category.map(Value::from)),
        ("priority", args.priority.map(Value::from)),
        ("sendAt", args.send_at.map(Value::from)),
        ("ttlSeconds", args.ttl.map(|ttl| Value::from(ttl.as_secs()))),
        ("idempotencyKey", args.idempotency_key.map(Value::from)),
    ];
    request.extend(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(Value::Object(request))
}

impl Content {
    fn into_payload(self) -> anyhow::Result<Map<String, Value>> {
        let mut payload = match self.payload.as_deref().map(serde_json::from_str) {
            None => Map::new(),
            Some(Ok(Value::Object(payload))) => payload,
            Some(Ok(_)) => bail!("--payload is not a JSON object; write it as '{{\"message\":\"Hello\"}}'"),
            Some(Err(error)) => bail!("--payload is not JSON: {error}"),
        };
        let fields = [
            ("subject", self.subject),
            ("body", self.body),
            ("htmlContent", self.html),
            ("to", self.email),
            ("message", self.message),
            ("phoneNumber", self.phone),
            ("title", self.title),
            ("link", self.link),
            ("url", self.webhook),
            ("event", self.event),
        ];
        payload.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))));
        Ok(payload)
    }
}

async fn follow_to_the_end(client: &Client, id: &str) -> anyhow::Result<ExitCode> {
    let path = format!("/api/notifications/{id}");
    let mut shown = 0;
    loop {
        let record = client.get(&path, &[]).await?;
        let (journal, attempts) = (list(&record, "journal"), list(&record, "attempts"));
        journal.iter().skip(shown).map(|entry| describe(entry, attempts)).for_each(output::line);
        shown = journal.len();
        match word(&record, "status").as_str() {
            "pending" => sleep(ASK_EVERY).await,
            "processed" => return Ok(ExitCode::SUCCESS),
            "failed" => return Ok(ExitCode::FAILURE),
            _ => bail!("the server answered without a status"),
        }
    }
}

fn list<'a>(record: &'a Value, name: &str) -> &'a [Value] {
    record.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// An entry of the journal as a line: `2030-01-31T09:30:00.000Z  retry-scheduled  attempt 1, smtp: failed 451, 120 ms`.
fn describe(entry: &Value, attempts: &[Value]) -> String {
    let mut parts = vec![word(entry, "at"), word(entry, "event")];
    let number = entry.get("attempt").filter(|number| number.is_number());
    if let Some(attempt) =
        number.and_then(|number| attempts.iter().find(|attempt| attempt.get("number") == Some(number)))
    {
        let said = ["outcome", "code", "message"].map(|name| word(attempt, name)).join(" ");
        let (number, provider, took) =
            (word(attempt, "number"), word(attempt, "provider"), word(attempt, "durationMs"));
        parts.push(format!("attempt {number}, {provider}: {}, {took} ms", said.trim()));
    }
    parts.push(word(entry, "detail"));
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn request_of(words: &[&str]) -> anyhow::Result<Value> {
        let start = ["send", "--to", "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a", "--type", "email"];
        request(Line::parse_from(start.iter().chain(words)).args)
    }

    #[test]
    fn fields_add_to_the_payload() {
        let body = request_of(&[
            "--payload",
            r#"{"a":1,"subject":"x"}"#,
            "--subject",
            "Hello",
            "--ttl",
            "10m",
            "--priority",
            "high",
        ])
        .unwrap();
        let expected = json!({
            "targetUserId": "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a",
            "type": "email",
            "payload": {"a": 1, "subject": "Hello"},
            "ttlSeconds": 600,
            "priority": "high",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_payload_that_is_no_object_is_refused() {
        for payload in ["[1]", "hello", "{"] {
            assert!(request_of(&["--payload", payload]).is_err(), "{payload}");
        }
    }

    #[test]
    fn a_journal_entry_is_one_line() {
        let attempts = [json!({
            "number": 1, "provider": "smtp", "outcome": "failed", "code": "451", "message": "try later", "durationMs": 120,
        })];
        let entry = json!({"at": "T", "event": "retry-scheduled", "attempt": 1, "detail": null});
        assert_eq!(describe(&entry, &attempts), "T  retry-scheduled  attempt 1, smtp: failed 451 try later, 120 ms");
        assert_eq!(describe(&json!({"at": "T", "event": "accepted", "attempt": null}), &attempts), "T  accepted");
    }
}
