//! Where settings come from. The only place that reads the environment of the process.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::dotenv;
use super::error::Error;

const DEFAULT_TOML: &str = "tidings.toml";
const DEFAULT_DOTENV: &str = ".env";

/// Everything that a configuration is made from. Later fields win over earlier ones, and all of them over the defaults.
#[derive(Clone, Default)]
pub struct Sources {
    /// The text of the `.env` file.
    pub dotenv: Option<String>,
    /// The text of the TOML file.
    pub toml: Option<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Flags: paths and values.
    pub flags: Vec<(String, String)>,
}

/// Which files to read. A file that is named has to exist; the usual ones may be absent.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The TOML file, instead of `tidings.toml`.
    pub toml: Option<PathBuf>,
    /// The `.env` file, instead of `.env`.
    pub dotenv: Option<PathBuf>,
}

impl Sources {
    /// Reads the environment of the process and the files.
    pub fn of_process(files: &Files, flags: Vec<(String, String)>) -> Result<Self, Error> {
        let toml = read(files.toml.as_deref(), DEFAULT_TOML)?;
        let dotenv = read(files.dotenv.as_deref(), DEFAULT_DOTENV)?;
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let env = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Ok(Self { dotenv, toml, env, flags })
    }

    /// A variable of the environment, or else of the `.env` file.
    pub fn variable(&self, name: &str) -> Option<String> {
        let from_file = || {
            let pairs = dotenv::parse(self.dotenv.as_deref()?).ok()?;
            pairs.into_iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
        };
        self.env.get(name).cloned().or_else(from_file).filter(|value| !value.is_empty())
    }

    /// The same sources with one more flag.
    #[must_use]
    pub fn with_flag(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((path.into(), value.into()));
        self
    }
}

impl fmt::Debug for Sources {
    /// Says how much there is, never what: any of it may be a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sources")
            .field("dotenv", &self.dotenv.is_some())
            .field("toml", &self.toml.is_some())
            .field("env", &self.env.len())
            .field("flags", &self.flags.len())
            .finish()
    }
}

fn read(named: Option<&Path>, usual: &str) -> Result<Option<String>, Error> {
    let path = named.unwrap_or_else(|| Path::new(usual));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::new(format!("{} cannot be read: {error}", path.display()))),
    }
}
