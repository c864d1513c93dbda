//! The real program, killed, stopped, and started twice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings_api::token::{Claims, Keys};
use tidings_catcher::HttpCatcher;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, TESTUSER, install_crypto};

const SECRET: &str = "another secret of more than thirty-two bytes";

struct Program {
    child: Child,
    url: String,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn command(data: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command
        .args(["serve", "--port", &port.to_string(), "--data"])
        .arg(data)
        .env_clear()
        .env("JWT_SECRET", SECRET)
        .env("OUTBOUND_ALLOW", "127.0.0.0/8")
        .env("MIN_FREE_DISK", "0 B")
        .env("LOG_LEVEL", "warn")
        .current_dir(data.parent().unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn start(data: &Path) -> Program {
    let port = free_port();
    let child = command(data, port).spawn().unwrap();
    let program = Program { child, url: format!("http://127.0.0.1:{port}") };
    let http = reqwest::Client::builder().build().unwrap();
    let ready = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if http.get(format!("{}/ready", program.url)).send().await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("the program becomes ready");
    program
}

fn token() -> String {
    let claims = Claims {
        user_id: Some(TESTUSER.parse().unwrap()),
        username: Some("testuser".to_owned()),
        tenant: None,
        scope: Some("admin".to_owned()),
        iat: Some(1_700_000_000),
        exp: Some(4_000_000_000),
    };
    Keys::new(SECRET.as_bytes(), true).issue(&claims).unwrap()
}

fn client() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap()
}

async fn create_user(http: &reqwest::Client, url: &str) {
    let body = json!({"id": TESTUSER, "username": "testuser", "email": "test@example.com"});
    let answer = http.post(format!("{url}/api/users")).bearer_auth(token()).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

/// Sends until told to stop; returns the ids that were acknowledged.
async fn load(http: reqwest::Client, url: String, hook: String, worker: usize, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (channel, payload) = if number.is_multiple_of(2) {
            ("in-app", json!({"title": "t"}))
        } else {
            ("webhook", json!({"url": hook}))
        };
        let body = json!({"targetUserId": TESTUSER, "type": channel, "payload": payload, "idempotencyKey": format!("{worker}-{number}")});
        let Ok(answer) = http.post(format!("{url}/api/notifications")).bearer_auth(token()).json(&body).send().await
        else {
            break;
        };
        if answer.status() == 202
            && let Ok(body) = answer.json::<Value>().await
        {
            acknowledged.push(body["messageId"].as_str().unwrap().to_owned());
        }
    }
    acknowledged
}

async fn record(http: &reqwest::Client, url: &str, id: &str) -> Value {
    let answer = http.get(format!("{url}/api/notifications/{id}")).bearer_auth(token()).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{id} was acknowledged and is lost");
    answer.json().await.unwrap()
}

/// The program with a user, and somebody who receives webhooks.
struct Scene {
    data: PathBuf,
    receiver: HttpCatcher,
    http: reqwest::Client,
    program: Program,
    _dir: TempDir,
}

impl Scene {
    async fn begin() -> Self {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        let receiver = HttpCatcher::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let http = client();
        let program = start(&data).await;
        create_user(&http, &program.url).await;
        Self { data, receiver, http, program, _dir: dir }
    }
}

/// Waits until a notification has reached its end.
async fn ended(http: &reqwest::Client, url: &str, id: &str) -> Value {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            let record = record(http, url, id).await;
            if record["status"] != "pending" {
                return record;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("everything ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_loses_nothing_and_repeats_only_what_was_in_flight() {
    let Scene { data, receiver, http, mut program, _dir } = Scene::begin().await;
    let hook = format!("http://{}/hook", receiver.addr());

    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for worker in 0..16 {
        workers.spawn(load(http.clone(), program.url.clone(), hook.clone(), worker, Arc::clone(&stop)));
    }
    receiver.wait_for(200, PATIENCE).await.unwrap();
    program.child.kill().await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<String> = workers.join_all().await.into_iter().flatten().collect();
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());

    let program = start(&data).await;
    let mut delivered_hooks = BTreeSet::new();
    for id in &acknowledged {
        let record = ended(&http, &program.url, id).await;
        assert_eq!(record["status"], "processed", "{record:#}");
        let ends = record["journal"].as_array().unwrap().iter().filter(|entry| entry["event"] == "delivered").count();
        assert_eq!(ends, 1, "{record:#}");
        if record["type"] == "webhook" {
            delivered_hooks.insert(id.clone());
        }
    }
    // What the receiver got twice was in flight when the program died: its journal says so.
    let mut calls = std::collections::BTreeMap::<String, usize>::new();
    for request in receiver.requests() {
        *calls.entry(request.header("webhook-id").unwrap().to_owned()).or_default() += 1;
    }
    for (id, count) in calls.iter().filter(|(_, count)| **count > 1) {
        let record = record(&http, &program.url, id).await;
        let lost = record["journal"].as_array().unwrap().iter().filter(|entry| entry["event"] == "lease-lost").count();
        assert!(count - 1 <= lost, "{id} was sent {count} times: {record:#}");
    }
    let inbox: Value = http
        .get(format!("{}/api/users/{TESTUSER}/inbox?after=0&limit=200", program.url))
        .bearer_auth(token())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let numbers: Vec<u64> =
        inbox["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_finishes_what_it_has_begun_and_exits_cleanly() {
    let Scene { data, receiver, http, mut program, _dir } = Scene::begin().await;
    let hook = format!("http://{}/hook", receiver.addr());
    let stop = Arc::new(AtomicBool::new(false));
    let loading = tokio::spawn(load(http.clone(), program.url.clone(), hook, 0, Arc::clone(&stop)));
    receiver.wait_for(20, PATIENCE).await.unwrap();
    let process = i32::try_from(program.child.id().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(process).unwrap(), rustix::process::Signal::TERM)
        .unwrap();
    let status = tokio::time::timeout(PATIENCE, program.child.wait()).await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    let acknowledged = loading.await.unwrap();
    assert_eq!(status.code(), Some(0));

    let program = start(&data).await;
    for id in &acknowledged {
        let record = record(&http, &program.url, id).await;
        let lost = record["journal"].as_array().unwrap().iter().any(|entry| entry["event"] == "lease-lost");
        assert!(!lost, "a clean stop leaves no lease behind: {record:#}");
    }
}

#[tokio::test]
async fn what_is_stored_is_for_its_owner_alone_and_gone_once_it_was_erased() {
    use std::os::unix::fs::PermissionsExt;

    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let http = client();
    let mut program = start(&data).await;
    create_user(&http, &program.url).await;
    let payload = json!({"title": "CANARY-TITLE", "message": "CANARY-MESSAGE"});
    let body =
        json!({"targetUserId": TESTUSER, "type": "in-app", "payload": payload, "metadata": {"note": "CANARY-NOTE"}});
    let sent =
        http.post(format!("{}/api/notifications", program.url)).bearer_auth(token()).json(&body).send().await.unwrap();
    let id = sent.json::<Value>().await.unwrap()["messageId"].as_str().unwrap().to_owned();
    ended(&http, &program.url, &id).await;
    let deleted =
        http.delete(format!("{}/api/users/{TESTUSER}", program.url)).bearer_auth(token()).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    let process = i32::try_from(program.child.id().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(process).unwrap(), rustix::process::Signal::TERM)
        .unwrap();
    program.child.wait().await.unwrap();

    for entry in std::fs::read_dir(&data).unwrap().map(Result::unwrap) {
        let bytes = std::fs::read(entry.path()).unwrap();
        let name = entry.file_name();
        assert!(!bytes.windows(6).any(|window| window == b"CANARY"), "{} still has what was erased", name.display());
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", name.display());
    }
}

#[tokio::test]
async fn two_programs_do_not_share_a_directory() {
    install_crypto();
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let _first = start(&data).await;
    let second = command(&data, free_port()).output().await.unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("in use by another Tidings process"), "{said}");
}

#[tokio::test]
async fn production_does_not_start_with_a_weak_secret() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    for secret in [None, Some(""), Some("short"), Some("your_jwt_secret_key_change_in_production")] {
        let mut program = command(&data, free_port());
        program.env("NODE_ENV", "production").env_remove("JWT_SECRET");
        if let Some(secret) = secret {
            program.env("JWT_SECRET", secret);
        }
        let output = program.output().await.unwrap();
        assert_eq!(output.status.code(), Some(78), "{secret:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("JWT_SECRET") && !said.contains("your_jwt_secret_key"), "{said}");
    }
}

#[tokio::test]
async fn what_is_configured_wrongly_is_named() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    for (name, value, hint) in [
        ("API_PORT", "eighty", "API_PORT"),
        ("MAX_RETRIES", "-1", "MAX_RETRIES"),
        ("TIDINGS_BIMD", "127.0.0.1", "TIDINGS_BIND"),
        ("DATABASE_URL", "postgres://localhost/x", "DATABASE_URL"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL"),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tidings"));
        program
            .args(["serve", "--data"])
            .arg(&data)
            .env_clear()
            .env("JWT_SECRET", SECRET)
            .env(name, value)
            .current_dir(dir.path());
        let output = program.output().await.unwrap();
        assert_eq!(output.status.code(), Some(78), "{name}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(hint), "{said}");
    }
}
