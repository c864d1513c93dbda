//! A log that nobody reads.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tidings_api::token::{Claims, Keys};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{PATIENCE, TESTUSER, answer, install_crypto};

const SECRET: &str = "yet another secret of more than thirty-two bytes";

/// More lines than can wait, with what the pipe and the buffers hold.
const BATCHES: usize = 30;
const ITEMS: usize = 1_000;

fn token() -> String {
    let claims = Claims { scope: Some("admin".to_owned()), exp: Some(4_000_000_000), ..Claims::default() };
    Keys::new(SECRET.as_bytes(), true).issue(&claims).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_no_request_and_no_end() {
    install_crypto();
    let dir = TempDir::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The pipe stays open and unread until the end of the test.
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(["serve", "--port", &port.to_string(), "--data"])
        .arg(dir.path().join("data"))
        .env_clear()
        .envs([("JWT_SECRET", SECRET), ("LOG_LEVEL", "debug"), ("LOG_FORMAT", "json")])
        .envs([("MIN_FREE_DISK", "0 B"), ("SHUTDOWN_TIMEOUT", "5s")])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let ready = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if http.get(format!("{url}/ready")).send().await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
        }
    };
    timeout(PATIENCE, ready).await.expect("the program becomes ready");
    let post = async |path: &str, body: String| {
        let request = http.post(format!("{url}{path}")).bearer_auth(token());
        answer(request.header("content-type", "application/json").body(body)).await
    };
    let user = json!({"id": TESTUSER, "username": "testuser"}).to_string();
    assert_eq!(post("/api/users", user).await.status, 201);
    let note = json!({"targetUserId": TESTUSER, "type": "in-app", "priority": "critical", "payload": {"title": "t"}});
    let batch = json!({"notifications": vec![note; ITEMS]}).to_string();
    for _ in 0..BATCHES {
        let accepted = post("/api/notifications/batch", batch.clone()).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
    }
    let metrics = answer(http.get(format!("{url}/metrics")).bearer_auth(token())).await.text;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("tidings_log_lines_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 0, "lines are dropped, and counted");

    let process = Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap()).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    let status = timeout(PATIENCE, program.wait()).await.expect("the log holds up no end").unwrap();
    assert_eq!(status.code(), Some(0));
}
