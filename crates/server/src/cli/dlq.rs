//! `tidings dlq`: the dead letters of a running server.

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{Access, Client};
use super::table::{align, word};
use crate::cli::output;
use crate::config::{Config, Sources};

const PATH: &str = "/api/dead-letters";

const EXAMPLES: &str = "\
Examples:
  tidings dlq list                                    those that nobody has decided about
  tidings dlq list --type webhook --error 503 --limit 200
  tidings dlq show 01890a5d-ac96-774b-b9aa-789abcdef012
  tidings dlq redrive 01890a5d-ac96-774b-b9aa-789abcdef012
  tidings dlq redrive --all --type webhook --error 503
  tidings dlq discard 01890a5d-ac96-774b-b9aa-789abcdef012 --note 'the customer has left'";

/// What `tidings dlq` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most this many
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: usize,
        /// Print JSON, one dead letter per line
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of one, as JSON
    Show {
        /// The messageId of the notification that died
        id: Uuid,
    },
    /// Send dead letters anew, each as a new notification
    Redrive {
        /// Their messageIds
        #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<Uuid>,
        /// All that match the filter
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        filter: Filter,
        /// Send this JSON object instead of the payload that failed
        #[arg(long, value_name = "JSON", conflicts_with = "all")]
        payload: Option<String>,
    },
    /// Put dead letters aside for good
    Discard {
        /// Their messageIds
        #[arg(value_name = "ID", required = true)]
        ids: Vec<Uuid>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

/// Which dead letters.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Filter")]
struct Filter {
    /// pending, reviewing, redriven, discarded, or any
    #[arg(long, value_name = "STATUS", default_value = "pending")]
    status: String,
    /// On this channel
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// In this category
    #[arg(long, value_name = "WORD")]
    category: Option<String>,
    /// For this user
    #[arg(long, value_name = "UUID")]
    user: Option<Uuid>,
    /// Whose error contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Died at or after this time, such as 2030-01-31T09:30:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Died before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Does what was asked for.
pub(crate) async fn run(args: Args, config: &Config, sources: &Sources) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.access, config, sources)?;
    match args.action {
        Action::List { filter, limit, json } => list(&client, &filter, limit, json).await,
        Action::Show { id } => show(&client, id).await,
        Action::Redrive { all: true, filter, .. } => redrive_all(&client, &filter).await,
        Action::Redrive { ids, payload, .. } => redrive(&client, &ids, payload.as_deref()).await,
        Action::Discard { ids, note } => discard(&client, &ids, note).await,
    }
}

async fn list(client: &Client, filter: &Filter, limit: usize, json: bool) -> anyhow::Result<ExitCode> {
    let mut letters: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    while letters.len() < limit {
        let mut query = filter.pairs();
        query.push(("limit", (limit - letters.len()).min(200).to_string()));
        if !cursor.is_empty() {
            query.push(("cursor", cursor));
        }
        let page = client.get(PATH, &query).await?;
        letters.extend(page.get("items").and_then(Value::as_array).into_iter().flatten().cloned());
        cursor = word(&page, "nextCursor");
        if cursor.is_empty() {
            break;
        }
    }
    if json {
        letters.iter().for_each(output::line);
    } else if letters.is_empty() {
        output::remark("There are no such dead letters");
    } else {
        output::text(&align(&rows(&letters)));
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(letters: &[Value]) -> Vec<[String; 6]> {
    let head = ["MESSAGE ID", "DIED", "ROUTING KEY", "ATTEMPTS", "REVIEW", "ERROR"].map(str::to_owned);
    let names = ["messageId", "diedAt", "routingKey", "attempts", "reviewStatus", "error"];
    std::iter::once(head).chain(letters.iter().map(|letter| names.map(|name| word(letter, name)))).collect()
}

async fn show(client: &Client, id: Uuid) -> anyhow::Result<ExitCode> {
    let letter = client.get(&format!("{PATH}/{id}"), &[]).await?;
    output::line(serde_json::to_string_pretty(&letter)?);
    Ok(ExitCode::SUCCESS)
}

async fn redrive(client: &Client, ids: &[Uuid], payload: Option<&str>) -> anyhow::Result<ExitCode> {
    let body = match payload.map(serde_json::from_str) {
        None => json!({}),
        Some(Ok(payload @ Value::Object(_))) => json!({ "payload": payload }),
        Some(_) => bail!("--payload is not a JSON object"),
    };
    for id in ids {
        let letter = client.post(&format!("{PATH}/{id}/redrive"), &body).await?;
        output::line(format!("Sent {id} anew as {}", word(&letter, "redrivenAs")));
    }
    Ok(ExitCode::SUCCESS)
}

async fn redrive_all(client: &Client, filter: &Filter) -> anyhow::Result<ExitCode> {
    let pairs = filter.pairs().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let mut body: Map<String, Value> = pairs.collect();
    let (mut redriven, mut skipped) = (0, 0);
    loop {
        let answer = client.post(&format!("{PATH}/redrive"), &Value::Object(body.clone())).await?;
        redriven += answer.get("redriven").and_then(Value::as_u64).unwrap_or_default();
        for letter in answer.get("skipped").and_then(Value::as_array).into_iter().flatten() {
            let why = letter.get("error").map(|error| word(error, "message")).unwrap_or_default();
            output::remark(format!("Skipped {}: {why}", word(letter, "messageId")));
            skipped += 1;
        }
        let Some(Value::String(cursor)) = answer.get("nextCursor") else { break };
        body.insert("cursor".to_owned(), Value::from(cursor.as_str()));
    }
    output::line(format!("Sent {redriven} anew, skipped {skipped}"));
    Ok(if skipped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn discard(client: &Client, ids: &[Uuid], note: Option<String>) -> anyhow::Result<ExitCode> {
    let body = note.map_or_else(|| json!({}), |note| json!({ "note": note }));
    for id in ids {
        client.post(&format!("{PATH}/{id}/discard"), &body).await?;
        output::line(format!("Discarded {id}"));
    }
    Ok(ExitCode::SUCCESS)
}

impl Filter {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let status = (self.status != "any").then(|| self.status.clone());
        let pairs = [
            ("reviewStatus", status),
            ("type", self.r#type.clone()),
            ("category", self.category.clone()),
            ("userId", self.user.map(|user| user.to_string())),
            ("error", self.error.clone()),
            ("from", self.from.clone()),
            ("until", self.until.clone()),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
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

    #[test]
    fn a_filter_names_only_what_was_asked_for() {
        let line = Line::parse_from(["dlq", "list", "--type", "sms", "--status", "any"]);
        let Action::List { filter, limit, json } = line.args.action else { panic!("it is a list") };
        assert_eq!(filter.pairs(), [("type", "sms".to_owned())]);
        assert_eq!((limit, json), (50, false));
    }

    #[test]
    fn a_redrive_says_which() {
        assert!(Line::try_parse_from(["dlq", "redrive"]).is_err());
        assert!(Line::try_parse_from(["dlq", "redrive", "--all"]).is_ok());
        assert!(Line::try_parse_from(["dlq", "redrive", "550e8400-e29b-41d4-a716-446655440001"]).is_ok());
    }

    #[test]
    fn a_list_is_a_table() {
        let letters = [json!({"messageId": "m", "attempts": 4, "error": "gone", "diedAt": null})];
        let rows = rows(&letters);
        assert_eq!(rows[1], ["m", "", "", "4", "", "gone"]);
    }
}
