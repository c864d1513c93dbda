//! Whether the process lives, and whether it wants work.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use tokio::time::timeout;
use tracing::{debug, warn};
use utoipa::ToSchema;

use tidings_core::time::Timestamp;

use crate::api::Api;

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Whether the process takes work, as `GET /ready` tells it. It begins closed, is opened once everything has started,
/// and is closed for good when the process stops.
#[derive(Debug, Default)]
pub struct Gate {
    phase: AtomicU8,
}

impl Gate {
    /// Everything has started. Does nothing once the gate was closed.
    pub fn open(&self) {
        let opened = self.phase.compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed);
        if opened.is_err() {
            debug!("The gate was not waiting to be opened");
        }
    }

    /// The process stops.
    pub fn close(&self) {
        self.phase.store(DRAINING, Ordering::Relaxed);
    }

    /// Whether the process takes work.
    pub fn is_open(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == READY
    }

    fn word(&self) -> &'static str {
        match self.phase.load(Ordering::Relaxed) {
            STARTING => "starting",
            READY => "ready",
            _ => "draining",
        }
    }
}

/// The health of the process and of what it depends on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    /// The store: `connected` or `disconnected`.
    database: &'static str,
    /// The job queue: `connected` or `disconnected`.
    rabbitmq: &'static str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// Whether the process wants work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`, `starting` or `draining`.
    status: &'static str,
}

/// Whether the process and its dependencies work.
#[utoipa::path(
    get,
    path = "/health",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "All is well", body = Health,
            example = json!({"status": "healthy", "database": "connected", "rabbitmq": "connected", "timestamp": "2026-01-31T09:30:00.000Z"})),
        (status = 503, description = "A dependency does not answer", body = Health)
    )
)]
pub(crate) async fn check_health(State(api): State<Arc<Api>>) -> Response {
    let answers = store_answers(&api).await;
    let status = if answers { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health::new(answers, api.now()))).into_response()
}

/// Whether the process wants work. False while it starts and from the moment it is told to stop.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "operation",
    security(()),
    responses(
        (status = 200, description = "Send work", body = Readiness, example = json!({"status": "ready"})),
        (status = 503, description = "Send no work", body = Readiness)
    )
)]
pub(crate) fn check_readiness(State(api): State<Arc<Api>>) -> Ready<Response> {
    let status = if api.gate.is_open() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Readiness { status: api.gate.word() };
    ready((status, Json(body)).into_response())
}

impl Health {
    /// The job queue lives in the store, so one answer speaks for both.
    fn new(answers: bool, timestamp: Timestamp) -> Self {
        let (status, connection) = if answers { ("healthy", "connected") } else { ("unhealthy", "disconnected") };
        Self { status, database: connection, rabbitmq: connection, timestamp }
    }
}

async fn store_answers(api: &Api) -> bool {
    match timeout(PATIENCE, api.services.upkeep.ping()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            warn!(%error, "The store does not answer: {error}");
            false
        }
        Err(_elapsed) => {
            warn!("The store does not answer within a second");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_opens_once_and_closes_for_good() {
        let gate = Gate::default();
        assert_eq!((gate.is_open(), gate.word()), (false, "starting"));
        gate.open();
        assert_eq!((gate.is_open(), gate.word()), (true, "ready"));
        gate.close();
        gate.open();
        assert_eq!((gate.is_open(), gate.word()), (false, "draining"));
    }

    #[test]
    fn the_body_is_that_of_the_seed() {
        let timestamp = Timestamp::parse("2026-01-31T09:30:00Z").unwrap();
        assert_eq!(
            serde_json::to_string(&Health::new(true, timestamp)).unwrap(),
            r#"{"status":"healthy","database":"connected","rabbitmq":"connected","timestamp":"2026-01-31T09:30:00.000Z"}"#
        );
        assert_eq!(
            serde_json::to_string(&Health::new(false, timestamp)).unwrap(),
            r#"{"status":"unhealthy","database":"disconnected","rabbitmq":"disconnected","timestamp":"2026-01-31T09:30:00.000Z"}"#
        );
    }
}
