//! Lays the sources over one another: defaults, `.env`, TOML file, environment, flags. Later ones win.

use std::collections::BTreeMap;
use std::fmt;

use tidings_core::retry;

use super::document::{self, unknown_path};
use super::dotenv;
use super::error::{self, Error, bad_value, unknown_name};
use super::kind::{FromValue, Value};
use super::policies;
use super::settings::{self, OTHER_VARIABLES, OUR_PREFIX, SETTINGS, Setting, Standard};
use super::sources::Sources;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Dotenv,
    Toml,
    Environment,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Default => "default",
            Self::Dotenv => ".env file",
            Self::Toml => "TOML file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// A value that is in force.
#[derive(Clone)]
pub(crate) struct Entry {
    /// As it was written.
    pub(crate) text: String,
    /// As it is meant.
    pub(crate) value: Value,
    /// Who wrote it.
    pub(crate) origin: Origin,
}

/// All values that are in force.
#[derive(Clone, Default)]
pub(crate) struct Values {
    entries: BTreeMap<&'static str, Entry>,
    /// The exceptions from the default retry policy.
    pub(crate) rules: Vec<retry::Rule>,
}

impl Values {
    /// Lays the sources over one another, or says everything that is wrong with them.
    pub(crate) fn resolve(sources: &Sources) -> Result<Self, Error> {
        let mut resolver = Resolver::default();
        resolver.defaults();
        resolver.dotenv(sources.dotenv.as_deref().unwrap_or_default());
        let document = document::parse(sources.toml.as_deref().unwrap_or_default(), &mut resolver.complaints);
        for (setting, text) in document.settings {
            resolver.put(setting, setting.path, &text, Origin::Toml);
        }
        for (name, text) in &sources.env {
            resolver.variable(name, text, Origin::Environment);
        }
        for (path, text) in &sources.flags {
            resolver.flag(path, text);
        }
        resolver.derived();
        let default = resolver.values.default_policy()?;
        resolver.values.rules = policies::parse(&document.policies, &default, &mut resolver.complaints);
        Error::unless_empty(resolver.complaints)?;
        Ok(resolver.values)
    }

    /// A setting that always has a value.
    pub(crate) fn get<T: FromValue>(&self, path: &'static str) -> Result<T, Error> {
        self.find(path).ok_or_else(|| Error::new(format!("`{path}` has no value")))
    }

    /// A setting that may be unset or `off`.
    pub(crate) fn find<T: FromValue>(&self, path: &'static str) -> Option<T> {
        self.entries.get(path).and_then(|entry| T::from_value(&entry.value))
    }

    /// A value with its text and origin.
    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// What holds where no rule matches.
    pub(crate) fn default_policy(&self) -> Result<retry::Policy, Error> {
        Ok(retry::Policy {
            schedule: self.get("delivery.retry_schedule")?,
            max_retries: self.get("delivery.max_retries")?,
            guarantee: retry::Guarantee::AtLeastOnce,
        })
    }
}

#[derive(Default)]
struct Resolver {
    values: Values,
    complaints: Vec<String>,
}

impl Resolver {
    fn defaults(&mut self) {
        for setting in SETTINGS {
            if let Standard::Is(text) = setting.default {
                self.put(setting, setting.path, text, Origin::Default);
            }
        }
    }

    fn dotenv(&mut self, text: &str) {
        match dotenv::parse(text) {
            Ok(pairs) => pairs.iter().for_each(|(name, text)| self.variable(name, text, Origin::Dotenv)),
            Err(complaint) => self.complaints.push(complaint),
        }
    }

    fn variable(&mut self, name: &str, text: &str, origin: Origin) {
        if let Some(setting) = settings::by_variable(name) {
            self.put(setting, name, text, origin);
        } else if name.starts_with(OUR_PREFIX) && !OTHER_VARIABLES.contains(&name) {
            self.complaints.push(unknown_variable(name, origin));
        } else if origin == Origin::Dotenv
            && let Some(near) = error::nearest_slip(name)
        {
            // Other programs may share the file, so only what looks like a slip is refused.
            self.complaints.push(format!("`{name}` ({origin}) is not a setting; did you mean `{near}`?"));
        }
    }

    fn flag(&mut self, path: &str, text: &str) {
        match settings::by_path(path) {
            Some(setting) => self.put(setting, path, text, Origin::Flag),
            None => self.complaints.push(unknown_path(path, "flag")),
        }
    }

    /// An empty text says nothing: what an earlier layer said stays.
    fn put(&mut self, setting: &'static Setting, name: &str, text: &str, origin: Origin) {
        if text.trim().is_empty() {
            return;
        }
        if let Some(value) = setting.kind.parse(text) {
            self.values.entries.insert(setting.path, Entry { text: text.to_owned(), value, origin });
        } else {
            let shown = (!setting.secret).then_some(text);
            self.complaints.push(bad_value(name, origin, shown, &setting.kind));
        }
    }

    /// Defaults that depend on other settings.
    fn derived(&mut self) {
        let production = self.values.find::<String>("environment").is_some_and(|name| name == "production");
        let derived = [
            ("auth.jwt_compat", if production { "strict" } else { "seed" }),
            ("auth.registration", if production { "false" } else { "true" }),
        ];
        for (path, text) in derived {
            if let Some(setting) = settings::by_path(path).filter(|_| self.values.entry(path).is_none()) {
                self.put(setting, path, text, Origin::Default);
            }
        }
    }
}

fn unknown_variable(name: &str, origin: Origin) -> String {
    let variables = SETTINGS.iter().map(|setting| setting.variable).chain(OTHER_VARIABLES);
    let known: Vec<&str> = variables.collect();
    let ours: Vec<&str> = known.iter().copied().filter(|name| name.starts_with(OUR_PREFIX)).collect();
    let allowed = format!("The variables that start with {OUR_PREFIX} are {}", ours.join(", "));
    unknown_name(name, origin, &known, &allowed)
}
