//! `tidings bench compare`: two reports side by side, before and after a change say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::output;

pub(crate) const EXAMPLES: &str = "\
Examples:
  tidings bench accept --json before.json
  tidings bench accept --json after.json
  tidings bench compare before.json after.json";

/// Parts of a report that say what was done, and where; they are to be the same in both.
const CIRCUMSTANCES: [&str; 4] = ["benchmark", "version", "plan", "machine"];
/// Figures that differ from run to run and mean nothing by themselves.
const LEFT_OUT: [&str; 2] = ["finishedAt", "answersByStatus"];

/// What `tidings bench compare` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A report in JSON
    #[arg(value_name = "A")]
    before: PathBuf,
    /// Another
    #[arg(value_name = "B")]
    after: PathBuf,
}

/// Prints every figure that both have, with the ratio of the second to the first.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    output::line(table(&read(&args.before)?, &read(&args.after)?));
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
}

fn table(before: &Value, after: &Value) -> String {
    let (before, after) = (leaves(before), leaves(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let (mut differences, mut figures) = (Vec::new(), Vec::new());
    for name in names {
        let (first, second) = (before.get(name), after.get(name));
        let is_circumstance = CIRCUMSTANCES.iter().any(|part| name.split('.').next() == Some(*part));
        if is_circumstance {
            if first != second {
                differences.push(format!("  {name}: {} and {}", shown(first), shown(second)));
            }
        } else if let (Some(first), Some(second)) = (first.and_then(Value::as_f64), second.and_then(Value::as_f64)) {
            figures.push(format!(
                "{name:<40} {:>16} {:>16} {:>9}",
                number(first),
                number(second),
                ratio(first, second)
            ));
        }
    }
    let mut lines = vec![format!("{:<40} {:>16} {:>16} {:>9}", "", "A", "B", "B / A")];
    lines.extend(figures);
    if !differences.is_empty() {
        lines.push("\nThese were not measured under the same circumstances:".to_owned());
        lines.extend(differences);
    }
    lines.join("\n")
}

/// Everything that is no object, by its path.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let Value::Object(members) = value else {
        found.insert(path.to_owned(), value.clone());
        return;
    };
    for (name, value) in members.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(value, &path, found);
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

fn number(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn ratio(before: f64, after: f64) -> String {
    if before == 0.0 { "-".to_owned() } else { format!("{:.2}x", after / before) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_that_both_have_are_compared() {
        let report = |rate: f64, connections: u32| {
            json!({
                "benchmark": "accept",
                "finishedAt": "2026-01-31T09:30:00.000Z",
                "plan": { "connections": connections },
                "accept": { "perSecond": rate, "latencyMs": { "p99": 4.0 }, "answersByStatus": { "202": 7 }, "unsent": 0 },
            })
        };
        let same = table(&report(20_000.0, 64), &report(30_000.0, 64));
        let line = same.lines().find(|line| line.starts_with("accept.perSecond")).unwrap();
        assert!(line.contains("20000") && line.contains("30000") && line.ends_with("1.50x"), "{line}");
        assert!(same.contains("accept.latencyMs.p99") && !same.contains("202") && !same.contains("circumstances"));
        assert!(same.lines().any(|line| line.starts_with("accept.unsent") && line.ends_with('-')), "{same}");
        let other = table(&report(20_000.0, 64), &report(30_000.0, 128));
        assert!(other.contains("plan.connections: 64 and 128"), "{other}");
    }
}
