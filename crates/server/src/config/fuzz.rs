//! What has to hold for every text that a configuration is read from. Compiled for tests and for the targets in `fuzz/`
//! only.
//!
//! Each function takes bytes from outside and panics when a property does not hold.

use super::sources::Sources;
use super::units::{format_duration, format_size, parse_duration, parse_size};
use super::{Config, document, dotenv};

/// A `.env` file: what is read can be written and read again, and a complaint never shows a line.
pub fn env_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match dotenv::parse(text) {
        Ok(pairs) => {
            let written: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect();
            assert_eq!(dotenv::parse(&written.concat()).as_ref(), Ok(&pairs));
        }
        Err(complaint) => {
            let words = text.split(|c: char| c.is_whitespace() || "='\"".contains(c)).filter(|word| word.len() > 12);
            for word in words {
                assert!(!complaint.contains(word), "{complaint}");
            }
        }
    }
    load(&Sources { dotenv: Some(text.to_owned()), ..Sources::default() });
}

/// A value in double quotes. A line cannot hold a line break, but for the two that have an escape nothing else ends one.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{escaped}\"")
}

/// A TOML file: it is taken, or refused with reasons.
pub fn toml_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut complaints = Vec::new();
    let document = document::parse(text, &mut complaints);
    assert!(document.settings.iter().all(|(setting, _)| !setting.path.is_empty()));
    assert!(complaints.iter().all(|complaint| !complaint.is_empty()));
    load(&Sources { toml: Some(text.to_owned()), ..Sources::default() });
}

/// A configuration is made, or everything that is wrong is told; a secret is never told.
fn load(sources: &Sources) {
    let text = [sources.dotenv.as_deref(), sources.toml.as_deref()].into_iter().flatten().collect::<String>();
    // What is unknown is compared with all that is known, which takes its time.
    if text.len() > 2048 {
        return;
    }
    match Config::load(sources) {
        Ok(config) => {
            let shown = format!("{config:?}");
            // A text that stands elsewhere as well is no secret.
            let is_secret = |secret: &&str| secret.len() > 20 && text.matches(*secret).count() == 1;
            let secret = config.auth.jwt_secret.as_ref().map(super::Secret::expose).filter(is_secret);
            assert!(secret.is_none_or(|secret| !shown.contains(secret)), "a secret is shown");
        }
        Err(error) => assert!(error.to_string().starts_with("the configuration cannot be used:")),
    }
}

/// Durations and sizes: what is read is written, and read again.
pub fn units(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
    }
    if let Some(size) = parse_size(text) {
        assert_eq!(parse_size(&format_size(size)), Some(size));
    }
}

#[cfg(test)]
mod tests {
    use tidings_testkit::mutation::hammer;

    #[test]
    fn env_files() {
        hammer("env_file", super::env_file);
    }

    #[test]
    fn toml_files() {
        hammer("toml_file", super::toml_file);
    }

    #[test]
    fn units() {
        hammer("units", super::units);
    }
}
