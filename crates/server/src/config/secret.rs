//! Secrets: never shown, judged before they are used, and kept in the data directory where Tidings makes them itself.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The fewest bytes of a secret that signs tokens in production (RFC 7518, section 3.2).
const MIN_BYTES: usize = 32;

/// Secrets that stand in somebody's documentation.
const SAMPLES: [&str; 11] = [
    "your_jwt_secret_key_change_in_production",
    "your_jwt_secret",
    "your-secret-key",
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "jwt_secret",
    "change_me",
    "changeme",
    "password",
    "secret",
    "guest",
];

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a text out of sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Why nobody should trust tokens signed with this, if so.
    pub fn weakness(&self) -> Option<String> {
        let repeated = self.0.chars().all(|c| self.0.starts_with(c));
        if SAMPLES.iter().any(|sample| sample.eq_ignore_ascii_case(&self.0)) {
            return Some("it is a well-known sample".to_owned());
        }
        if self.0.len() < MIN_BYTES {
            return Some(format!("it has {} bytes, and at least {MIN_BYTES} are needed", self.0.len()));
        }
        repeated.then(|| "it is one letter repeated".to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(********)")
    }
}

/// 256 random bits in Base64.
pub fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| anyhow::anyhow!("the machine gives no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The secret in a file, which is made, readable by its owner only, if it is not there.
pub fn kept(path: &Path, make: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<Secret> {
    if let Some(secret) = read(path)? {
        return Ok(secret);
    }
    let text = make()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(Secret::new(text))
}

/// The secret in a file; `None` if there is none.
pub fn read(path: &Path) -> anyhow::Result<Option<Secret>> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Makes the data directory, accessible to its owner only, and sees whether it can be written.
pub fn prepare_data_dir(path: &Path) -> anyhow::Result<()> {
    let advice = || {
        let path = path.display();
        format!(
            "the data directory {path} cannot be used; give its owner write access, or choose another with TIDINGS_DATA or --data"
        )
    };
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(advice)?;
    let probe = path.join(format!(".probe-{}", std::process::id()));
    OpenOptions::new().write(true).create(true).truncate(true).open(&probe).with_context(advice)?;
    std::fs::remove_file(&probe).with_context(advice)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn samples_and_short_secrets_are_weak() {
        for text in ["your_jwt_secret_key_change_in_production", "SECRET", "short", &"a".repeat(64)] {
            assert!(Secret::new(text).weakness().is_some(), "{text}");
        }
        assert_eq!(Secret::new(random().unwrap()).weakness(), None);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_kept_secret_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt.secret");
        let made = kept(&path, random).unwrap();
        let again = kept(&path, || panic!("it is there")).unwrap();
        assert_eq!(made.expose(), again.expose());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = prepare_data_dir(&file).unwrap_err();
        assert!(format!("{error:#}").contains("TIDINGS_DATA"), "{error:#}");
    }
}
