//! Fills a store before it is measured, through the batch route.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench::client::Link;
use crate::bench::flow::Flow;
use crate::bench::load::{Requests as _, stop_if_hopeless};
use crate::bench::message::{Manner, Message, Template};
use crate::bench::progress;
use crate::bench::target::Target;
use crate::bench::watch::{Counter, Source, Watcher};

/// How many go in one request, and how many requests are under way.
const BATCH: u32 = 500;
const CONNECTIONS: usize = 8;
/// So many may wait for their delivery: more would only make the queue of the server longer.
const UNDER_WAY: usize = 50_000;
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// A server that is busy is asked again so often.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);
/// A store that grows by nothing for so long will not be full.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// What fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    /// Notifications that are delivered when it returns.
    Delivered,
    /// Notifications that wait for their time; the message says which.
    Waiting,
}

/// Stores `count` notifications; gives how long it took.
pub(crate) async fn fill(
    target: &Target,
    message: &Message,
    manner: &Manner,
    count: u64,
    with: With,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    if count == 0 {
        return Ok(Duration::ZERO);
    }
    let bar = progress::bar(count, "stored");
    let flow = Arc::new(Flow::new(UNDER_WAY));
    let watcher = match with {
        With::Waiting => None,
        With::Delivered => {
            let counter = Counter::of(target, None).await?;
            Some(Watcher::start(Source::Counter(counter, Arc::clone(&flow)), WATCH_EVERY))
        }
    };
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let filler = Filler {
            link: Link::to(target.address),
            count,
            next: Arc::clone(&next),
            flow: watcher.as_ref().map(|_| Arc::clone(&flow)),
            bar: bar.clone(),
            whole: template(target, message, manner, BATCH, connection)?,
            rest: template(target, message, manner, rest_of(count), connection)?,
        };
        workers.spawn(filler.run());
    }
    while let Some(joined) = workers.join_next().await {
        joined.context("filling the store broke down")??;
    }
    if watcher.is_some() {
        wait_for_delivery(&flow, count).await?;
    }
    bar.finish_and_clear();
    Ok(started.elapsed())
}

/// The size of the last batch.
fn rest_of(count: u64) -> u32 {
    u32::try_from(count % u64::from(BATCH)).unwrap_or(0).max(1)
}

fn template(
    target: &Target,
    message: &Message,
    manner: &Manner,
    size: u32,
    connection: usize,
) -> anyhow::Result<Template> {
    let manner = Manner {
        path: "/api/notifications/batch".to_owned(),
        batch: Some(size),
        keys: None,
        arrivals: None,
        samples: 0,
        ..manner.clone()
    };
    Template::new(target, message, &manner, connection)
}

struct Filler {
    link: Link,
    count: u64,
    next: Arc<AtomicU64>,
    flow: Option<Arc<Flow>>,
    bar: ProgressBar,
    whole: Template,
    rest: Template,
}

impl Filler {
    async fn run(mut self) -> anyhow::Result<()> {
        while let Some(size) = self.take() {
            if let Some(flow) = &self.flow
                && !flow.admit(size, Instant::now() + STALLED_AFTER).await
            {
                bail!("nothing was delivered for {} s while the store was filled", STALLED_AFTER.as_secs());
            }
            self.store(size == BATCH).await?;
            self.bar.inc(u64::from(size));
        }
        Ok(())
    }

    /// The size of the next batch; `None` when there is no more to do.
    fn take(&self) -> Option<u32> {
        let start = self.next.fetch_add(u64::from(BATCH), Ordering::Relaxed);
        let size = self.count.checked_sub(start)?.min(u64::from(BATCH));
        u32::try_from(size).ok().filter(|size| *size > 0)
    }

    async fn store(&mut self, is_whole: bool) -> anyhow::Result<()> {
        let template = if is_whole { &mut self.whole } else { &mut self.rest };
        let expected = u64::from(template.items());
        let mut last = String::new();
        for _ in 0..TRIES {
            let now = Instant::now();
            match self.link.exchange(template.next(now), now).await {
                Ok(answer) => {
                    stop_if_hopeless(&answer)?;
                    let accepted = template.answered(answer.status, answer.body, now);
                    if accepted == expected {
                        return Ok(());
                    }
                    if accepted > 0 {
                        bail!("the server accepted {accepted} of a batch of {expected}");
                    }
                    last = format!("{} {}", answer.status, String::from_utf8_lossy(answer.body));
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the store cannot be filled: {last}")
    }
}

async fn wait_for_delivery(flow: &Flow, count: u64) -> anyhow::Result<()> {
    let (mut seen, mut since) = (flow.delivered(), Instant::now());
    while seen < count {
        tokio::time::sleep(PAUSE).await;
        let now = flow.delivered();
        if now > seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > STALLED_AFTER {
            bail!("only {seen} of {count} notifications were delivered while the store was filled");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_batch_is_what_is_left() {
        assert_eq!((rest_of(1_234), rest_of(499), rest_of(1000)), (234, 499, 1));
    }
}
