//! What a client does by hand, beside the load.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap};
use serde_json::{Value, json};
use tidings_testkit::faults::ledger::{Ledger, Outcome};

use crate::load::Plan;
use crate::program::{Program, USER, admin_token, http};

/// How often something is looked at while a test waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Longer lists than this are no lists of these tests.
const MOST_PAGES: usize = 2_000;

/// What the program answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A client of one program.
#[derive(Clone)]
pub(crate) struct Front {
    http: reqwest::Client,
    token: String,
    url: String,
}

impl Reply {
    /// The id of what was accepted; fails if it was not.
    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        self.body["messageId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Front {
    pub(crate) fn of(program: &Program) -> Self {
        Self { http: http(), token: admin_token(), url: program.url().to_owned() }
    }

    /// The same with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { http: self.http.clone(), token: token.to_owned(), url: self.url.clone() }
    }

    /// Posts a notification. The error is that of a connection: what became of the request is not known.
    pub(crate) async fn post(&self, body: &Value) -> reqwest::Result<Reply> {
        let request = self.http.post(format!("{}/api/notifications", self.url)).bearer_auth(&self.token);
        answer(request.header(ACCEPT, "application/json, application/problem+json").json(body)).await
    }

    /// The same, by a client that gives up after `within`.
    pub(crate) async fn post_within(&self, body: &Value, within: Duration) -> reqwest::Result<Reply> {
        let request = self.http.post(format!("{}/api/notifications", self.url)).bearer_auth(&self.token);
        answer(request.json(body).timeout(within)).await
    }

    /// A post, noted in a ledger under the key of the body.
    pub(crate) async fn post_noted(&self, ledger: &Ledger, body: &Value) -> Option<Reply> {
        let key = body["idempotencyKey"].as_str().unwrap_or_default();
        let reply = self.post(body).await.ok();
        let outcome = match &reply {
            Some(reply) if reply.status == 202 => Outcome::Ok(reply.id()),
            // A commit that fails may be on the disk all the same.
            Some(reply) if reply.code() == "store_unavailable" => Outcome::Unknown,
            Some(reply) => Outcome::Refused(reply.status),
            None => Outcome::Unknown,
        };
        ledger.asked(key, outcome);
        reply
    }

    /// Gets a path. Gives up after `within`.
    pub(crate) async fn get(&self, path: &str, within: Duration) -> reqwest::Result<Reply> {
        answer(self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token).timeout(within)).await
    }

    /// Posts anything as JSON.
    pub(crate) async fn post_to(&self, path: &str, body: &Value) -> reqwest::Result<Reply> {
        answer(self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body)).await
    }

    async fn page(&self, path: &str) -> Value {
        let reply = self.get(path, Duration::from_secs(10)).await.unwrap();
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }

    /// The record of a notification.
    pub(crate) async fn record(&self, id: &str) -> Value {
        self.page(&format!("/api/notifications/{id}")).await
    }

    /// The ids of all notifications that a filter of the list lets through, such as `&type=in-app`.
    pub(crate) async fn ids(&self, filter: &str) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        let mut cursor = String::new();
        for _page in 0..MOST_PAGES {
            let page = self.page(&format!("/api/notifications?limit=200{filter}{cursor}")).await;
            let items = page["items"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["messageId"].as_str().unwrap().to_owned()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return ids,
            }
        }
        panic!("the list has no end");
    }

    /// The numbers in the inbox of the test user, as they come.
    pub(crate) async fn inbox(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = Vec::new();
        for _page in 0..MOST_PAGES {
            let after = numbers.last().copied().unwrap_or(0);
            let page = self.page(&format!("/api/users/{USER}/inbox?after={after}&limit=200")).await;
            let items = page["items"].as_array().unwrap();
            if items.is_empty() {
                return numbers;
            }
            numbers.extend(items.iter().map(|item| item["number"].as_u64().unwrap()));
        }
        panic!("the inbox has no end");
    }

    /// Waits until a notification has reached its end; gives its record.
    pub(crate) async fn ended(&self, id: &str, within: Duration) -> Value {
        until(within, "a notification ends", async || {
            let record = self.record(id).await;
            (record["status"] != "pending").then_some(record)
        })
        .await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    Ok(Reply { status, headers, body })
}

/// A notification to the test user, under an idempotency key.
pub(crate) fn notice(key: &str, channel: &str, payload: &Value) -> Value {
    json!({"targetUserId": USER, "type": channel, "payload": payload, "idempotencyKey": key})
}

/// What an in-app notification says.
pub(crate) fn title() -> Value {
    json!({"title": "t"})
}

/// A steady load of in-app notifications and of webhooks to this URL.
pub(crate) fn steady(rate: f64, hook: &str) -> Plan {
    let channels = vec![("in-app", title()), ("webhook", json!({"url": hook}))];
    Plan { rate, clients: 8, channels, resend: 0.2, retry_for: Duration::from_mins(1) }
}

/// The numbers of an inbox without a gap or a repetition (I6).
pub(crate) fn assert_gapless(numbers: &[u64]) {
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "the inbox has a gap or a repetition");
}

/// Looks until there is something to see; fails when it takes longer than `within`.
pub(crate) async fn until<T>(within: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    let seen = tokio::time::timeout(within, looking).await;
    seen.unwrap_or_else(|_elapsed| panic!("waited {within:?} in vain: {what}"))
}
