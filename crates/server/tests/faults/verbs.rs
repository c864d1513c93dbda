//! What stories say to a running program, and how they read what it answers.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings_core::time::Timestamp;
use tidings_testkit::catcher::{CaughtRequest, HttpCatcher};
use tidings_testkit::faults::ledger::{Ledger, Outcome, Totals};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::program::{Program, USER, admin_token, create_user, http};

/// How long anything may take before a story gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One mebibyte.
pub(crate) const MIB: u64 = 1024 * 1024;

/// The program with a user, on a directory that goes when it goes.
pub(crate) struct Stage {
    // Dropped first: the directory must not vanish under a running program.
    pub(crate) program: Program,
    pub(crate) door: Door,
    _dir: TempDir,
}

impl Stage {
    /// Starts the program with these environment variables on top.
    pub(crate) async fn set(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Program::at(&dir.path().join("data"));
        for (name, value) in settings {
            builder = builder.env(name, value);
        }
        let program = builder.start().await;
        create_user(&program).await;
        let door = Door::new(program.url(), admin_token(), http());
        Self { program, door, _dir: dir }
    }
}

/// The front door of a running program, as one client uses it. Clones share the ledger.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) ledger: Ledger,
    pub(crate) http: reqwest::Client,
}

/// What the program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The stable code of an error.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Door {
    pub(crate) fn new(url: &str, token: String, http: reqwest::Client) -> Self {
        Self { url: url.to_owned(), token, ledger: Ledger::new(), http }
    }

    /// Any request; the body goes as it is.
    pub(crate) async fn try_call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// The same where an answer has to come.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Answer {
        self.try_call(method, path, body).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body.to_string().into_bytes())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    /// Sends a notification to the user. It has to be accepted, and the ledger is told.
    pub(crate) async fn submit(&self, channel: &str, payload: Value) -> String {
        self.submit_with(channel, payload, json!({})).await
    }

    /// The same with further fields.
    pub(crate) async fn submit_with(&self, channel: &str, payload: Value, further: Value) -> String {
        let mut body = json!({"targetUserId": USER, "type": channel, "payload": payload});
        body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let answer = self.post("/api/notifications", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let id = answer.json()["messageId"].as_str().unwrap().to_owned();
        self.ledger.asked(&id, Outcome::Ok(id.clone()));
        id
    }

    /// Sends the same webhook many times, in batches.
    pub(crate) async fn submit_many(&self, url: &str, count: usize) -> Vec<String> {
        let item = json!({"targetUserId": USER, "type": "webhook", "payload": {"url": url}});
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            let batch = vec![item.clone(); (count - ids.len()).min(500)];
            let answer = self.post("/api/notifications/batch", &json!({"notifications": batch})).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            for result in answer.json()["results"].as_array().unwrap() {
                let id = result["messageId"].as_str().unwrap().to_owned();
                self.ledger.asked(&id, Outcome::Ok(id.clone()));
                ids.push(id);
            }
        }
        ids
    }

    /// Sends `count` webhooks, to `urls` in turn, one every `every`, whether or not those before were answered.
    pub(crate) async fn pace(&self, urls: &[String], count: usize, every: Duration) {
        let mut ticks = interval(every);
        let mut sending = JoinSet::new();
        for number in 0..count {
            ticks.tick().await;
            let (door, url) = (self.clone(), urls[number % urls.len()].clone());
            sending.spawn(async move { door.submit("webhook", json!({"url": url})).await });
        }
        sending.join_all().await;
    }

    /// The record of a notification that has to exist.
    pub(crate) async fn show(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/notifications/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Waits until a notification looks as `is_so` says.
    pub(crate) async fn until(&self, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut ticks = interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            let record = self.show(id).await;
            if is_so(&record) {
                return record;
            }
            assert!(Instant::now() < deadline, "waited in vain; last seen: {record:#}");
        }
    }

    /// Waits until a notification has reached its end.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.until(id, |record| record["status"] != "pending").await
    }

    /// Waits until everything acknowledged has ended, and compares the books. What has not ended in time shows in them.
    pub(crate) async fn settle(&self, within: Duration) -> Totals {
        let deadline = Instant::now() + within;
        for id in self.ledger.acknowledged() {
            let record = self.last_seen(&id, deadline).await;
            self.ledger.ended(&id, record.as_ref());
        }
        self.ledger.check()
    }

    async fn last_seen(&self, id: &str, deadline: Instant) -> Option<Value> {
        let mut ticks = interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let answer = self.get(&format!("/api/notifications/{id}")).await;
            let record = (answer.status == 200).then(|| answer.json());
            let is_pending = record.as_ref().is_some_and(|record| record["status"] == "pending");
            if !is_pending || Instant::now() >= deadline {
                return record;
            }
        }
    }

    /// Tells the ledger what receivers of webhooks got.
    pub(crate) fn heard(&self, requests: &[CaughtRequest]) {
        for id in requests.iter().filter_map(|request| request.header("webhook-id")) {
            self.ledger.received(id);
        }
    }
}

/// A receiver of webhooks.
pub(crate) async fn catcher() -> HttpCatcher {
    HttpCatcher::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// How often each notification came.
pub(crate) fn calls(requests: &[CaughtRequest]) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for id in requests.iter().filter_map(|request| request.header("webhook-id")) {
        *calls.entry(id.to_owned()).or_default() += 1;
    }
    calls
}

/// How long webhooks took from their acceptance to their receiver, both by the clock of this machine. Sorted.
pub(crate) struct Lags(Vec<Duration>);

impl Lags {
    pub(crate) fn of(requests: &[CaughtRequest]) -> Self {
        let mut lags: Vec<Duration> = requests.iter().map(lag).collect();
        lags.sort_unstable();
        Self(lags)
    }

    pub(crate) fn p50(&self) -> Duration {
        self.at(50)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.at(99)
    }

    fn at(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.saturating_sub(1)]
    }
}

fn lag(request: &CaughtRequest) -> Duration {
    let received = request.at.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let received = Timestamp::from_millis(i64::try_from(received).unwrap());
    let body = request.json();
    let accepted = Timestamp::parse(body["timestamp"].as_str().unwrap()).unwrap();
    received.since(accepted)
}

/// Does something, and tells how much memory the program had at most while it went on, in bytes.
pub(crate) async fn watched<T>(program: &Program, work: impl Future<Output = T>) -> (T, u64) {
    let mut work = Box::pin(work);
    let mut ticks = interval(Duration::from_millis(10));
    let mut most = program.rss_bytes();
    loop {
        tokio::select! {
            done = &mut work => return (done, most.max(program.rss_bytes())),
            _ = ticks.tick() => most = most.max(program.rss_bytes()),
        }
    }
}

/// The processor time that the program has used so far, in ticks of the kernel: hundredths of a second.
pub(crate) fn cpu_ticks(program: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
    // The name of the process may have spaces and brackets; what follows the last of them are numbers.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    ticks(11) + ticks(12)
}

/// A share as text, for verdicts.
#[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
pub(crate) fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}
