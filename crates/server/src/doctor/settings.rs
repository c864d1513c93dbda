//! Whether `serve` would start with the configuration.

use crate::config::{Config, Secret, random};
use crate::doctor::finding::Finding;

const CHECK: &str = "settings";

/// Settings that stand in the way, and settings that do nothing. The token secret is judged by a check of its own.
pub(crate) fn effective(config: &Config) -> Finding {
    let mut others = config.clone();
    others.auth.jwt_secret = random().ok().map(Secret::new).or(others.auth.jwt_secret);
    match others.check_for_serving() {
        Ok(warnings) if warnings.is_empty() => {
            Finding::ok(CHECK, format!("the configuration can be used ({})", profile(config)))
        }
        Ok(warnings) => Finding::warn(
            CHECK,
            warnings.join("\n"),
            "remove what has no effect; `tidings config` shows where each setting comes from",
        ),
        Err(error) => Finding::fail(CHECK, error.to_string(), "`tidings config` shows where each setting comes from"),
    }
}

fn profile(config: &Config) -> &'static str {
    match config.environment {
        crate::config::Environment::Development => "development",
        crate::config::Environment::Production => "production",
    }
}
