//! Takes a TOML file apart into paths and texts.

use toml::{Table, Value};

use super::error::unknown_name;
use super::settings::{self, SETTINGS};

/// The name of the array of retry policies, the one thing that is no plain setting.
pub(crate) const POLICIES: &str = "policies";

/// What a TOML file says.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Settings as text, by path.
    pub(crate) settings: Vec<(&'static settings::Setting, String)>,
    /// The tables of `[[policies]]`.
    pub(crate) policies: Vec<Table>,
}

/// Reads a file. Everything that is wrong is added to `complaints`; the rest is returned.
pub(crate) fn parse(text: &str, complaints: &mut Vec<String>) -> Document {
    let mut document = Document::default();
    match toml::from_str::<Table>(text) {
        Ok(table) => collect(&table, "", &mut document, complaints),
        Err(error) => complaints.push(syntax_error(text, &error)),
    }
    document
}

/// The parser's own message would quote the line, which may hold a secret.
fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("the TOML file is not TOML near line {line}: {}", error.message())
}

fn collect(table: &Table, prefix: &str, document: &mut Document, complaints: &mut Vec<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if path == POLICIES {
            collect_policies(value, document, complaints);
            continue;
        }
        match (settings::by_path(&path), value) {
            (Some(setting), value) => match scalar(value) {
                Some(text) => document.settings.push((setting, text)),
                None => complaints.push(format!("`{path}` (TOML file) is a table; give {}", setting.kind.allowed())),
            },
            (None, Value::Table(inner)) if is_section(&path) => collect(inner, &path, document, complaints),
            (None, _) => complaints.push(unknown_path(&path, "TOML file")),
        }
    }
}

fn collect_policies(value: &Value, document: &mut Document, complaints: &mut Vec<String>) {
    let tables = value.as_array().map(|items| items.iter().map(Value::as_table).collect::<Option<Vec<_>>>());
    match tables.flatten() {
        Some(tables) => document.policies.extend(tables.into_iter().cloned()),
        None => {
            complaints.push("`policies` (TOML file) is not an array of tables; write each as [[policies]]".to_owned());
        }
    }
}

/// A value as the text that an environment variable would have; lists are joined with commas.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Datetime(time) => Some(time.to_string()),
        Value::Array(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|texts| texts.join(",")),
        Value::Table(_) => None,
    }
}

/// A complaint about a path that is no setting, with what its section allows.
pub(crate) fn unknown_path(path: &str, origin: &str) -> String {
    let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.path).chain([POLICIES]).collect();
    let section = path.rsplit_once('.').map_or("", |(section, _key)| section);
    let allowed = if is_section(section) {
        let prefix = format!("{section}.");
        let keys: Vec<&str> = known.iter().filter_map(|known| known.strip_prefix(&prefix)).collect();
        format!("[{section}] takes {}", keys.join(", "))
    } else {
        let mut roots: Vec<&str> = known.iter().map(|known| known.split('.').next().unwrap_or(known)).collect();
        roots.dedup();
        format!("On the top level there are {}", roots.join(", "))
    };
    unknown_name(path, origin, &known, &allowed)
}

fn is_section(path: &str) -> bool {
    !path.is_empty()
        && SETTINGS.iter().any(|setting| setting.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}
