//! A report as a table for people.

use crate::bench::process::Cost;
use crate::bench::report::{Accepting, Delivering, Idling, Latency, Plan, Recovering, Report, Spread};

/// A line: what, and how much.
type Row = (&'static str, String);

const BYTES_OF_A_MEGABYTE: u64 = 1_000_000;

/// The report as a table.
pub(crate) fn table(report: &Report) -> String {
    let mut rows = Vec::new();
    rows.extend(report.accept.iter().flat_map(accepting));
    rows.extend(report.deliver.iter().flat_map(delivering));
    rows.extend(report.recover.iter().flat_map(recovering));
    rows.extend(report.idle.iter().flat_map(idling));
    rows.extend(report.server.iter().flat_map(server));
    rows.push(("durability", report.machine.durability()));
    rows.push(("machine", report.machine.in_words()));
    let title = format!("bench {}: {}", report.benchmark, plan(&report.plan));
    let lines = rows.into_iter().map(|(name, value)| format!("  {name:<15} {value}"));
    [title, String::new()].into_iter().chain(lines).collect::<Vec<String>>().join("\n")
}

fn plan(plan: &Plan) -> String {
    if plan.connections == 0 {
        return "with nothing to do".to_owned();
    }
    let mut words = vec![format!("{} connections", plan.connections)];
    words.push(match plan.rate_per_second {
        Some(rate) => format!("open loop at {}/s", grouped(u64::from(rate))),
        None => format!("{} loop", plan.pace),
    });
    words.extend(plan.channel.clone());
    words.push(format!("{} bytes of payload", plan.payload_bytes));
    if plan.batch > 1 {
        words.push(format!("batches of {}", plan.batch));
    }
    if plan.idempotency_keys {
        words.push("idempotency keys".to_owned());
    }
    words.push(if plan.users == 1 { "1 user".to_owned() } else { format!("{} users", grouped(plan.users)) });
    words.extend(plan.under_way_at_most.map(|limit| format!("at most {limit} under way")));
    words.extend(plan.destinations.map(|count| format!("{count} destinations")));
    if plan.preloaded > 0 {
        words.push(format!("{} stored before", grouped(plan.preloaded)));
    }
    if plan.pending > 0 {
        words.push(format!("{} waiting", grouped(plan.pending)));
    }
    words.extend(plan.settings.iter().cloned());
    words.join(", ")
}

fn accepting(accept: &Accepting) -> Vec<Row> {
    let mut rows = vec![
        ("accepts/s", grouped(rounded(accept.per_second))),
        ("accepted", format!("{} ({} with warm-up)", grouped(accept.count), grouped(accept.count_in_total))),
        ("accept latency", quantiles(accept.latency_ms)),
        ("errors", errors(accept)),
    ];
    if let Some(delivered) = accept.delivered_by_the_end {
        rows.push(("delivered", format!("{} by the end", grouped(delivered))));
    }
    rows
}

fn errors(accept: &Accepting) -> String {
    let statuses = accept.answers_by_status.iter().filter(|(status, _)| **status != 202);
    let mut errors: Vec<String> = statuses.map(|(status, count)| format!("{} x {status}", grouped(*count))).collect();
    if accept.connection_failures > 0 {
        let why = accept.first_connection_failure.as_deref().unwrap_or("unknown");
        errors.push(format!("{} x no answer (first: {why})", grouped(accept.connection_failures)));
    }
    if accept.unsent > 0 {
        errors.push(format!("{} never sent: the rate was not kept", grouped(accept.unsent)));
    }
    if errors.is_empty() { "none".to_owned() } else { errors.join(", ") }
}

fn delivering(deliver: &Delivering) -> Vec<Row> {
    let left = match deliver.never_delivered {
        0 => String::new(),
        never => format!(", {} of them never delivered", grouped(never)),
    };
    let mut rows = vec![
        ("delivered/s", grouped(rounded(deliver.per_second))),
        ("waiting at end", format!("{}{left}", grouped(deliver.waiting_at_the_end))),
    ];
    rows.push(match deliver.latency_ms {
        Some(latency) => ("end to end", format!("{} ({})", quantiles(latency), deliver.latency_source)),
        None => ("end to end", format!("not known: {}", deliver.latency_source)),
    });
    let oddities = [("repeated", deliver.repeated), ("unexpected", deliver.unexpected)];
    rows.extend(
        oddities.into_iter().filter_map(|(name, count)| Some((name, grouped(count.filter(|count| *count > 0)?)))),
    );
    rows
}

fn recovering(recover: &Recovering) -> Vec<Row> {
    vec![
        ("rate before", format!("{} delivered/s", grouped(rounded(recover.rate_before)))),
        ("start to ready", in_millis(recover.start_to_ready_ms)),
        (
            "first delivery",
            format!(
                "{} after the kill, {} after ready",
                in_millis(recover.kill_to_first_delivery_ms),
                in_millis(recover.ready_to_first_delivery_ms)
            ),
        ),
        ("back at 90 %", format!("{} after the kill", in_millis(recover.kill_to_full_rate_ms))),
        ("store", format!("{}, filled in {:.1} s", megabytes(recover.store_bytes), recover.filling_seconds)),
    ]
}

fn idling(idle: &Idling) -> Vec<Row> {
    vec![
        ("first start", spread(idle.first_start_ms)),
        ("next starts", spread(idle.next_start_ms)),
        (
            "memory",
            format!("{} resident, {} proportional", megabytes(idle.resident_bytes), megabytes(idle.proportional_bytes)),
        ),
        ("CPU", format!("{:.3} % of a core, over {:.0} s", idle.cpu_percent, idle.watched_seconds)),
    ]
}

fn server(cost: &Cost) -> Vec<Row> {
    let mut rows = vec![(
        "server memory",
        format!(
            "{} at the end, {} at most, {} proportional",
            megabytes(cost.resident_bytes),
            megabytes(cost.peak_resident_bytes),
            megabytes(cost.proportional_bytes)
        ),
    )];
    let each = cost.cpu_micros_per_notification.map(|micros| format!(", {micros:.1} us per notification"));
    rows.push(("server CPU", format!("{:.2} cores{}", cost.cores_busy, each.unwrap_or_default())));
    let each = cost.written_bytes_per_notification.map(|bytes| format!(", {bytes:.0} bytes per notification"));
    rows.push(("server wrote", format!("{}{}", megabytes(cost.written_bytes), each.unwrap_or_default())));
    rows
}

fn quantiles(latency: Latency) -> String {
    let Latency { p50, p90, p99, p999, max, count: _ } = latency;
    format!("p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms")
}

fn spread(spread: Spread) -> String {
    format!("{:.0} ms ({:.0} to {:.0})", spread.median, spread.min, spread.max)
}

fn in_millis(millis: f64) -> String {
    format!("{millis:.0} ms")
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", grouped(bytes / BYTES_OF_A_MEGABYTE))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and far below 2^52")]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
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
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::machine::Machine;

    pub(crate) fn report() -> Report {
        let machine = Machine {
            cores: 2,
            processor: "Abacus".to_owned(),
            memory_bytes: Some(1 << 33),
            kernel: "6.1.0".to_owned(),
            file_system: Some("ext4".to_owned()),
            fsync: "on each group commit (WAL, synchronous=FULL)".to_owned(),
            flush_micros: Some(150),
        };
        let plan = Plan {
            channel: Some("in-app".to_owned()),
            connections: 64,
            pace: "closed",
            duration_seconds: 10.0,
            payload_bytes: 400,
            batch: 1,
            users: 1,
            ..Plan::default()
        };
        let accept = Accepting {
            per_second: 12_345.6,
            count: 123_456,
            count_in_total: 150_000,
            latency_ms: Latency { p50: 1.0, p90: 2.0, p99: 3.5, p999: 7.25, max: 9.0, count: 123_456 },
            answers_by_status: BTreeMap::from([(202, 123_456)]),
            connection_failures: 0,
            first_connection_failure: None,
            unsent: 0,
            delivered_by_the_end: Some(149_999),
        };
        Report { accept: Some(accept), ..Report::new("accept", machine, plan) }
    }

    #[test]
    fn the_table_shows_rate_quantiles_and_deliveries() {
        let table = table(&report());
        let expected = ["12 346", "p99 3.50", "p99.9 7.25", "149 999 by the end", "none", "synchronous=FULL", "ext4"];
        for expected in expected {
            assert!(table.contains(expected), "{expected} is missing in\n{table}");
        }
        assert!(table.starts_with("bench accept: 64 connections, closed loop, in-app"), "{table}");
    }

    #[test]
    fn a_run_with_other_answers_is_not_clean() {
        assert!(report().is_clean());
        let with = |change: fn(&mut Accepting)| {
            let mut report = report();
            report.accept.iter_mut().for_each(change);
            report
        };
        let refused = with(|accept| accept.answers_by_status = BTreeMap::from([(202, 5), (503, 2)]));
        assert!(!refused.is_clean());
        assert!(table(&refused).contains("2 x 503"));
        let cut = with(|accept| {
            accept.connection_failures = 1;
            accept.first_connection_failure = Some("reset".to_owned());
        });
        assert!(!cut.is_clean());
        assert!(table(&cut).contains("1 x no answer (first: reset)"));
        let late = with(|accept| accept.unsent = 3);
        assert!(!late.is_clean());
        assert!(table(&late).contains("3 never sent"));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1 000");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }
}
