//! A world to tell stories in: the whole product in this process, a mail catcher, an HTTP catcher, and a clock to move.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::config::{Config, Sources};
use tidings::serve::{App, Overrides};
use tidings_api::token::{Claims, Keys};
use tidings_catcher::{HttpCatcher, SmtpCatcher};
use tidings_core::time::{Clock, SystemClock, Timestamp};
use uuid::Uuid;

/// The seed's test user.
pub(crate) const TESTUSER: &str = "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a";
/// The seed's second user.
pub(crate) const USER1: &str = "550e8400-e29b-41d4-a716-446655440001";

const SECRET: &str = "a secret of more than thirty-two bytes for tests";
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The product and what surrounds it.
pub(crate) struct World {
    app: App,
    addr: SocketAddr,
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) mail: SmtpCatcher,
    pub(crate) web: HttpCatcher,
    pub(crate) http: reqwest::Client,
    dir: TempDir,
    sources: Sources,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
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

    /// Status and code at once, for comparing.
    pub(crate) fn verdict(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(crate) fn install_crypto() {
    // Every test of a process asks; the first one wins.
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap_or_default_provider();
}

trait Installed {
    fn unwrap_or_default_provider(self);
}

impl<T> Installed for Result<(), T> {
    fn unwrap_or_default_provider(self) {
        drop(self);
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts the product with these environment variables on top.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_with_file(settings, "").await
    }

    /// The same with a TOML file.
    pub(crate) async fn start_with_file(settings: &[(&str, &str)], toml: &str) -> Self {
        install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let mail = SmtpCatcher::start(LOCAL).await.unwrap();
        let web = HttpCatcher::start(LOCAL).await.unwrap();
        let mut environment: BTreeMap<String, String> = [
            ("NODE_ENV", "development".to_owned()),
            ("API_PORT", "0".to_owned()),
            ("JWT_SECRET", SECRET.to_owned()),
            ("TIDINGS_DATA", dir.path().join("data").display().to_string()),
            ("SMTP_URL", format!("smtp://{}?tls=none", mail.addr())),
            ("SMTP_FROM", "Tidings <noreply@tidings.example>".to_owned()),
            ("SMS_BASE_URL", format!("http://{}", web.addr())),
            ("SMS_ACCOUNT_SID", "AC0123456789".to_owned()),
            ("SMS_AUTH_TOKEN", "token".to_owned()),
            ("SMS_FROM", "+15005550006".to_owned()),
            ("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
            ("OUTBOUND_ALLOW", "127.0.0.0/8".to_owned()),
            ("MIN_FREE_DISK", "0 B".to_owned()),
            ("LOG_LEVEL", "error".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let sources = Sources { env: environment, toml: Some(toml.to_owned()), ..Sources::default() };
        let clock = Arc::new(SystemClock::default());
        let app = launch(&sources, &clock).await;
        let addr = app.addr;
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { app, addr, clock, mail, web, http, dir, sources }
    }

    pub(crate) async fn stop(self) {
        self.app.stop().await.unwrap();
    }

    /// Stops it and starts it again on the same directory, at another address.
    pub(crate) async fn restart(self) -> Self {
        let Self { app, addr: _, clock, mail, web, http, dir, sources } = self;
        app.stop().await.unwrap();
        let app = launch(&sources, &clock).await;
        let addr = app.addr;
        Self { app, addr, clock, mail, web, http, dir, sources }
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Whether nothing is being sent, and nothing is due.
    pub(crate) async fn is_idle(&self) -> bool {
        let stats = self.app.services.upkeep.stats().await.unwrap();
        stats.leased == 0 && stats.oldest_due.is_none_or(|due| due > self.clock.now())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where metrics are served by themselves, if they are.
    pub(crate) fn metrics_addr(&self) -> Option<SocketAddr> {
        self.app.metrics_addr
    }

    /// Moves time forward and lets the product notice.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.app.services.submitter.broker.wake();
    }

    /// A token as the seed's clients have it.
    pub(crate) fn token(&self) -> String {
        self.token_of(TESTUSER, None, None)
    }

    pub(crate) fn admin(&self) -> String {
        self.token_of(TESTUSER, Some("admin"), None)
    }

    pub(crate) fn token_of(&self, user: &str, scope: Option<&str>, tenant: Option<&str>) -> String {
        let now = self.clock.now().as_seconds();
        let claims = Claims {
            user_id: Some(user.parse::<Uuid>().unwrap()),
            username: Some("somebody".to_owned()),
            tenant: tenant.map(str::to_owned),
            scope: scope.map(str::to_owned),
            iat: Some(now),
            exp: Some(now + 10 * 365 * 86_400),
        };
        Keys::new(SECRET.as_bytes(), true).issue(&claims).unwrap()
    }

    /// Any request.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method, self.url(path)).bearer_auth(token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, token, Some(body)).await
    }

    /// Posts bytes as they are, as the seed's client.
    pub(crate) async fn post_raw(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request =
            self.http.post(self.url(path)).bearer_auth(self.token()).header("content-type", content_type).body(body);
        answer(request).await
    }

    /// Sends a notification to the test user; it has to be accepted.
    pub(crate) async fn submit(&self, channel: &str, payload: Value) -> String {
        self.submit_with(channel, payload, json!({})).await
    }

    /// The same with further fields.
    pub(crate) async fn submit_with(&self, channel: &str, payload: Value, further: Value) -> String {
        let mut body = json!({"targetUserId": TESTUSER, "type": channel, "payload": payload});
        body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let answer = self.post("/api/notifications", &self.token(), &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["messageId"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn show(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/notifications/{id}"), &self.admin()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Waits until a notification has reached its end.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.until(id, |record| record["status"] != "pending").await
    }

    /// Waits until a notification looks as `is_so` says.
    pub(crate) async fn until(&self, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            loop {
                ticks.tick().await;
                last = self.show(id).await;
                if is_so(&last) {
                    return;
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(outcome.is_ok(), "waited in vain; last seen: {last:#}");
        last
    }

    /// A notification to a webhook that is refused for good, as a dead letter.
    pub(crate) async fn dead_letter(&self) -> String {
        let id = self.submit("webhook", json!({"url": format!("http://{}/status/400", self.web.addr())})).await;
        let record = self.ended(&id).await;
        assert_eq!(record["deliveryStatus"], "dead", "{record:#}");
        id
    }
}

async fn launch(sources: &Sources, clock: &Arc<SystemClock>) -> App {
    let overrides = Overrides { clock: Some(clock.clone()), seed_users: true, ..Overrides::default() };
    App::start(Config::load(sources).unwrap(), overrides).await.unwrap()
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// The events of a journal, in order.
pub(crate) fn events(record: &Value) -> Vec<&str> {
    record["journal"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}

/// An instant as JSON.
pub(crate) fn instant(text: &Value) -> Timestamp {
    Timestamp::parse(text.as_str().unwrap()).unwrap()
}
