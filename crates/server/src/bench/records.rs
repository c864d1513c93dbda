//! When notifications were delivered, as their records tell it.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Deserialize;
use tidings_core::time::{Clock, SystemClock, Timestamp};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench::client::Link;
use crate::bench::measured;
use crate::bench::message::Sample;
use crate::bench::target::Target;

const CONNECTIONS: usize = 8;
/// A record tells milliseconds; what is after one may be anywhere in it. The latest is assumed.
const RESOLUTION: Duration = Duration::from_millis(1);

/// Ties the clock of this process to that of the machine, which records are written by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    instant: Instant,
    wall: Timestamp,
}

/// What the records of a sample say.
pub(crate) struct Told {
    /// From the instant when the request was to be sent to the delivery, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// How many were not delivered, or have no record.
    pub(crate) missing: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    status: String,
    processed_at: Option<Timestamp>,
}

impl Anchor {
    /// Drops at the beginning of a millisecond of the wall clock, where it is known most exactly.
    pub(crate) fn drop_here() -> Self {
        let clock = SystemClock::default();
        let first = clock.now();
        let started = Instant::now();
        loop {
            let (instant, wall) = (Instant::now(), clock.now());
            // The clock may stand still: someone may be setting it.
            if wall != first || instant - started > 2 * RESOLUTION {
                return Self { instant, wall };
            }
        }
    }

    /// How long after an instant the wall clock showed a time.
    fn latency(&self, from: Instant, until: Timestamp) -> Duration {
        let since_anchor = until.since(self.wall) + RESOLUTION;
        since_anchor.saturating_sub(from.saturating_duration_since(self.instant))
    }
}

/// Asks for the records of a sample.
pub(crate) async fn ask(target: &Target, samples: &[Sample], anchor: Anchor) -> anyhow::Result<Told> {
    let mut readers = JoinSet::new();
    for reader in 0..CONNECTIONS {
        let requests: Vec<(Vec<u8>, Instant)> = samples
            .iter()
            .skip(reader)
            .step_by(CONNECTIONS)
            .map(|sample| (target.request("GET", &format!("/api/notifications/{}", sample.id), ""), sample.intended))
            .collect();
        readers.spawn(read(Link::to(target.address), requests, anchor));
    }
    let mut told = Told { latency: measured::histogram()?, missing: 0 };
    while let Some(joined) = readers.join_next().await {
        let one = joined.context("reading the records broke down")??;
        told.latency.add(&one.latency).context("cannot add histograms")?;
        told.missing += one.missing;
    }
    Ok(told)
}

async fn read(mut link: Link, requests: Vec<(Vec<u8>, Instant)>, anchor: Anchor) -> anyhow::Result<Told> {
    let mut told = Told { latency: measured::histogram()?, missing: 0 };
    for (request, intended) in requests {
        let answer = link.exchange(&request, Instant::now()).await.context("a record cannot be read")?;
        let record: Option<Record> = (answer.status == 200).then(|| serde_json::from_slice(answer.body).ok()).flatten();
        match record {
            Some(Record { status, processed_at: Some(at) }) if status == "processed" => {
                measured::record(&mut told.latency, anchor.latency(intended, at));
            }
            _ => told.missing += 1,
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_within_the_millisecond_is_assumed() {
        let anchor = Anchor { instant: Instant::now(), wall: Timestamp::from_millis(1_000) };
        let from = anchor.instant + Duration::from_micros(2_500);
        assert_eq!(anchor.latency(from, Timestamp::from_millis(1_004)), Duration::from_micros(2_500));
        assert_eq!(anchor.latency(from, Timestamp::from_millis(1_000)), Duration::ZERO);
    }

    #[test]
    fn an_anchor_knows_the_present() {
        let anchor = Anchor::drop_here();
        let now = SystemClock::default().now();
        assert!(anchor.latency(anchor.instant, now) < Duration::from_secs(5));
    }
}
