//! What came of a fault: one line for people, one file for the documentation.

use std::fmt::{self, Display};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ledger::Totals;
use super::tier;

/// How many verdicts one row of the fault table may have.
const MOST: usize = 99;

/// A verdict on a row of the fault table. It counts once it is published.
#[derive(Clone, Debug)]
#[must_use = "a verdict that is not published tells nobody"]
pub struct Verdict {
    row: &'static str,
    fault: &'static str,
    injected: String,
    totals: Option<Totals>,
    measured: Vec<(&'static str, String)>,
}

impl Verdict {
    /// A verdict on a row, such as `F20`: which fault, and what was done to cause it.
    pub fn of(row: &'static str, fault: &'static str, injected: impl Into<String>) -> Self {
        Self { row, fault, injected: injected.into(), totals: None, measured: Vec::new() }
    }

    /// With the comparison of the ledger.
    pub fn totals(self, totals: &Totals) -> Self {
        Self { totals: Some(totals.clone()), ..self }
    }

    /// With something that was measured, such as `back at ready`, `164 ms`.
    pub fn measured(mut self, what: &'static str, value: impl Display) -> Self {
        self.measured.push((what, value.to_string()));
        self
    }

    /// Prints the line and writes `faults/<row>.json` (`<row>-2.json` for a second fault of the row, and so on) in the
    /// target directory of the build. A verdict on the same fault from an earlier run is replaced.
    #[expect(clippy::print_stdout, reason = "it is what the test has to say, and shown with `--no-capture`")]
    pub fn publish(self) {
        println!("{self}");
        let folder = target_dir().join("faults");
        self.write(&folder).expect("the target directory is writable");
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let text = format!("{:#}\n", self.json());
        for number in 1..=MOST {
            let path = folder.join(self.file_name(number));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => return file.write_all(text.as_bytes()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            if self.is_about_the_same(&fs::read_to_string(&path)?) {
                // By way of another file, so that nobody reads half of it.
                let draft = folder.join(format!(".{}.{}", self.file_name(number), std::process::id()));
                fs::write(&draft, &text)?;
                return fs::rename(&draft, &path);
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} has {MOST} verdicts", self.row)))
    }

    fn file_name(&self, number: usize) -> String {
        if number == 1 { format!("{}.json", self.row) } else { format!("{}-{number}.json", self.row) }
    }

    fn is_about_the_same(&self, text: &str) -> bool {
        serde_json::from_str::<Value>(text).is_ok_and(|verdict| verdict.get("fault") == Some(&json!(self.fault)))
    }

    fn json(&self) -> Value {
        let measured: Vec<Value> =
            self.measured.iter().map(|(what, value)| json!({"what": what, "value": value})).collect();
        let totals = self.totals.as_ref().map(|totals| {
            json!({
                "attempted": totals.attempted,
                "acknowledged": totals.acknowledged,
                "ok": totals.ok,
                "lost": totals.lost.len(),
                "duplicated": totals.duplicated,
                "excess": totals.excess.len(),
                "recovered": totals.recovered,
                "unexpected": totals.unexpected.len(),
            })
        });
        json!({
            "row": self.row,
            "fault": self.fault,
            "injected": self.injected,
            "tier": if tier::is_long() { "long" } else { "test" },
            "totals": totals,
            "measured": measured,
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} | injected: {}", self.row, self.fault, self.injected)?;
        if let Some(totals) = &self.totals {
            write!(
                formatter,
                " | lost {}, duplicated {}, recovered {}, unexpected {} of {} acknowledged",
                totals.lost.len(),
                totals.duplicated,
                totals.recovered,
                totals.unexpected.len(),
                totals.acknowledged,
            )?;
        }
        for (what, value) in &self.measured {
            write!(formatter, " | {what}: {value}")?;
        }
        Ok(())
    }
}

/// Where the build puts what it makes.
#[expect(clippy::disallowed_methods, reason = "cargo says by this variable where its results go")]
fn target_dir() -> PathBuf {
    let told = std::env::var("CARGO_TARGET_DIR").ok().filter(|text| !text.is_empty());
    // A relative one is meant from the root of the workspace.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.join(told.as_deref().unwrap_or("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn each_fault_of_a_row_has_its_file_and_a_later_run_replaces_it() {
        let folder = target_dir().join(format!("faults-of-a-test-{}", std::process::id()));
        for injected in ["first run", "second run"] {
            Verdict::of("F4", "crash before the commit", injected).write(&folder).unwrap();
            Verdict::of("F4", "crash after the commit", injected).measured("runs", 20).write(&folder).unwrap();
        }
        let found = names(&folder);
        let second: Value = serde_json::from_str(&fs::read_to_string(folder.join("F4-2.json")).unwrap()).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, ["F4-2.json", "F4.json"]);
        assert_eq!((&second["fault"], &second["injected"]), (&json!("crash after the commit"), &json!("second run")));
        assert_eq!(second["measured"], json!([{"what": "runs", "value": "20"}]));
    }

    #[test]
    fn the_line_has_the_words_of_the_table() {
        let totals = Totals { acknowledged: 3, duplicated: 1, ..Totals::default() };
        let verdict = Verdict::of("F1", "kill -9", "50 kills").totals(&totals).measured("back at ready", "164 ms");
        assert_eq!(
            verdict.to_string(),
            "F1 kill -9 | injected: 50 kills | lost 0, duplicated 1, recovered 0, unexpected 0 of 3 acknowledged | \
             back at ready: 164 ms"
        );
    }
}
