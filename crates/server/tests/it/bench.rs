//! The benchmark measures what it says, with the real program on both sides. How fast it is, no test asks.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// Short, and so little load that a debug build keeps up.
const SHORT: [&str; 6] = ["--duration", "1s", "--warmup", "1s", "--connections", "4"];

async fn bench(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command
        .arg("bench")
        .args(words)
        .env_clear()
        .env("MIN_FREE_DISK", "0 B")
        .env("TMPDIR", folder)
        .current_dir(folder)
        .kill_on_drop(true);
    command.output().await.unwrap()
}

/// Runs a measurement that has to succeed and gives its report.
async fn report(folder: &Path, words: &[&str]) -> Value {
    let path = folder.join("report.json");
    let json = ["--json", path.to_str().unwrap()];
    let words: Vec<&str> = words.iter().chain(&json).copied().collect();
    let output = bench(folder, &words).await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("durability"), "{said}");
    let left: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "report.json")
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {report:#}"))
}

#[tokio::test]
async fn accepting_is_measured_with_what_it_costs() {
    let folder = TempDir::new().unwrap();
    let words = ["accept", "--idempotency-keys", "--users", "20", "--preload", "700"];
    let report = report(folder.path(), &[&words[..], &SHORT[..]].concat()).await;
    assert!(number(&report, "/accept/count") > 0.0);
    assert!(number(&report, "/accept/latencyMs/p99") > 0.0);
    assert!(number(&report, "/server/peakResidentBytes") > 1e6);
    assert_eq!(report["plan"]["loop"], "closed");
    assert_eq!(report["plan"]["preloaded"], 700);
    assert_eq!(report["machine"]["fsync"].as_str().unwrap().split(' ').next(), Some("on"));
}

#[tokio::test]
async fn a_fixed_rate_is_kept_and_batches_count_their_items() {
    let folder = TempDir::new().unwrap();
    let words = ["accept", "--channel", "none-due", "--rate", "20", "--batch", "5"];
    let report = report(folder.path(), &[&words[..], &SHORT[..]].concat()).await;
    assert_eq!(report["plan"]["loop"], "open");
    assert_eq!(number(&report, "/accept/countInTotal").to_bits(), 200.0_f64.to_bits(), "{report:#}");
    assert_eq!(report["accept"]["deliveredByTheEnd"], 0, "nothing was due");
}

#[tokio::test]
async fn deliveries_are_followed_to_the_receiver() {
    let folder = TempDir::new().unwrap();
    for channel in ["in-app", "webhook", "email"] {
        let words = ["deliver", "--channel", channel, "--under-way", "50"];
        let report = report(folder.path(), &[&words[..], &SHORT[..]].concat()).await;
        assert!(number(&report, "/deliver/perSecond") > 0.0);
        assert!(number(&report, "/deliver/latencyMs/count") > 0.0);
        assert_eq!(report["deliver"]["neverDelivered"], 0, "{report:#}");
        assert_eq!(report["deliver"]["countInTotal"], report["accept"]["countInTotal"], "{report:#}");
        assert!(number(&report, "/deliver/waitingAtTheEnd") <= 50.0);
    }
}

#[tokio::test]
async fn a_killed_server_is_watched_until_it_is_back() {
    let folder = TempDir::new().unwrap();
    let words = ["recover", "--pending", "600", "--channel", "webhook"];
    let report = report(folder.path(), &[&words[..], &SHORT[..]].concat()).await;
    assert!(number(&report, "/recover/rateBefore") > 0.0);
    assert!(number(&report, "/recover/startToReadyMs") > 0.0);
    assert!(number(&report, "/recover/killToFullRateMs") >= number(&report, "/recover/killToFirstDeliveryMs"));
}

#[tokio::test]
async fn rest_is_measured() {
    let folder = TempDir::new().unwrap();
    let report = report(folder.path(), &["idle", "--starts", "2", "--duration", "1s"]).await;
    assert!(number(&report, "/idle/firstStartMs/min") > 0.0);
    assert!(number(&report, "/idle/nextStartMs/min") > 0.0);
    assert!(number(&report, "/idle/residentBytes") > 1e6);
}

#[tokio::test]
async fn a_refusal_is_told_at_once() {
    let folder = TempDir::new().unwrap();
    let words = ["accept", "--path", "/api/nowhere", "--duration", "1h"];
    let output = bench(folder.path(), &words).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("404") && said.contains("--path"), "{said}");
}

#[tokio::test]
async fn two_reports_are_compared() {
    let folder = TempDir::new().unwrap();
    for (name, rate) in [("a.json", 100.0), ("b.json", 250.0)] {
        let report = serde_json::json!({ "benchmark": "accept", "accept": { "perSecond": rate } });
        std::fs::write(folder.path().join(name), report.to_string()).unwrap();
    }
    let output = bench(folder.path(), &["compare", "a.json", "b.json"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("2.50x"), "{said}");
}
