//! Nothing secret and nothing that was told gets into logs, errors or metrics, however talkative the log is.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings_api::token::{Claims, Keys};
use tidings_catcher::{HttpAnswer, HttpCatcher, SmtpAnswer, SmtpCatcher, SmtpStage};
use tokio::process::{Child, Command};

use crate::harness::{Answer, PATIENCE, TESTUSER, answer, install_crypto};

/// Every secret and every content has this word in it, in whatever case.
const CANARY: &str = "canary";
const SECRET: &str = "canary-jwt-secret-of-more-than-32-bytes";
const PHONE: &str = "+442071839911";

/// The program at its most talkative, and receivers that refuse whatever they get and repeat it.
struct Scene {
    dir: TempDir,
    child: Child,
    url: String,
    http: reqwest::Client,
    /// All that clients were told when something was refused, and the metrics.
    told: String,
    _mail: SmtpCatcher,
    web: HttpCatcher,
}

fn command(dir: &Path, mail: &SmtpCatcher, web: &HttpCatcher, port: u16) -> Command {
    let log = |name: &str| Stdio::from(File::create(dir.join(name)).unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command
        .args(["serve", "--port", &port.to_string(), "--data"])
        .arg(dir.join("data"))
        .env_clear()
        .env("LOG_LEVEL", "trace")
        .env("LOG_FORMAT", "json")
        .env("JWT_SECRET", SECRET)
        .env("REGISTRATION", "true")
        .env("OUTBOUND_ALLOW", "127.0.0.0/8")
        .env("MIN_FREE_DISK", "0 B")
        .env("MAX_RETRIES", "0")
        .env("SMTP_URL", format!("smtp://canary-user:canary-password@{}?tls=none", mail.addr()))
        .env("SMTP_FROM", "News <news@example.com>")
        .env("SMS_BASE_URL", web.url(""))
        .env("SMS_ACCOUNT_SID", "AC0123456789")
        .env("SMS_AUTH_TOKEN", "canary-sms-token")
        .env("SMS_FROM", "+15005550006")
        .env("WEBHOOK_SECRET", "whsec_CanaryCanaryCanaryCanaryCanaryCa")
        .env("EVENTS_URL", web.url("/events?key=canary-events-key"))
        .env("ALERT_WEBHOOK_URL", web.url("/alerts?key=canary-alerts-key"))
        .current_dir(dir)
        .stdout(log("stdout"))
        .stderr(log("stderr"))
        .kill_on_drop(true);
    command
}

impl Scene {
    async fn begin() -> Self {
        install_crypto();
        let local = "127.0.0.1:0".parse().unwrap();
        let (mail, web) = (SmtpCatcher::start(local).await.unwrap(), HttpCatcher::start(local).await.unwrap());
        mail.script(vec![SmtpAnswer::refuse(SmtpStage::Rcpt, 550, "canary-said-by-the-relay"); 20]);
        web.script(vec![HttpAnswer::json(400, &json!({"error": "canary-said-by-the-provider"})); 20]);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = TempDir::new().unwrap();
        let child = command(dir.path(), &mail, &web, port).spawn().unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let ready = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                if http.get(format!("{url}/ready")).send().await.is_ok_and(|answer| answer.status() == 200) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the program becomes ready");
        Self { dir, child, url, http, told: String::new(), _mail: mail, web }
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(token());
        answer(request.header("content-type", "application/json").body(body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(format!("{}{path}", self.url)).bearer_auth(token())).await
    }

    /// Something that is refused; what is told about it must not repeat it.
    async fn refused(&mut self, path: &str, body: &str) {
        let answer = self.post(path, body.to_owned()).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.text);
        self.told.push_str(&answer.text);
    }

    /// Something that is accepted and comes to its end.
    async fn told_on(&self, channel: &str, payload: Value) {
        let note = json!({
            "targetUserId": TESTUSER, "type": channel, "payload": payload,
            "metadata": {"note": "canary-metadata"}, "idempotencyKey": format!("canary-key-{channel}"),
        });
        let accepted = self.post("/api/notifications", note.to_string()).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        let id = accepted.json()["messageId"].as_str().unwrap().to_owned();
        let ended = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            loop {
                ticks.tick().await;
                if self.get(&format!("/api/notifications/{id}")).await.json()["status"] != "pending" {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("everything ends");
    }

    /// Stops the program and gives all that it wrote.
    async fn written(mut self) -> String {
        let process = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it stops").unwrap();
        let read = |name: &str| std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        read("stdout") + &read("stderr")
    }
}

fn token() -> String {
    let claims = Claims {
        user_id: Some(TESTUSER.parse().unwrap()),
        username: Some("canary-name-in-a-token".to_owned()),
        scope: Some("admin".to_owned()),
        exp: Some(4_000_000_000),
        ..Claims::default()
    };
    Keys::new(SECRET.as_bytes(), true).issue(&claims).unwrap()
}

fn assert_clean(what: &str, text: &str) {
    for line in text.lines() {
        let lower = line.to_lowercase();
        assert!(!lower.contains(CANARY), "{what}: {line}");
        assert!(!line.contains(PHONE.trim_start_matches('+')), "{what}: {line}");
        assert!(!line.contains(&token()) && !lower.contains("bearer"), "{what}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_secret_and_what_is_told_stays_out_of_logs_errors_and_metrics() {
    let mut scene = Scene::begin().await;
    let hook = scene.web.url("/hook?token=canary-token-in-a-url");
    let user = json!({
        "id": TESTUSER, "username": "canary-name", "email": "canary-address@example.com", "phone": PHONE,
        "webhookUrl": hook, "password": "canary-user-password",
    });
    let created = scene.post("/api/users", user.to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let login = json!({"username": "canary-name", "password": "canary-user-password"});
    assert_eq!(scene.post("/api/auth/login", login.to_string()).await.status, 200);

    scene.told_on("in-app", json!({"title": "canary-title", "message": "canary-message"})).await;
    scene.told_on("email", json!({"subject": "canary-subject", "body": "canary-body"})).await;
    scene.told_on("sms", json!({"message": "canary-text"})).await;
    scene.told_on("webhook", json!({"data": {"note": "canary-data"}})).await;

    scene.refused("/api/auth/login", r#"{"username":"canary-name","password":"canary-wrong"}"#).await;
    scene.refused("/api/auth/login", r#"{"username":"canary-name","password":["canary-wrong"]}"#).await;
    scene.refused("/api/auth/register", r#"{"username":"x","email":"canary@","password":"canary"}"#).await;
    scene
        .refused("/api/notifications", r#"{"targetUserId":"canary","type":"in-app","payload":{"title":"canary"}}"#)
        .await;
    scene.refused("/api/notifications", r#"{"targetUserId":canary}"#).await;
    scene.refused("/api/notifications", "canary").await;
    scene.refused("/api/users", r#"{"username":"x","phone":"canary","email":"canary"}"#).await;
    scene.refused("/api/dead-letters/canary-id/redrive?canary=canary", "{}").await;
    scene.refused("/canary-path?canary=canary", "{}").await;
    let metrics = scene.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text.contains("notifications_failed_total"), "something was refused by a provider");

    assert_clean("an error", &scene.told);
    assert_clean("a metric", &metrics.text);
    let written = scene.written().await;
    assert!(written.lines().count() > 10 && written.contains("Accepted notification"), "the log is worth looking at");
    assert_clean("the log", &written);
}
