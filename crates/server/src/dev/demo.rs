//! The first run: a real notification through every channel, by the public API, and what came out at the other end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::bench::client::{Connection, Request};
use crate::dev::events::{MessageView, is_signed};
use crate::dev::samples::{self, Sample};
use crate::dev::stage::{Product, Stage};
use crate::serve::SEED_USERS;

/// How long the API may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long all deliveries may take together. They go no further than this machine.
const DELIVER_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The way into the API that everybody takes.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

/// What became of one sample.
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) channel: &'static str,
    pub(crate) state: String,
    /// What was caught, in a few words.
    pub(crate) came_out: String,
}

/// Sends a sample through every channel and waits until each has reached its end.
pub(crate) async fn send_samples(api: &Api, stage: &Stage, product: &Product) -> anyhow::Result<Vec<Outcome>> {
    let mut sent = Vec::new();
    for sample in samples::all() {
        sent.push((api.send(&sample).await?, sample.channel));
    }
    let until = Instant::now() + DELIVER_WITHIN;
    let mut outcomes = Vec::new();
    for (id, channel) in sent {
        let state = api.end_of(&id, until).await?;
        let came_out = match channel {
            "in-app" => api.inbox_entry(&id).await?,
            _ => caught(channel, &id, stage, product),
        };
        outcomes.push(Outcome { came_out: came_out.unwrap_or_else(|| "nothing yet".to_owned()), id, channel, state });
    }
    Ok(outcomes)
}

impl Api {
    /// Sends a sample to the first test user. Returns the message id.
    async fn send(&self, sample: &Sample) -> anyhow::Result<String> {
        let (user, _, _) = SEED_USERS[0];
        let body = json!({ "targetUserId": user, "type": sample.channel, "payload": sample.payload });
        let answer = self.call("POST", "/api/notifications", &body.to_string()).await?;
        let id = answer.get("messageId").and_then(Value::as_str);
        id.map(str::to_owned).context("the API accepted a notification without saying its id")
    }

    /// The delivery status of a notification once it has ended, or the one it has when time is up.
    async fn end_of(&self, id: &str, until: Instant) -> anyhow::Result<String> {
        loop {
            let notification = self.call("GET", &format!("/api/notifications/{id}"), "").await?;
            let word = |name: &str| notification.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
            if word("status") != "pending" || Instant::now() >= until {
                return Ok(word("deliveryStatus"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn inbox_entry(&self, id: &str) -> anyhow::Result<Option<String>> {
        let (user, username, _) = SEED_USERS[0];
        let inbox = self.call("GET", &format!("/api/users/{user}/inbox?limit=20"), "").await?;
        let items = inbox.get("items").and_then(Value::as_array);
        let entry =
            items.and_then(|items| items.iter().find(|item| item.get("messageId").and_then(Value::as_str) == Some(id)));
        Ok(entry.map(|entry| {
            let number = entry.get("number").and_then(Value::as_u64).unwrap_or_default();
            let title = entry.pointer("/payload/title").and_then(Value::as_str).unwrap_or_default();
            format!("number {number} in the inbox of {username}: \"{title}\"")
        }))
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let host = self.address.to_string();
        let request = Request { method, path, host: &host, token: Some(&self.token), header: None, body }.to_bytes();
        let exchange = async {
            let mut connection = Connection::open(self.address).await?;
            let answer = connection.exchange(&request).await?;
            io::Result::Ok((answer.status, serde_json::from_slice::<Value>(answer.body).unwrap_or_default()))
        };
        let answered = timeout(ANSWER_WITHIN, exchange).await.context("the API does not answer")?;
        let (status, answer) = answered.context("the API cannot be reached")?;
        if !(200..300).contains(&status) {
            let message = answer.get("message").and_then(Value::as_str).unwrap_or("no reason");
            bail!("{method} {path} was answered with {status}: {message}");
        }
        Ok(answer)
    }
}

fn caught(channel: &str, id: &str, stage: &Stage, product: &Product) -> Option<String> {
    match channel {
        "email" => caught_mail(id, stage),
        "sms" => {
            let message = stage.catchers.sms.requests().last().map(MessageView::of)?;
            Some(format!("to {}: \"{}\"", message.to, message.text))
        }
        "webhook" => caught_webhook(id, stage, product),
        _ => None,
    }
}

fn caught_mail(id: &str, stage: &Stage) -> Option<String> {
    let mails = stage.catchers.mail.mails();
    let mail = mails.iter().rev().find(|mail| mail.header("message-id").is_some_and(|message| message.contains(id)))?;
    let form = if mail.html().is_some() { "text and HTML" } else { "text" };
    Some(format!("to {}: \"{}\", {form}", mail.to.join(", "), mail.subject().unwrap_or_default()))
}

fn caught_webhook(id: &str, stage: &Stage, product: &Product) -> Option<String> {
    let requests = stage.catchers.webhooks.requests();
    let request = requests.iter().rev().find(|request| request.header("webhook-id") == Some(id))?;
    let signature = if is_signed(request, &product.webhook_secret) { "signature verified" } else { "SIGNATURE WRONG" };
    Some(format!("{} {}, {signature}", request.method, request.path))
}
