//! Who is told: one user, or many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bench::client::{Link, Request};
use crate::bench::load::stop_if_hopeless;
use crate::bench::progress;
use crate::bench::target::Target;

/// How many users are created at the same time: each is a commit, and commits are shared.
const SIDE_BY_SIDE: usize = 64;
/// The low bits of an id, which number the users of a run.
const NUMBER_BITS: u32 = 48;

/// Users whose ids differ in their last twelve digits.
#[derive(Clone, Debug)]
pub(crate) struct People {
    first: Uuid,
    count: u64,
}

impl People {
    /// One user.
    pub(crate) const fn one(user: Uuid) -> Self {
        Self { first: user, count: 1 }
    }

    /// Many users of this run.
    pub(crate) const fn many(run: Uuid, count: u64) -> Self {
        Self { first: Uuid::from_u128(run.as_u128() >> NUMBER_BITS << NUMBER_BITS), count }
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) const fn first(&self) -> Uuid {
        self.first
    }

    /// The user with this number; the first is 0.
    pub(crate) fn id(&self, number: u64) -> Uuid {
        Uuid::from_u128(self.first.as_u128() | u128::from(number))
    }

    /// Creates them all. Needs a token with the scope `admin`.
    pub(crate) async fn create(&self, target: &Target) -> anyhow::Result<()> {
        let bar = progress::bar(self.count, "users");
        let next = Arc::new(AtomicU64::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..SIDE_BY_SIDE.min(usize::try_from(self.count).unwrap_or(SIDE_BY_SIDE)) {
            let worker = Creator {
                people: self.clone(),
                next: Arc::clone(&next),
                link: Link::to(target.address),
                host: target.host.clone(),
                token: target.token.clone(),
                bar: bar.clone(),
            };
            workers.spawn(worker.run());
        }
        while let Some(joined) = workers.join_next().await {
            joined.context("creating users broke down")??;
        }
        bar.finish_and_clear();
        Ok(())
    }
}

struct Creator {
    people: People,
    next: Arc<AtomicU64>,
    link: Link,
    host: String,
    token: String,
    bar: indicatif::ProgressBar,
}

impl Creator {
    async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.people.count {
                return Ok(());
            }
            self.create(self.people.id(number)).await?;
            self.bar.inc(1);
        }
    }

    async fn create(&mut self, user: Uuid) -> anyhow::Result<()> {
        let name = user.simple();
        let body = json!({ "id": user, "username": format!("bench-{name}"), "email": format!("{name}@example.com") })
            .to_string();
        let request = Request {
            method: "POST",
            path: "/api/users",
            host: &self.host,
            token: Some(&self.token),
            header: None,
            body: &body,
        };
        let answer =
            self.link.exchange(&request.to_bytes(), Instant::now()).await.context("a user could not be created")?;
        if answer.status == 201 {
            return Ok(());
        }
        stop_if_hopeless(&answer).context("a user could not be created")?;
        bail!("a user could not be created: {} {}", answer.status, String::from_utf8_lossy(answer.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_run_differ_in_their_last_digits() {
        let people = People::many(Uuid::from_u128(u128::MAX), 3);
        assert_eq!(people.first(), people.id(0));
        assert_eq!(people.id(2).to_string(), "ffffffff-ffff-ffff-ffff-000000000002");
        let one = People::one(Uuid::from_u128(7));
        assert_eq!((one.id(0), one.count()), (Uuid::from_u128(7), 1));
    }
}
