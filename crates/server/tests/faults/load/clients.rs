//! The clients of a load: each sends a request until it is accepted, refused for good, or too old.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Value, json};
use tidings_testkit::faults::ledger::{Ledger, Outcome};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Latencies, Plan};
use crate::program::USER;

/// The pause before a repetition, unless the server asks for a longer one.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause that a server is granted.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What all clients share.
pub(super) struct Clients {
    /// No other load of this process has it.
    pub(super) name: String,
    pub(super) target: RwLock<String>,
    pub(super) http: reqwest::Client,
    pub(super) token: String,
    pub(super) ledger: Ledger,
    pub(super) plan: Plan,
    pub(super) stop: CancellationToken,
}

/// A request that is due.
pub(super) struct Job {
    pub(super) number: usize,
    pub(super) due: Instant,
}

struct Request {
    key: String,
    body: String,
}

impl Clients {
    /// One client: takes what is due until the stop.
    pub(super) async fn work(self: Arc<Self>, jobs: Arc<Mutex<mpsc::Receiver<Job>>>) -> Latencies {
        let mut noted = Latencies::default();
        loop {
            let next = jobs.lock().await.recv().await;
            let Some(job) = next.filter(|_| !self.stop.is_cancelled()) else { return noted };
            let request = self.request(job.number);
            if self.insist(&request, &mut noted).await {
                noted.accepted(job.due);
                if self.is_resent(job.number) {
                    self.insist(&request, &mut noted).await;
                }
            }
        }
    }

    fn request(&self, number: usize) -> Request {
        let key = format!("{}-{number}", self.name);
        let (channel, payload) = &self.plan.channels[number % self.plan.channels.len()];
        let mut payload = payload.clone();
        payload["n"] = json!(key);
        let body = json!({"targetUserId": USER, "type": channel, "payload": payload, "idempotencyKey": key});
        Request { body: body.to_string(), key }
    }

    fn is_resent(&self, number: usize) -> bool {
        fastrand::Rng::with_seed(number as u64).f64() < self.plan.resend
    }

    /// Sends a request until it is accepted; `false` when that did not happen.
    async fn insist(&self, request: &Request, noted: &mut Latencies) -> bool {
        let deadline = Instant::now() + self.plan.retry_for;
        loop {
            let Try { outcome, status, pause } = self.once(request).await;
            let is_accepted = matches!(outcome, Outcome::Ok(_));
            self.ledger.asked(&request.key, outcome);
            if is_accepted {
                return true;
            }
            noted.failed(status);
            let may_pass = status == 0 || status >= 500 || matches!(status, 408 | 409 | 425 | 429);
            if !may_pass || Instant::now() + pause >= deadline {
                return false;
            }
            sleep(pause).await;
        }
    }

    async fn once(&self, request: &Request) -> Try {
        let url = format!("{}/api/notifications", self.target.read());
        let sending = self.http.post(url).bearer_auth(&self.token).header(CONTENT_TYPE, "application/json");
        let answer = match sending.body(request.body.clone()).send().await {
            Ok(answer) => answer,
            // Nobody was there to hear it.
            Err(error) if error.is_connect() => return Try::failed(Outcome::Refused(0)),
            Err(_cut_or_late) => return Try::failed(Outcome::Unknown),
        };
        let status = answer.status().as_u16();
        if status != 202 {
            let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let pause = asked.map_or(PAUSE, Duration::from_secs).clamp(PAUSE, LONGEST_PAUSE);
            let body: Option<Value> = answer.json().await.ok();
            // A commit that fails may be on the disk all the same.
            let is_open = status == 503 && body.is_none_or(|body| body["code"] == "store_unavailable");
            let outcome = if is_open { Outcome::Unknown } else { Outcome::Refused(status) };
            return Try { outcome, status, pause };
        }
        // The answer may be cut off after its head.
        let body: Option<Value> = answer.json().await.ok();
        match body.as_ref().and_then(|body| body["messageId"].as_str()) {
            Some(id) => Try { outcome: Outcome::Ok(id.to_owned()), status, pause: PAUSE },
            None => Try::failed(Outcome::Unknown),
        }
    }
}

/// What came of sending a request once.
struct Try {
    outcome: Outcome,
    /// 0 when there was no answer.
    status: u16,
    pause: Duration,
}

impl Try {
    fn failed(outcome: Outcome) -> Self {
        Self { outcome, status: 0, pause: PAUSE }
    }
}
