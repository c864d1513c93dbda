//! What the engine counts. Labels take few values: never a destination, a tenant or a user.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tidings_core::delivery::{Next, State, Transition};
use tidings_core::journal::{Attempt, Event};
use tidings_core::ports::Witness;
use tidings_core::time::Timestamp;

/// In seconds, from acceptance to delivery: the bounds that dashboards of the seed know.
const LATENCY_BOUNDS: [f64; 7] = [0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

/// In seconds, for one attempt.
const ATTEMPT_BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    r#type: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Try {
    r#type: String,
    provider: String,
    outcome: &'static str,
}

/// The metrics of the engine.
pub struct Metrics {
    delivered: Family<Kind, Counter>,
    failed: Family<Failure, Counter>,
    attempts: Family<Try, Counter>,
    retries: Family<Kind, Counter>,
    latency: Histogram,
    attempt_duration: Family<Kind, Histogram>,
    pub(crate) leases_lost: Counter,
    pub(crate) stale_settlements: Counter,
    pub(crate) breaker_opened: Counter,
    pub(crate) dead_letter_alerts: Counter,
    pub(crate) attempts_in_flight: Gauge,
    pub(crate) breakers_open: Gauge,
    /// 1 while a threshold for dead letters is exceeded.
    pub(crate) dead_letter_alert_raised: Gauge,
}

impl Metrics {
    /// Makes the metrics and has them shown by `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::new();
        metrics.show_deliveries(registry);
        metrics.show_engine(registry);
        metrics
    }

    fn new() -> Self {
        Self {
            delivered: Family::default(),
            failed: Family::default(),
            attempts: Family::default(),
            retries: Family::default(),
            latency: Histogram::new(LATENCY_BOUNDS),
            attempt_duration: Family::new_with_constructor(|| Histogram::new(ATTEMPT_BOUNDS)),
            leases_lost: Counter::default(),
            stale_settlements: Counter::default(),
            breaker_opened: Counter::default(),
            dead_letter_alerts: Counter::default(),
            attempts_in_flight: Gauge::default(),
            breakers_open: Gauge::default(),
            dead_letter_alert_raised: Gauge::default(),
        }
    }

    /// Counters are shown with the suffix `_total`, which the registry adds.
    fn show_deliveries(&self, registry: &mut Registry) {
        registry.register("notifications_delivered", "Notifications that were delivered", self.delivered.clone());
        registry.register(
            "notifications_failed",
            "Notifications that ended without being delivered, by how they ended",
            self.failed.clone(),
        );
        registry.register("delivery_attempts", "Attempts that ended, by what they came to", self.attempts.clone());
        registry.register("delivery_retries", "Attempts that failed and will be repeated", self.retries.clone());
        registry.register("message_delivery_latency_seconds", "Time from acceptance to delivery", self.latency.clone());
        registry.register("attempt_duration_seconds", "How long attempts took", self.attempt_duration.clone());
    }

    fn show_engine(&self, registry: &mut Registry) {
        registry.register("leases_lost", "Claims whose worker went away without a word", self.leases_lost.clone());
        registry.register("stale_settlements", "Results that came too late to count", self.stale_settlements.clone());
        registry.register("breaker_opened", "How often a circuit breaker opened", self.breaker_opened.clone());
        registry.register("dead_letter_alerts", "Alerts raised about dead letters", self.dead_letter_alerts.clone());
        registry.register("attempts_in_flight", "Attempts under way", self.attempts_in_flight.clone());
        registry.register("breakers_open", "Circuit breakers that are not closed", self.breakers_open.clone());
        registry.register(
            "dead_letter_alert_raised",
            "Whether a threshold for dead letters is exceeded",
            self.dead_letter_alert_raised.clone(),
        );
    }

    /// An attempt on a channel ended.
    pub(crate) fn attempted(&self, channel: &str, attempt: &Attempt) {
        let labels =
            Try { r#type: channel.to_owned(), provider: attempt.provider.clone(), outcome: attempt.outcome.as_str() };
        self.attempts.get_or_create(&labels).inc();
        self.attempt_duration
            .get_or_create(&kind(channel))
            .observe(Duration::from_millis(attempt.duration_ms).as_secs_f64());
    }

    /// A transition of a notification, accepted at `accepted_at`, became durable.
    pub(crate) fn settled(&self, channel: &str, accepted_at: Timestamp, transition: &Transition) {
        match transition.next {
            Next::End(State::Delivered) => {
                self.delivered.get_or_create(&kind(channel)).inc();
                if let Some(entry) = &transition.entry {
                    self.latency.observe(entry.at.since(accepted_at).as_secs_f64());
                }
            }
            Next::End(state) => {
                let labels = Failure { r#type: channel.to_owned(), state: state.as_str() };
                self.failed.get_or_create(&labels).inc();
            }
            Next::Queue { .. } => {
                let event = transition.entry.as_ref().map(|entry| entry.event);
                if event == Some(Event::RetryScheduled) {
                    self.retries.get_or_create(&kind(channel)).inc();
                }
            }
        }
    }
}

impl Witness for Metrics {
    fn delivered(&self, channel: &str, accepted_at: Timestamp, transition: &Transition) {
        if let Some(attempt) = transition.entry.as_ref().and_then(|entry| entry.attempt.as_ref()) {
            self.attempted(channel, attempt);
        }
        self.settled(channel, accepted_at, transition);
    }
}

fn kind(channel: &str) -> Kind {
    Kind { r#type: channel.to_owned() }
}

#[cfg(test)]
mod tests {
    use tidings_core::journal::{Entry, Outcome};

    use super::*;

    const THEN: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn ended(state: State, event: Event) -> Transition {
        Transition {
            next: Next::End(state),
            attempts: 1,
            lost_leases: 0,
            error: None,
            entry: Some(Entry::new(THEN + Duration::from_millis(150), event)),
        }
    }

    #[test]
    fn names_and_labels_are_as_documented() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.settled("email", THEN, &ended(State::Delivered, Event::Delivered));
        metrics.settled("sms", THEN, &ended(State::Dead, Event::Dead));
        metrics.attempted(
            "sms",
            &Attempt {
                number: 1,
                provider: "twilio".to_owned(),
                started_at: THEN,
                duration_ms: 20,
                outcome: Outcome::Rejected,
                code: None,
                message: None,
                provider_id: None,
            },
        );
        metrics.leases_lost.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "notifications_delivered_total{type=\"email\"} 1",
            "notifications_failed_total{type=\"sms\",state=\"dead\"} 1",
            "delivery_attempts_total{type=\"sms\",provider=\"twilio\",outcome=\"rejected\"} 1",
            "message_delivery_latency_seconds_bucket{le=\"0.1\"} 0",
            "message_delivery_latency_seconds_bucket{le=\"0.2\"} 1",
            "attempt_duration_seconds_bucket{le=\"0.025\",type=\"sms\"} 1",
            "leases_lost_total 1",
            "stale_settlements_total 0",
            "attempts_in_flight 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
