//! What the operating system knows about this process, read when somebody asks for metrics.

use std::fmt;
use std::fs;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Linux reports times to programs in hundredths of a second (`USER_HZ`), whatever its own tick is.
const TICK_MILLIS: u64 = 10;

/// Gives the usual process metrics, and the lines that the log dropped. Without `/proc` only the latter.
#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let dropped = ConstCounter::new(super::dropped_lines());
        let help = "Log lines lost because they were not read fast enough or could not be written.";
        put(&mut encoder, "tidings_log_lines_dropped", help, &dropped)?;
        if let Some(times) = Times::read() {
            let cpu = ConstCounter::new(times.cpu.as_secs_f64());
            put(&mut encoder, "process_cpu_seconds", "Processor time spent, user and system.", &cpu)?;
            let start = ConstGauge::new(times.start.as_secs_f64());
            put(
                &mut encoder,
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
                &start,
            )?;
        }
        if let Some(bytes) = resident_bytes() {
            put(&mut encoder, "process_resident_memory_bytes", "Resident memory.", &ConstGauge::new(bytes))?;
        }
        if let Some(count) = open_files() {
            put(&mut encoder, "process_open_fds", "Open file descriptors.", &ConstGauge::new(count))?;
        }
        Ok(())
    }
}

fn put(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

#[derive(Debug, PartialEq, Eq)]
struct Times {
    cpu: Duration,
    start: Duration,
}

impl Times {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        Self::parse(&stat, &system)
    }

    /// proc(5): the fields follow the name of the program, which stands in brackets and may itself hold anything.
    fn parse(stat: &str, system: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let time = |index: usize| {
            let ticks: u64 = fields.get(index)?.parse().ok()?;
            Some(Duration::from_millis(ticks.saturating_mul(TICK_MILLIS)))
        };
        let booted: u64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let (user, kernel, after_boot) = (time(11)?, time(12)?, time(19)?);
        Some(Self { cpu: user + kernel, start: Duration::from_secs(booted) + after_boot })
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

fn open_files() -> Option<u64> {
    // The listing itself has one open.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_program_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 4 0 1000 9 9";
        let times = Times::parse(stat, "cpu 1 2 3\nbtime 1700000000\n").unwrap();
        assert_eq!(times, Times { cpu: Duration::from_secs(3), start: Duration::from_secs(1_700_000_010) });
        assert_eq!(Times::parse("", ""), None);
    }
}
