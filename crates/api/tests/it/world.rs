//! The router on fakes, and the verbs that the stories share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use tidings_api::token::{Claims, Keys, SCOPE_ADMIN, SCOPE_READ_ANY};
use tidings_api::{Config, Gate, Metrics, Services, router};
use tidings_core::delivery::Verdict;
use tidings_core::id::{BootId, MonotonicIds, UserId};
use tidings_core::idempotency::DEFAULT_TTL;
use tidings_core::ports::jobs::Claim;
use tidings_core::ports::{Catalog, Jobs};
use tidings_core::services::follow::Follower;
use tidings_core::services::redrive::Reviewer;
use tidings_core::services::submit::Submitter;
use tidings_core::services::users::Users;
use tidings_core::time::Clock;
use tidings_testkit::sample::{self, TESTUSER};
use tidings_testkit::{FakeBroker, FakeSender, FakeStore, ManualClock};

pub(crate) const SECRET: &[u8] = b"the secret of these stories, 32 bytes or more";

/// A router and everything behind it.
pub(crate) struct World {
    pub(crate) store: Arc<FakeStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) keys: Arc<Keys>,
    router: Router,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("the answer is JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("the header is text"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A body about an in-app notification to somebody.
pub(crate) fn note_to(user: UserId) -> Value {
    json!({"targetUserId": user, "type": "in-app", "payload": {"title": "Hello"}})
}

impl World {
    /// The seed's users, and limits small enough to be reached.
    pub(crate) async fn new() -> Self {
        Self::with(Config { max_body_bytes: 4096, max_batch_body_bytes: 65_536, ..Config::default() }).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let (store, clock) = (Arc::new(FakeStore::default()), Arc::new(ManualClock::default()));
        for user in sample::seed_users(clock.now()) {
            store.create_user(user).await.expect("the store answers").expect("the users are new");
        }
        let (gate, keys) = (Arc::new(Gate::default()), Arc::new(Keys::new(SECRET, true)));
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        let exposition = Arc::new(move || {
            let mut text = String::new();
            encode(&mut text, &registry).expect("a string can be written to");
            text
        });
        let services = services(&store, &clock, &keys);
        let router = router(services, config, Arc::clone(&gate), metrics, exposition);
        Self { store, clock, gate, keys, router }
    }

    /// A token for a user, with scopes, that expires in a minute.
    pub(crate) fn token(&self, user: Option<UserId>, scope: Option<&str>) -> String {
        let now = self.clock.now().as_seconds();
        let claims = Claims {
            user_id: user.map(|user| user.0),
            scope: scope.map(str::to_owned),
            iat: Some(now),
            exp: Some(now + 60),
            ..Claims::default()
        };
        self.keys.issue(&claims).expect("claims can be signed")
    }

    /// The token of the first user of the seed.
    pub(crate) fn mine(&self) -> String {
        self.token(Some(TESTUSER), None)
    }

    pub(crate) fn admin(&self) -> String {
        self.token(None, Some(SCOPE_ADMIN))
    }

    pub(crate) fn reader(&self) -> String {
        self.token(None, Some(SCOPE_READ_ANY))
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body is whole").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("the answer is text");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(request("GET", path, token).body(Body::empty()).expect("a valid request")).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.with_body("POST", path, token, body).await
    }

    pub(crate) async fn patch(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.with_body("PATCH", path, token, body).await
    }

    pub(crate) async fn with_body(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let request = request(method, path, token).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).expect("a valid request")).await
    }

    /// Sends raw bytes as the body of a notification.
    pub(crate) async fn post_raw(&self, body: impl Into<Bytes>) -> Answer {
        let request = request("POST", "/api/notifications", &self.mine()).header("content-type", "application/json");
        self.send(request.body(Body::from(body.into())).expect("a valid request")).await
    }

    /// Accepts a notification and gives its id.
    pub(crate) async fn submit(&self, body: &Value) -> String {
        let answer = self.post("/api/notifications", &self.mine(), body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["messageId"].as_str().expect("an id").to_owned()
    }

    /// Attempts everything that is due, once, with this result.
    pub(crate) async fn attempt(&self, verdict: Verdict) {
        let now = self.clock.now();
        let ready = self.store.ready(now, 100, 100).await.expect("the store answers");
        let claim =
            Claim { owner: BootId(Uuid::from_u128(1)), now, lease: Duration::from_secs(40), lanes: ready.lanes };
        let jobs = self.store.claim(claim).await.expect("the store answers");
        let settle = |job: &_| sample::settlement(job, sample::attempted(1, verdict.clone(), now), now);
        self.store.settle(jobs.iter().map(settle).collect()).await.expect("the store answers");
    }
}

/// A request that is not finished. An empty token means none.
pub(crate) fn request(method: &str, path: &str, token: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
}

fn services(store: &Arc<FakeStore>, clock: &Arc<ManualClock>, keys: &Arc<Keys>) -> Services {
    let (sender, broker) = (Arc::new(FakeSender::default()), Arc::new(FakeBroker::default()));
    let ids = Arc::new(MonotonicIds::default());
    Services {
        submitter: Submitter {
            sender: sender.clone(),
            catalog: store.clone(),
            intake: store.clone(),
            broker: broker.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            key_ttl: DEFAULT_TTL,
            witness: None,
        },
        follower: Follower { history: store.clone(), clock: clock.clone() },
        reviewer: Reviewer {
            dead_letters: store.clone(),
            catalog: store.clone(),
            sender,
            broker,
            clock: clock.clone(),
            ids,
        },
        users: Users { catalog: store.clone(), upkeep: store.clone(), clock: clock.clone() },
        catalog: store.clone(),
        streams: store.clone(),
        upkeep: store.clone(),
        clock: clock.clone(),
        token_clock: clock.clone(),
        keys: keys.clone(),
    }
}
