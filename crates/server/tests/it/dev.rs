//! `tidings dev`: everything at once, and nothing leaves the machine.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::{PATIENCE, TESTUSER, World, answer, install_crypto};

struct Dev {
    _child: Child,
    url: String,
    token: String,
    told: Vec<String>,
    http: reqwest::Client,
    _dir: TempDir,
}

/// Starts it on any port and reads what it tells until it is ready.
async fn start() -> Dev {
    install_crypto();
    let dir = TempDir::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(["dev", "--port", "0", "--data"])
        .arg(dir.path().join("data"))
        .env_clear()
        .env("MIN_FREE_DISK", "0 B")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            told.push(line);
            if told.last().is_some_and(|line| line.contains("Ctrl-C")) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it says that it is up");
    let word_after = |mark: &str| {
        let line = told.iter().find(|line| line.contains(mark)).unwrap_or_else(|| panic!("{mark} in {told:#?}"));
        line.split(mark).nth(1).unwrap().split([' ', ',']).next().unwrap().to_owned()
    };
    let (url, token) = (word_after("is up at "), word_after("TOKEN="));
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    Dev { _child: child, url, token, told, http, _dir: dir }
}

impl Dev {
    async fn ended(&self, id: &str) -> Value {
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                let record =
                    answer(self.http.get(format!("{}/api/notifications/{id}", self.url)).bearer_auth(&self.token))
                        .await;
                if record.json()["status"] != "pending" {
                    return record.json();
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it ends")
    }
}

#[tokio::test]
async fn it_shows_what_came_out_of_every_channel_and_takes_the_curl_lines_it_prints() {
    let dev = start().await;
    for channel in ["in-app", "email", "sms", "webhook"] {
        let shown = dev.told.iter().any(|line| line.trim_start().starts_with(channel) && line.contains("delivered"));
        assert!(shown, "{channel} in {:#?}", dev.told);
    }
    let command = dev.told.iter().find(|line| line.contains("curl") && line.contains("/api/notifications/")).unwrap();
    let id = command.split("/api/notifications/").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(dev.ended(id).await["status"], "processed");
}

#[tokio::test]
async fn a_webhook_to_the_world_is_caught() {
    let dev = start().await;
    let body = json!({"targetUserId": TESTUSER, "type": "webhook", "payload": {"url": "https://example.com/hooks/orders?x=1"}});
    let sent =
        answer(dev.http.post(format!("{}/api/notifications", dev.url)).bearer_auth(&dev.token).json(&body)).await;
    let record = dev.ended(sent.json()["messageId"].as_str().unwrap()).await;
    assert_eq!(record["status"], "processed", "{record:#}");
    let events = answer(dev.http.get(format!("{}/dev/events?after=0", dev.url))).await;
    assert!(events.text.contains("/example.com/hooks/orders"), "{}", events.text);
}

#[tokio::test]
async fn a_stranger_s_name_for_this_machine_opens_nothing() {
    let dev = start().await;
    for path in ["/dev", "/dev/session.json", "/api/notifications", "/health"] {
        let refused = answer(dev.http.get(format!("{}{path}", dev.url)).header("host", "evil.example")).await;
        assert_eq!(refused.status, 403, "{path}");
    }
    let foreign = dev.http.post(format!("{}/dev/clock", dev.url)).header("origin", "https://evil.example");
    assert_eq!(answer(foreign.json(&json!({"advance": "60s"}))).await.status, 403);
}

#[tokio::test]
async fn the_page_of_dev_is_not_part_of_serve() {
    let world = World::start().await;
    for path in ["/dev", "/dev/session.json", "/dev/clock"] {
        assert_eq!(answer(world.http.get(world.url(path))).await.status, 404, "{path}");
    }
    world.stop().await;
}
