//! What processes cost, as the system counts it (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::bench::measured::Window;

/// Linux reports times to programs in hundredths of a second (`USER_HZ`), whatever its own tick is.
const TICK_MILLIS: u64 = 10;
/// Children of children are looked for this deep.
const GENERATIONS: usize = 8;

/// What processes have used since they began, and what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    /// The most that was resident at a time.
    pub(crate) peak_resident_bytes: u64,
    /// Resident, with what is shared between processes counted once.
    pub(crate) proportional_bytes: u64,
    pub(crate) cpu: Duration,
    /// Bytes that the kernel was made to write to storage.
    pub(crate) written_bytes: u64,
}

/// What a run cost the server. Units are in the names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cost {
    pub(crate) resident_bytes: u64,
    pub(crate) peak_resident_bytes: u64,
    /// With what is shared between processes counted once.
    pub(crate) proportional_bytes: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) cores_busy: f64,
    pub(crate) written_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_micros_per_notification: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written_bytes_per_notification: Option<f64>,
}

/// Reads the usage at the beginning and the end of the measured time; `None` when the processes are not known.
pub(crate) async fn cost(processes: Vec<u32>, window: Window) -> Option<Cost> {
    sleep_until(window.measure_from).await;
    let before = usage(&processes);
    sleep_until(window.end).await;
    let after = usage(&processes)?;
    Some(Cost::between(before?, after, window.length()))
}

impl Cost {
    fn between(before: Usage, after: Usage, time: Duration) -> Self {
        let cpu_seconds = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Self {
            resident_bytes: after.resident_bytes,
            peak_resident_bytes: after.peak_resident_bytes,
            proportional_bytes: after.proportional_bytes,
            cpu_seconds,
            cores_busy: cpu_seconds / time.as_secs_f64().max(0.001),
            written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
            cpu_micros_per_notification: None,
            written_bytes_per_notification: None,
        }
    }

    /// The same, for each of the notifications of the measured time.
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    pub(crate) fn shared_by(mut self, notifications: u64) -> Self {
        if notifications > 0 {
            let count = notifications as f64;
            self.cpu_micros_per_notification = Some(self.cpu_seconds * 1e6 / count);
            self.written_bytes_per_notification = Some(self.written_bytes as f64 / count);
        }
        self
    }
}

/// What these processes and their children use; `None` if none of them can be looked at.
pub(crate) fn usage(processes: &[u32]) -> Option<Usage> {
    let all = with_children(processes);
    let usages: Vec<Usage> = all.into_iter().filter_map(usage_of).collect();
    (!usages.is_empty()).then(|| usages.into_iter().fold(Usage::default(), Usage::plus))
}

/// The time on a processor of a process that rests, to the microsecond or so: the kernel counts each thread more finely
/// than the whole. Threads that have ended are left out.
pub(crate) fn fine_cpu(process: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanos.sum()))
}

/// Waits for an instant and says how the processor was used from now until then, in cores.
pub(crate) async fn cores_busy_until(process: u32, until: Instant) -> Option<f64> {
    let (started, before) = (Instant::now(), fine_cpu(process)?);
    sleep_until(until).await;
    let used = fine_cpu(process)?.saturating_sub(before);
    Some(used.as_secs_f64() / started.elapsed().as_secs_f64().max(0.001))
}

impl Usage {
    fn plus(self, other: Self) -> Self {
        Self {
            resident_bytes: self.resident_bytes + other.resident_bytes,
            peak_resident_bytes: self.peak_resident_bytes + other.peak_resident_bytes,
            proportional_bytes: self.proportional_bytes + other.proportional_bytes,
            cpu: self.cpu + other.cpu,
            written_bytes: self.written_bytes + other.written_bytes,
        }
    }
}

fn usage_of(process: u32) -> Option<Usage> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
    let (status, stat) = (read("status")?, read("stat")?);
    let resident_bytes = kibibytes(&status, "VmRSS:").unwrap_or(0);
    // The others need the rights of the process' owner.
    let rollup = read("smaps_rollup").and_then(|text| kibibytes(&text, "Pss:"));
    let io = read("io").unwrap_or_default();
    Some(Usage {
        resident_bytes,
        peak_resident_bytes: kibibytes(&status, "VmHWM:").unwrap_or(resident_bytes),
        proportional_bytes: rollup.unwrap_or(resident_bytes),
        cpu: cpu(&stat)?,
        written_bytes: field(&io, "write_bytes:").unwrap_or(0),
    })
}

/// The number behind a name.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    field(text, name).map(|kibibytes| kibibytes * 1024)
}

/// The fields follow the name of the program, which stands in brackets and may itself hold anything.
fn fields_of(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

fn cpu(stat: &str) -> Option<Duration> {
    let fields = fields_of(stat)?;
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * TICK_MILLIS))
}

fn with_children(processes: &[u32]) -> BTreeSet<u32> {
    let parents = parents();
    let mut all: BTreeSet<u32> = processes.iter().copied().collect();
    for _ in 0..GENERATIONS {
        let known = all.len();
        let children: Vec<u32> =
            parents.iter().filter(|(_, parent)| all.contains(parent)).map(|(child, _)| *child).collect();
        all.extend(children);
        if all.len() == known {
            break;
        }
    }
    all
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let parent = |process: u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let parent = fields_of(&stat)?.get(1)?.parse::<u32>().ok()?;
        Some((process, parent))
    };
    entries.filter_map(|entry| parent(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_is_known() {
        let process = std::process::id();
        let used = usage(&[process]).unwrap();
        assert!(used.resident_bytes > 100_000 && used.peak_resident_bytes >= used.resident_bytes / 2, "{used:?}");
        assert!(used.proportional_bytes > 0);
        assert!(fine_cpu(process).is_some());
        assert_eq!(usage(&[u32::MAX]), None);
    }

    #[test]
    fn children_belong_to_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let all = with_children(&[std::process::id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(all.contains(&child.id()), "{all:?}");
    }

    #[test]
    fn a_cost_is_shared() {
        let before = Usage { cpu: Duration::from_secs(1), written_bytes: 100, ..Usage::default() };
        let after = Usage { cpu: Duration::from_secs(2), written_bytes: 1100, resident_bytes: 7, ..before };
        let cost = Cost::between(before, after, Duration::from_secs(2)).shared_by(10);
        assert_eq!((cost.resident_bytes, cost.written_bytes), (7, 1000));
        assert!((cost.cores_busy - 0.5).abs() < 1e-9);
        assert!((cost.cpu_micros_per_notification.unwrap() - 100_000.0).abs() < 1e-6);
        assert!((cost.written_bytes_per_notification.unwrap() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn times_are_read_behind_any_program_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 4 0 1000 9 9";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(fields_of(stat).unwrap().get(1), Some(&"1"));
    }
}
