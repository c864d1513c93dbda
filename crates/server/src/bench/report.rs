//! What a run found, for people and for machines.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::bench::load::{Measured, Plan};

/// The figures of one run. Units are in the names.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) benchmark: &'static str,
    pub(crate) channel: String,
    pub(crate) connections: usize,
    pub(crate) duration_seconds: f64,
    pub(crate) payload_bytes: usize,
    pub(crate) idempotency_keys: bool,
    pub(crate) accepted: u64,
    pub(crate) accepts_per_second: f64,
    pub(crate) latency_ms: Latency,
    /// Answers within the measured time, by status.
    pub(crate) answers_by_status: BTreeMap<u16, u64>,
    pub(crate) connection_failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_connection_failure: Option<String>,
    /// Warm-up included, so that it can be compared with what was delivered.
    pub(crate) accepted_in_total: u64,
    /// How many of these were delivered when the last answer arrived; absent when the server does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivered_by_the_end: Option<u64>,
    pub(crate) durability: String,
}

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: millis(histogram.max()) }
    }
}

/// What the run was, beside its plan.
pub(crate) struct Subject {
    pub(crate) benchmark: &'static str,
    pub(crate) channel: String,
    pub(crate) payload_bytes: usize,
    pub(crate) idempotency_keys: bool,
    pub(crate) delivered_by_the_end: Option<u64>,
    pub(crate) durability: String,
}

impl Report {
    pub(crate) fn new(subject: Subject, plan: &Plan, measured: Measured) -> Self {
        let accepted = measured.answers(202);
        Self {
            benchmark: subject.benchmark,
            channel: subject.channel,
            connections: plan.connections,
            duration_seconds: plan.duration.as_secs_f64(),
            payload_bytes: subject.payload_bytes,
            idempotency_keys: subject.idempotency_keys,
            accepted,
            accepts_per_second: per_second(accepted, plan.duration),
            latency_ms: Latency::of(&measured.latency),
            answers_by_status: measured.statuses,
            connection_failures: measured.failures,
            first_connection_failure: measured.first_failure,
            accepted_in_total: measured.successes_in_total,
            delivered_by_the_end: subject.delivered_by_the_end,
            durability: subject.durability,
        }
    }

    /// Whether every request was accepted.
    pub(crate) fn is_clean(&self) -> bool {
        self.accepted > 0 && self.connection_failures == 0 && self.answers_by_status.keys().all(|status| *status == 202)
    }

    /// The report as a table.
    pub(crate) fn to_table(&self) -> String {
        let latency = self.latency_ms;
        let mut rows = vec![
            ("accepts/s", grouped(rounded(self.accepts_per_second))),
            ("accepted", format!("{} in {} s", grouped(self.accepted), self.duration_seconds)),
            ("p50", in_millis(latency.p50)),
            ("p90", in_millis(latency.p90)),
            ("p99", in_millis(latency.p99)),
            ("p99.9", in_millis(latency.p999)),
            ("max", in_millis(latency.max)),
        ];
        rows.push(("errors", self.errors()));
        rows.push(("delivered", self.delivered()));
        rows.push(("durability", self.durability.clone()));
        let title = format!(
            "bench {}: {} connections, {}, {} bytes of payload, idempotency keys {}",
            self.benchmark,
            self.connections,
            self.channel,
            self.payload_bytes,
            if self.idempotency_keys { "on" } else { "off" }
        );
        let lines = rows.into_iter().map(|(name, value)| format!("  {name:<11} {value}"));
        [title, String::new()].into_iter().chain(lines).collect::<Vec<String>>().join("\n")
    }

    fn errors(&self) -> String {
        let statuses = self.answers_by_status.iter().filter(|(status, _)| **status != 202);
        let mut errors: Vec<String> =
            statuses.map(|(status, count)| format!("{} x {status}", grouped(*count))).collect();
        if self.connection_failures > 0 {
            let why = self.first_connection_failure.as_deref().unwrap_or("unknown");
            errors.push(format!("{} x no answer (first: {why})", grouped(self.connection_failures)));
        }
        if errors.is_empty() { "none".to_owned() } else { errors.join(", ") }
    }

    fn delivered(&self) -> String {
        let accepted = grouped(self.accepted_in_total);
        match self.delivered_by_the_end {
            Some(delivered) => format!("{} by the end, of {accepted} accepted (warm-up included)", grouped(delivered)),
            None => format!("not known: the server shows no metrics; {accepted} accepted (warm-up included)"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn per_second(count: u64, duration: Duration) -> f64 {
    count as f64 / duration.as_secs_f64().max(0.001)
}

#[expect(clippy::cast_precision_loss, reason = "a latency is at most a minute of microseconds")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and far below 2^52")]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

fn in_millis(millis: f64) -> String {
    format!("{millis:.2} ms")
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            benchmark: "accept",
            channel: "in-app".to_owned(),
            connections: 64,
            duration_seconds: 10.0,
            payload_bytes: 400,
            idempotency_keys: false,
            accepted: 123_456,
            accepts_per_second: 12_345.6,
            latency_ms: Latency { p50: 1.0, p90: 2.0, p99: 3.5, p999: 7.25, max: 9.0 },
            answers_by_status: BTreeMap::from([(202, 123_456)]),
            connection_failures: 0,
            first_connection_failure: None,
            accepted_in_total: 150_000,
            delivered_by_the_end: Some(149_999),
            durability: "synchronous=FULL".to_owned(),
        }
    }

    #[test]
    fn the_table_shows_rate_quantiles_and_deliveries() {
        let table = report().to_table();
        for expected in ["12 346", "3.50 ms", "7.25 ms", "149 999 by the end", "errors      none", "synchronous=FULL"] {
            assert!(table.contains(expected), "{expected} is missing in\n{table}");
        }
    }

    #[test]
    fn a_run_with_other_answers_is_not_clean() {
        assert!(report().is_clean());
        let refused = Report { answers_by_status: BTreeMap::from([(202, 5), (503, 2)]), ..report() };
        assert!(!refused.is_clean());
        assert!(refused.to_table().contains("2 x 503"));
        let cut = Report { connection_failures: 1, first_connection_failure: Some("reset".to_owned()), ..report() };
        assert!(!cut.is_clean());
        assert!(cut.to_table().contains("1 x no answer (first: reset)"));
    }

    #[test]
    fn quantiles_come_from_the_histogram() {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        (1..=1000).for_each(|micros| histogram.saturating_record(micros));
        let latency = Latency::of(&histogram);
        assert!((latency.p50 - 0.5).abs() < 0.002 && (latency.max - 1.0).abs() < 0.002, "{latency:?}");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1 000");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
