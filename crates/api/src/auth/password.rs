//! Passwords are kept as argon2id hashes in PHC string format.
//!
//! Hashing is slow by design and takes 19 MiB, so it runs on threads of its own, few at a time: a flood of logins waits,
//! and is refused when it has waited too long, but takes nothing from those who send notifications.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use tidings_core::error::{ErrorCode, Problem};

use crate::error::internal;

/// How many hashes are computed at a time: a quarter of the cores, at least one.
fn concurrency() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1))
}

/// How many hashes may wait for their turn.
const WAITING: usize = 64;

/// How long a hash may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The shortest and the longest password, in characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=128;

/// A hash that no password has, with the cost of a real one: it is checked for users who do not exist, so that the time
/// that a refusal takes does not tell who does.
const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
pub struct HashError(argon2::password_hash::Error);

/// The hash of a password, with a fresh salt. Takes tens of milliseconds; not to be called on a runtime's own threads.
pub fn hash(password: &str) -> Result<String, HashError> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes()).map_err(HashError)?;
    Ok(hash.to_string())
}

/// Hashes and checks passwords, a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(concurrency())), places: Arc::new(Semaphore::new(WAITING)) }
    }
}

impl Passwords {
    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        if !LENGTHS.contains(&password.chars().count()) {
            return Err(Problem::field(ErrorCode::INVALID_FIELD, "password", "must have 8 to 128 characters"));
        }
        let hashed = self.in_turn(move || hash(&password)).await?;
        hashed.map_err(|error| internal("A password could not be hashed", &error))
    }

    /// Whether a password has this hash. Without a hash it has not, and that takes as long.
    pub(crate) async fn matches(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| DUMMY.to_owned());
        let matches = self.in_turn(move || verify(&password, &hash)).await?;
        Ok(matches && exists)
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Problem::plain(ErrorCode::OVERLOADED));
        };
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::plain(ErrorCode::OVERLOADED));
        };
        // The turn goes along: it must not pass on while the work of a client that went away is still running.
        let done = spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|error| internal("The work on a password was lost", &error))
    }
}

fn verify(password: &str, hash: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
        let matches = |password: &str| passwords.matches(password.to_owned(), Some(hash.clone()));
        assert_eq!(matches("correct horse").await, Ok(true));
        assert_eq!(matches("wrong horse").await, Ok(false));
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        let passwords = Passwords::default();
        assert_eq!(passwords.matches("anything".to_owned(), None).await, Ok(false));
        let unreadable = Some("$2b$10$not-argon2".to_owned());
        assert_eq!(passwords.matches("anything".to_owned(), unreadable).await, Ok(false));
    }

    #[test]
    fn the_dummy_costs_what_a_real_hash_costs() {
        let cost = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(cost(DUMMY), cost(&hash("anything").unwrap()));
        let parsed = PasswordHash::new(DUMMY).unwrap();
        assert_eq!(parsed.hash.map(|output| output.len()), Some(32));
    }

    #[tokio::test]
    async fn passwords_too_short_or_too_long_are_refused() {
        for password in ["short", "", "é".repeat(129).as_str()] {
            let problem = Passwords::default().hash(password.to_owned()).await.unwrap_err();
            assert_eq!(problem.code, ErrorCode::INVALID_FIELD, "{password}");
        }
    }
}
