//! Tells somebody when dead letters pile up: when more than so many wait for a decision, or one has waited for so long.
//!
//! Each threshold raises one alert when it is crossed, and can raise the next one once it has been below again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tidings_core::error::Problem;
use tidings_core::ports::intake::Submission;
use tidings_core::ports::upkeep::Stats;
use tidings_core::time::Timestamp;
use tracing::{error, warn};

use crate::config::Shared;
use crate::events::{Notice, WEBHOOK, object, webhook_payload};
use crate::tasks::pause;

const EMAIL: &str = "email";

/// When somebody is told about dead letters, and who.
#[derive(Clone)]
pub struct Config {
    /// More dead letters than this may not wait for a decision.
    pub pending: Option<u64>,
    /// No dead letter may wait for a decision longer than this.
    pub age: Option<Duration>,
    /// How often they are looked at.
    pub every: Duration,
    /// Where alerts are posted, besides the log and the metrics.
    pub webhook_url: Option<String>,
    /// Who gets alerts by e-mail.
    pub email: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pending: Some(100),
            age: Some(Duration::from_hours(24)),
            every: Duration::from_mins(1),
            webhook_url: None,
            email: None,
        }
    }
}

/// Which thresholds are exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Exceeded {
    pending: bool,
    age: bool,
}

/// Compares what waits with the thresholds.
fn compare(config: &Config, stats: &Stats, now: Timestamp) -> Exceeded {
    let oldest = stats.oldest_dead_letter.filter(|_| stats.dead_letters_pending > 0);
    Exceeded {
        pending: config.pending.is_some_and(|most| stats.dead_letters_pending > most),
        age: config.age.zip(oldest).is_some_and(|(longest, oldest)| now.since(oldest) > longest),
    }
}

impl Exceeded {
    /// What is exceeded now and was not before: what an alert is raised for.
    const fn since(self, before: Self) -> Self {
        Self { pending: self.pending && !before.pending, age: self.age && !before.age }
    }

    const fn any(self) -> bool {
        self.pending || self.age
    }

    fn words(self) -> Vec<&'static str> {
        let words = [self.pending.then_some("pending"), self.age.then_some("age")];
        words.into_iter().flatten().collect()
    }
}

/// Looks at the dead letters from time to time.
pub(crate) struct Alerts {
    pub(crate) shared: Arc<Shared>,
}

impl Alerts {
    /// Runs until the stop. What is exceeded at the start raises an alert as well.
    pub(crate) async fn run(self: Arc<Self>) {
        let config = &self.shared.config.alerts;
        let mut before = Exceeded::default();
        loop {
            match self.shared.ports.upkeep.stats().await {
                Ok(stats) => before = self.look(&stats, before).await,
                Err(error) => warn!("The dead letters could not be counted: {error}"),
            }
            if !pause(&self.shared.stop, config.every).await {
                return;
            }
        }
    }

    async fn look(&self, stats: &Stats, before: Exceeded) -> Exceeded {
        let now = self.shared.now();
        let exceeded = compare(&self.shared.config.alerts, stats, now);
        self.shared.metrics.dead_letter_alert_raised.set(i64::from(exceeded.any()));
        let crossed = exceeded.since(before);
        if crossed.any() {
            self.raise(stats, crossed, now).await;
        }
        exceeded
    }

    async fn raise(&self, stats: &Stats, crossed: Exceeded, now: Timestamp) {
        self.shared.metrics.dead_letter_alerts.inc();
        let pending = stats.dead_letters_pending;
        let oldest = stats.oldest_dead_letter.map(tracing::field::display);
        let text = headline(stats);
        error!(pending, oldest, "{text}; review them with `tidings dlq` or GET /api/dead-letters");
        let config = &self.shared.config.alerts;
        if let Some(url) = &config.webhook_url {
            self.notify(WEBHOOK, webhook_payload(url, "dead_letters.alert", facts(stats, crossed, now)), now).await;
        }
        if let Some(address) = &config.email {
            self.notify(EMAIL, mail(address, stats), now).await;
        }
    }

    /// Best effort: the log has told it already.
    async fn notify(&self, channel: &'static str, payload: Map<String, Value>, now: Timestamp) {
        if let Err(problem) = self.submit(channel, payload, now).await {
            // The message may repeat the address.
            let code = problem.code;
            error!(code = %code, "type" = channel, "The alert could not be sent by {channel}: {code}");
        }
    }

    async fn submit(&self, channel: &'static str, payload: Map<String, Value>, now: Timestamp) -> Result<(), Problem> {
        let ports = &self.shared.ports;
        let notification = Notice::new(ports.sender.as_ref(), channel, payload)?.into_notification(ports, now);
        ports.intake.accept(vec![Submission { notification, idempotency: None, at_once: None }]).await?;
        ports.broker.wake();
        Ok(())
    }
}

fn headline(stats: &Stats) -> String {
    let pending = stats.dead_letters_pending;
    let count = if pending == 1 { "1 dead letter waits".to_owned() } else { format!("{pending} dead letters wait") };
    match stats.oldest_dead_letter {
        Some(oldest) => format!("{count} for a decision, the oldest since {oldest}"),
        None => format!("{count} for a decision"),
    }
}

fn facts(stats: &Stats, crossed: Exceeded, now: Timestamp) -> Map<String, Value> {
    object([
        ("pending", stats.dead_letters_pending.into()),
        ("oldestDiedAt", stats.oldest_dead_letter.map(|oldest| oldest.to_string()).into()),
        ("exceeded", crossed.words().into()),
        ("occurredAt", now.to_string().into()),
    ])
}

fn mail(address: &str, stats: &Stats) -> Map<String, Value> {
    let pending = stats.dead_letters_pending;
    let body = format!(
        "{}.\n\nEach is a notification that was refused for good or has used up its attempts. Review them with\n\n    \
         tidings dlq list\n\nor GET /api/dead-letters, and redrive or discard them. The next alert comes when the \
         threshold is crossed again.\n",
        headline(stats)
    );
    object([
        ("to", address.into()),
        ("subject", format!("Tidings: dead letters waiting: {pending}").into()),
        ("body", body.into()),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn config() -> Config {
        Config { pending: Some(5), age: Some(Duration::from_mins(1)), ..Config::default() }
    }

    fn waiting(pending: u64, age_secs: u64) -> Stats {
        let oldest = NOW - Duration::from_secs(age_secs);
        Stats { dead_letters_pending: pending, oldest_dead_letter: (pending > 0).then_some(oldest), ..Stats::default() }
    }

    #[test]
    fn thresholds_are_exceeded_above_and_not_at_them() {
        let judge = |pending, age| compare(&config(), &waiting(pending, age), NOW);
        assert_eq!(judge(5, 60), Exceeded { pending: false, age: false });
        assert_eq!(judge(6, 60), Exceeded { pending: true, age: false });
        assert_eq!(judge(1, 61), Exceeded { pending: false, age: true });
        assert_eq!(judge(0, 61), Exceeded::default());
    }

    #[test]
    fn thresholds_that_are_off_are_never_exceeded() {
        let off = Config { pending: None, age: None, ..Config::default() };
        assert_eq!(compare(&off, &waiting(u64::MAX, 1_000_000), NOW), Exceeded::default());
    }

    #[test]
    fn alerts_read_well() {
        assert_eq!(
            headline(&waiting(1, 0)),
            "1 dead letter waits for a decision, the oldest since 2027-01-15T08:00:00.000Z"
        );
        assert!(headline(&waiting(7, 0)).starts_with("7 dead letters wait for a decision"));
    }

    proptest! {
        /// However the numbers go up and down, each way up across a threshold raises exactly one alert.
        #[test]
        fn a_crossing_raises_one_alert(looks in prop::collection::vec((0_u64..12, 0_u64..120), 1..100)) {
            let (mut before, mut pending_alerts, mut age_alerts) = (Exceeded::default(), 0, 0);
            for (pending, age) in &looks {
                let exceeded = compare(&config(), &waiting(*pending, *age), NOW);
                let crossed = exceeded.since(before);
                prop_assert!(!crossed.any() || exceeded.any());
                pending_alerts += usize::from(crossed.pending);
                age_alerts += usize::from(crossed.age);
                before = exceeded;
            }
            let ways_up = |is_above: &dyn Fn(&(u64, u64)) -> bool| {
                let first = usize::from(looks.first().is_some_and(is_above));
                first + looks.windows(2).filter(|pair| !is_above(&pair[0]) && is_above(&pair[1])).count()
            };
            prop_assert_eq!(pending_alerts, ways_up(&|(pending, _)| *pending > 5));
            prop_assert_eq!(age_alerts, ways_up(&|(pending, age)| *pending > 0 && *age > 60));
        }
    }
}
