//! How often somebody may try to log in or to register.
//!
//! Attempts are counted by where they come from, and by that together with the name that is tried: so a name is guarded from
//! whoever guesses passwords, and its owner, who sits elsewhere, is not locked out by them. A login that succeeds clears its
//! name. The counts are in memory, in tables of bounded size: a restart forgets them, which costs an attacker less than it
//! costs us to keep them.

use std::future::{Future, ready};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use moka::sync::Cache;
use parking_lot::Mutex;

use tidings_core::error::{ErrorCode, Problem};
use tidings_core::rate::Quota;
use tidings_core::time::Timestamp;

use crate::api::Api;
use crate::error::Failure;
use crate::peer::{Peer, origin};

/// Attempts of one peer, whatever names it tries.
const OF_PEER: Quota = Quota { burst: 60, every: Duration::from_secs(1) };

/// Attempts of one peer on one name that failed.
const ON_NAME: Quota = Quota { burst: 10, every: Duration::from_secs(30) };

/// Registrations by one peer.
const REGISTRATIONS: Quota = Quota { burst: 20, every: Duration::from_secs(10) };

/// How many peers or names are remembered; those that come most often stay.
const REMEMBERED: u64 = 20_000;

/// The limits of one process.
#[derive(Debug)]
pub(crate) struct Limits {
    peers: Throttle,
    names: Throttle,
    registrations: Throttle,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: Throttle::new(OF_PEER),
            names: Throttle::new(ON_NAME),
            registrations: Throttle::new(REGISTRATIONS),
        }
    }
}

impl Limits {
    /// An attempt on a name. It counts until the name is [cleared](Self::clear).
    pub(crate) fn attempt(&self, name: &Name<'_>, now: Timestamp) -> Result<(), Problem> {
        self.names.take(name, now)
    }

    /// Forgets the attempts on a name, because its owner has shown up.
    pub(crate) fn clear(&self, name: &Name<'_>) {
        self.names.forget(name);
    }
}

/// A name that is tried, and from where.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Name<'a> {
    pub(crate) from: Option<Peer>,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) username: &'a str,
}

/// That whoever logs in has not tried too often; checked before the body is read. Says where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayLogIn(pub(crate) Option<Peer>);

/// That whoever registers has not done so too often; checked before the body is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayRegister;

impl FromRequestParts<Arc<Api>> for MayLogIn {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> impl Future<Output = Result<Self, Failure>> + Send {
        let from = origin(parts, &api.config.trusted_proxies);
        let taken = api.limits.peers.take(&from, api.services.token_clock.now());
        ready(taken.map(|()| Self(from)).map_err(Failure))
    }
}

impl FromRequestParts<Arc<Api>> for MayRegister {
    type Rejection = Failure;

    fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> impl Future<Output = Result<Self, Failure>> + Send {
        let from = origin(parts, &api.config.trusted_proxies);
        let taken = api.limits.registrations.take(&from, api.services.token_clock.now());
        ready(taken.map(|()| Self).map_err(Failure))
    }
}

/// A quota for each of many keys. Of a key only a hash with a secret of this process is kept.
#[derive(Debug)]
struct Throttle {
    quota: Quota,
    hasher: RandomState,
    cells: Cache<u64, Arc<Mutex<Timestamp>>>,
}

impl Throttle {
    fn new(quota: Quota) -> Self {
        Self { quota, hasher: RandomState::new(), cells: Cache::new(REMEMBERED) }
    }

    fn take(&self, key: &impl Hash, now: Timestamp) -> Result<(), Problem> {
        let cell = self.cells.get_with(self.hasher.hash_one(key), Arc::default);
        let mut state = cell.lock();
        *state = self.quota.take(*state, now).map_err(too_often)?;
        Ok(())
    }

    fn forget(&self, key: &impl Hash) {
        self.cells.invalidate(&self.hasher.hash_one(key));
    }
}

fn too_often(wait: Duration) -> Problem {
    Problem::new(ErrorCode::RATE_LIMITED, "Too many attempts; wait as long as `Retry-After` says").after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_guarded_by_where_attempts_come_from() {
        let limits = Limits::default();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let here = Some(Peer::from(std::net::IpAddr::from([192, 0, 2, 1])));
        let there = Some(Peer::from(std::net::IpAddr::from([192, 0, 2, 2])));
        let ada = Name { from: here, tenant: None, username: "ada" };
        for _ in 0..ON_NAME.burst {
            limits.attempt(&ada, now).unwrap();
        }
        let problem = limits.attempt(&ada, now).unwrap_err();
        assert_eq!((problem.code, problem.retry_after), (ErrorCode::RATE_LIMITED, Some(ON_NAME.every)));
        for other in
            [Name { from: there, ..ada }, Name { username: "bob", ..ada }, Name { tenant: Some("acme"), ..ada }]
        {
            assert_eq!(limits.attempt(&other, now), Ok(()), "{other:?}");
        }
        assert_eq!(limits.attempt(&ada, now + ON_NAME.every), Ok(()));
        assert!(limits.attempt(&ada, now + ON_NAME.every).is_err());
        limits.clear(&ada);
        assert_eq!(limits.attempt(&ada, now + ON_NAME.every), Ok(()));
    }
}
