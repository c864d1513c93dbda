//! What a check found, and how it is shown.

use serde::Serialize;

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    /// It works, but somebody should know.
    Warn,
    /// It does not work, or will not.
    Fail,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    /// What is there.
    pub(crate) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    pub(crate) fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    checks: &'a [Finding],
}

/// The findings as JSON.
pub(crate) fn to_json(findings: &[Finding]) -> String {
    let report = Report { healthy: count(findings, Verdict::Fail) == 0, checks: findings };
    serde_json::to_string_pretty(&report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// The findings for people.
pub(crate) fn to_text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut lines: Vec<String> = findings.iter().flat_map(|finding| show(finding, width)).collect();
    lines.push(String::new());
    lines.push(match (count(findings, Verdict::Fail), count(findings, Verdict::Warn)) {
        (0, 0) => "Nothing is wrong.".to_owned(),
        (0, warnings) => format!("Nothing fails; {warnings} to know about."),
        (failures, 0) => format!("{failures} to repair."),
        (failures, warnings) => format!("{failures} to repair, {warnings} to know about."),
    });
    lines.join("\n")
}

fn show(finding: &Finding, width: usize) -> Vec<String> {
    let word = match finding.verdict {
        Verdict::Ok => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let Finding { check, found, .. } = finding;
    let indent = " ".repeat(width + 7);
    let found = found.replace('\n', &format!("\n{indent}"));
    let remedy = finding.remedy.iter().map(|remedy| format!("{indent}-> {remedy}"));
    std::iter::once(format!("{word}  {check:<width$} {found}")).chain(remedy).collect()
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict == verdict).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_was_found() {
        let findings = [Finding::ok("disk", "5 GiB free"), Finding::fail("port", "8080 is in use", "set API_PORT")];
        let text = to_text(&findings);
        assert_eq!(
            text,
            "ok    disk 5 GiB free\nFAIL  port 8080 is in use\n           -> set API_PORT\n\n1 to repair."
        );
    }

    #[test]
    fn the_json_says_whether_anything_fails() {
        let report: serde_json::Value =
            serde_json::from_str(&to_json(&[Finding::warn("disk", "full soon", "free some")])).unwrap();
        assert_eq!(report["healthy"], true);
        assert_eq!(report["checks"][0]["verdict"], "warn");
        assert_eq!(report["checks"][0]["remedy"], "free some");
    }
}
