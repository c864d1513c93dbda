//! What a run found, for people and for machines.

mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_core::time::{Clock as _, SystemClock, Timestamp};

use crate::bench::machine::Machine;
use crate::bench::measured::Measured;
use crate::bench::process::Cost;
use crate::cli::output;

/// The figures of one run. Units are in the names. A section that was not measured is absent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) benchmark: &'static str,
    /// Of the program that measured and, unless it was told another, of the server.
    pub(crate) version: &'static str,
    pub(crate) finished_at: Timestamp,
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accept: Option<Accepting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deliver: Option<Delivering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recover: Option<Recovering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<Idling>,
    /// What it cost the processes of the server within the measured time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Cost>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    pub(crate) connections: usize,
    /// `closed`: latencies count from the sending, and a server that stalls slows the load down. `closed on delivery`: as
    /// well, and only so much is under way. `open`: they count from when a request was to be sent.
    #[serde(rename = "loop")]
    pub(crate) pace: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate_per_second: Option<u32>,
    pub(crate) warmup_seconds: f64,
    pub(crate) duration_seconds: f64,
    pub(crate) payload_bytes: usize,
    /// Notifications in one request; 1 uses the route for one.
    pub(crate) batch: u32,
    pub(crate) idempotency_keys: bool,
    pub(crate) users: u64,
    /// Notifications that were stored before, delivered ones.
    pub(crate) preloaded: u64,
    /// Notifications that were stored before, waiting ones.
    pub(crate) pending: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) under_way_at_most: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destinations: Option<usize>,
    /// What the server of our own was told with `--set`; the values of secrets are left out.
    pub(crate) settings: Vec<String>,
}

/// What was accepted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepting {
    pub(crate) per_second: f64,
    /// Within the measured time.
    pub(crate) count: u64,
    /// Warm-up included.
    pub(crate) count_in_total: u64,
    pub(crate) latency_ms: Latency,
    pub(crate) answers_by_status: BTreeMap<u16, u64>,
    pub(crate) connection_failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_connection_failure: Option<String>,
    /// Open loop: requests that were due and were never sent.
    pub(crate) unsent: u64,
    /// Of all that were accepted, how many were delivered when the last answer arrived; absent when the server does not
    /// say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivered_by_the_end: Option<u64>,
}

/// What was delivered.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delivering {
    pub(crate) per_second: f64,
    /// Warm-up included.
    pub(crate) count_in_total: u64,
    /// Accepted and not delivered when the load ended.
    pub(crate) waiting_at_the_end: u64,
    /// The same, after it had had time to finish.
    pub(crate) never_delivered: u64,
    /// From before the request was sent until it was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ms: Option<Latency>,
    /// Where these latencies are from.
    pub(crate) latency_source: &'static str,
    /// Arrived more than once at our own sinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repeated: Option<u64>,
    /// Arrived there although nobody waited for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unexpected: Option<u64>,
}

/// How it came back after it was killed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recovering {
    /// Deliveries per second before.
    pub(crate) rate_before: f64,
    /// From the start of the new process until it says that it is ready.
    pub(crate) start_to_ready_ms: f64,
    /// From `kill -9` to the first delivery that was seen.
    pub(crate) kill_to_first_delivery_ms: f64,
    /// From ready to the first delivery that was seen; zero if it was seen before.
    pub(crate) ready_to_first_delivery_ms: f64,
    /// From `kill -9` to the beginning of the first 200 ms in which nine tenths of the rate before were reached.
    pub(crate) kill_to_full_rate_ms: f64,
    pub(crate) store_bytes: u64,
    pub(crate) filling_seconds: f64,
}

/// What it costs when there is nothing to do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Idling {
    pub(crate) starts: usize,
    /// Into an empty directory.
    pub(crate) first_start_ms: Spread,
    /// Into the directory of the first, after `kill -9`.
    pub(crate) next_start_ms: Spread,
    pub(crate) resident_bytes: u64,
    pub(crate) proportional_bytes: u64,
    /// Share of one core.
    pub(crate) cpu_percent: f64,
    pub(crate) watched_seconds: f64,
}

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
}

/// A few values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        let (p50, p90, p99, p999) = (at(0.5), at(0.9), at(0.99), at(0.999));
        Self { p50, p90, p99, p999, max: millis(histogram.max()), count: histogram.len() }
    }
}

impl Spread {
    pub(crate) fn of(durations: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = durations.iter().copied().map(in_millis).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        Self { median: at(sorted.len() / 2), min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }
}

impl Accepting {
    pub(crate) fn of(measured: Measured, duration: Duration, delivered_by_the_end: Option<u64>) -> Self {
        Self {
            per_second: per_second(measured.accepted, duration),
            count: measured.accepted,
            count_in_total: measured.accepted_in_total,
            latency_ms: Latency::of(&measured.latency),
            answers_by_status: measured.statuses,
            connection_failures: measured.failures,
            first_connection_failure: measured.first_failure,
            unsent: measured.unsent,
            delivered_by_the_end,
        }
    }

    fn is_clean(&self) -> bool {
        self.count > 0
            && self.connection_failures == 0
            && self.unsent == 0
            && self.answers_by_status.keys().all(|status| *status == 202)
    }
}

impl Report {
    /// A report without figures.
    pub(crate) fn new(benchmark: &'static str, machine: Machine, plan: Plan) -> Self {
        Self {
            benchmark,
            version: env!("CARGO_PKG_VERSION"),
            finished_at: SystemClock::default().now(),
            machine,
            plan,
            accept: None,
            deliver: None,
            recover: None,
            idle: None,
            server: None,
        }
    }

    /// Whether everything went as it should: every request accepted, everything delivered, once.
    pub(crate) fn is_clean(&self) -> bool {
        self.accept.as_ref().is_none_or(Accepting::is_clean)
            && self.deliver.as_ref().is_none_or(|deliver| deliver.never_delivered == 0 && deliver.per_second > 0.0)
    }

    /// Prints the table. With `json` the figures go to that file as well; `-` prints them, and the table goes where
    /// errors go.
    pub(crate) fn publish(&self, json: Option<&Path>) -> anyhow::Result<()> {
        let table = text::table(self);
        let Some(path) = json else {
            output::line(table);
            return Ok(());
        };
        let text = serde_json::to_string_pretty(self)?;
        if path == Path::new("-") {
            output::remark(table);
            output::line(text);
            return Ok(());
        }
        output::line(table);
        std::fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
pub(crate) fn per_second(count: u64, duration: Duration) -> f64 {
    count as f64 / duration.as_secs_f64().max(0.001)
}

#[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// A duration in milliseconds, with three decimals.
pub(crate) fn in_millis(duration: Duration) -> f64 {
    millis(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_from_the_histogram() {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        (1..=1000).for_each(|micros| histogram.saturating_record(micros));
        let latency = Latency::of(&histogram);
        assert!((latency.p50 - 0.5).abs() < 0.002 && (latency.max - 1.0).abs() < 0.002, "{latency:?}");
        assert_eq!(latency.count, 1000);
    }

    #[test]
    fn a_spread_has_its_middle() {
        let spread = Spread::of(&[3, 1, 2].map(Duration::from_millis));
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn the_file_has_what_the_table_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let report = text::tests::report();
        report.publish(Some(&path)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(json["plan"]["loop"], "closed");
        assert_eq!(json["accept"]["latencyMs"]["p99"], 3.5);
        assert_eq!(json["accept"]["answersByStatus"]["202"], 123_456);
        assert_eq!(json["machine"]["flushMicros"], 150);
        assert!(json.get("idle").is_none());
    }
}
