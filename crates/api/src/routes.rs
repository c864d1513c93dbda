//! Every route of the interface, on one screen.

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use tidings_core::error::{ErrorCode, Problem};

use crate::api::{Api, Config, Services};
use crate::error::{Failure, not_found};
use crate::health::{Gate, check_health, check_readiness};
use crate::metrics::{Metrics, export_metrics, expose_metrics};
use crate::observe::Observe;
use crate::{auth, dead_letters, docs, inbox, notifications, users};

/// Every path, as a label of metrics.
pub(crate) const PATHS: [&str; 25] = [
    "/",
    "/api/notifications",
    "/api/notifications/batch",
    "/api/notifications/{messageId}",
    "/api/notifications/{messageId}/cancel",
    "/api/dead-letters",
    "/api/dead-letters/redrive",
    "/api/dead-letters/{messageId}",
    "/api/dead-letters/{messageId}/redrive",
    "/api/dead-letters/{messageId}/discard",
    "/api/users",
    "/api/users/{userId}",
    "/api/users/{userId}/inbox",
    "/api/users/{userId}/inbox/unread",
    "/api/users/{userId}/inbox/receipts",
    "/api/auth/register",
    "/api/auth/login",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/docs.js",
    "/docs/docs.css",
    "/docs/errors",
];

/// The routes whose refusals are refused notifications.
pub(crate) const TAKES_NOTIFICATIONS: [&str; 2] = ["/api/notifications", "/api/notifications/batch"];

/// The whole interface. `exposition` gives the text of `GET /metrics`, in the `OpenMetrics` format.
pub fn router(
    services: Services,
    config: Config,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    exposition: Arc<dyn Fn() -> String + Send + Sync>,
) -> Router {
    let has_metrics = config.metrics;
    let api = Arc::new(Api::new(services, config, gate, metrics, exposition));
    let observe = Observe { api: Arc::clone(&api) };
    let metrics_route = if has_metrics { get(export_metrics) } else { get(unknown_path) };
    Router::new()
        .route("/api/notifications", post(notifications::submit_notification).get(notifications::list_notifications))
        .route("/api/notifications/batch", post(notifications::submit_batch))
        .route("/api/notifications/{messageId}", get(notifications::show_notification))
        .route("/api/notifications/{messageId}/cancel", post(notifications::cancel_notification))
        .route("/api/dead-letters", get(dead_letters::list_dead_letters))
        .route("/api/dead-letters/redrive", post(dead_letters::redrive_matching))
        .route(
            "/api/dead-letters/{messageId}",
            get(dead_letters::show_dead_letter).patch(dead_letters::annotate_dead_letter),
        )
        .route("/api/dead-letters/{messageId}/redrive", post(dead_letters::redrive_dead_letter))
        .route("/api/dead-letters/{messageId}/discard", post(dead_letters::discard_dead_letter))
        .route("/api/users", post(users::create_user).get(users::list_users))
        .route("/api/users/{userId}", get(users::show_user).patch(users::update_user).delete(users::delete_user))
        .route("/api/users/{userId}/inbox", get(inbox::read_inbox))
        .route("/api/users/{userId}/inbox/unread", get(inbox::count_unread))
        .route("/api/users/{userId}/inbox/receipts", post(inbox::acknowledge_inbox))
        .route("/api/auth/register", post(auth::register))
        .route("/api/auth/login", post(auth::log_in))
        .route("/health", get(check_health))
        .route("/ready", get(check_readiness))
        .route("/metrics", metrics_route)
        .route("/openapi.json", get(docs::show_openapi))
        .route("/", get(docs::go_to_docs))
        .route("/docs", get(docs::show_docs))
        .route("/docs/docs.js", get(docs::docs_script))
        .route("/docs/docs.css", get(docs::docs_style))
        .route("/docs/errors", get(docs::show_errors))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(observe)
        .with_state(api)
}

/// `GET /metrics` and nothing else, without a token: for a listener that only those reach who may read it. `exposition` is
/// that of [`router`].
pub fn metrics_router(exposition: Arc<dyn Fn() -> String + Send + Sync>) -> Router {
    Router::new().route("/metrics", get(expose_metrics)).with_state(exposition)
}

fn unknown_path() -> Ready<Failure> {
    ready(not_found())
}

/// Axum adds the `Allow` header.
fn wrong_method() -> Ready<Failure> {
    ready(Failure(Problem::plain(ErrorCode::METHOD_NOT_ALLOWED)))
}
