//! Reads `[[policies]]`: retry policies for some routing keys.

use tidings_core::retry::{Guarantee, Policy, Rule};
use tidings_core::routing::Pattern;
use toml::Table;

use super::document::scalar;
use super::error::{bad_value, unknown_name};
use super::kind::{FromValue, Kind};

const ORIGIN: &str = "TOML file";
const KEYS: [&str; 4] = ["pattern", "max_retries", "retry_schedule", "guarantee"];
const MAX_RETRIES: Kind = Kind::Whole(0, 1000);
const SCHEDULE: Kind = Kind::Times;
const GUARANTEE: Kind = Kind::Choice(&["at-least-once", "at-most-once"]);

/// Reads all policies, in order. What a policy leaves out is as in `default`.
pub(crate) fn parse(tables: &[Table], default: &Policy, complaints: &mut Vec<String>) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(tables.len());
    for (index, table) in tables.iter().enumerate() {
        let mut reader = Reader { name: format!("policies[{index}]"), table, complaints: &mut *complaints };
        rules.extend(reader.rule(default));
    }
    rules
}

struct Reader<'a> {
    name: String,
    table: &'a Table,
    complaints: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn rule(&mut self, default: &Policy) -> Option<Rule> {
        for key in self.table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            let name = format!("{}.{key}", self.name);
            let known = KEYS.map(|key| format!("{}.{key}", self.name));
            let allowed = format!("[[policies]] takes {}", KEYS.join(", "));
            self.complaints.push(unknown_name(&name, ORIGIN, &known.each_ref().map(String::as_str), &allowed));
        }
        let guarantee = match self.value::<String>("guarantee", GUARANTEE) {
            None => default.guarantee,
            Some(word) if word == "at-most-once" => Guarantee::AtMostOnce,
            Some(_at_least_once) => Guarantee::AtLeastOnce,
        };
        let policy = Policy {
            schedule: self.value("retry_schedule", SCHEDULE).unwrap_or_else(|| default.schedule.clone()),
            max_retries: self.value("max_retries", MAX_RETRIES).unwrap_or(default.max_retries),
            guarantee,
        };
        Some(Rule { pattern: self.pattern()?, policy })
    }

    fn pattern(&mut self) -> Option<Pattern> {
        let text = self.table.get("pattern").and_then(scalar);
        let name = &self.name;
        match text.as_deref().map(str::parse::<Pattern>) {
            Some(Ok(pattern)) => return Some(pattern),
            Some(Err(error)) => {
                let text = text.unwrap_or_default();
                self.complaints.push(format!("`{name}.pattern` ({ORIGIN}) is `{}`: {error}", text.escape_debug()));
            }
            None => {
                let example = "such as notification.sms.otp or notification.email.*";
                self.complaints.push(format!("`{name}` ({ORIGIN}) has no `pattern`; give a routing pattern {example}"));
            }
        }
        None
    }

    fn value<T: FromValue>(&mut self, key: &str, kind: Kind) -> Option<T> {
        let text = scalar(self.table.get(key)?).unwrap_or_default();
        let value = kind.parse(&text).as_ref().and_then(T::from_value);
        if value.is_none() {
            self.complaints.push(bad_value(&format!("{}.{key}", self.name), ORIGIN, Some(&text), &kind));
        }
        value
    }
}
