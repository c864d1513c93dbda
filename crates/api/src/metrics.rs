//! What the interface counts, and `GET /metrics`.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use tidings_core::error::ErrorCode;

use crate::api::{Api, Exposition};
use crate::caller::Authenticated;
use crate::error::{Failure, forbidden};

/// The upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: &'static str,
    status: u16,
}

type ByName = [(&'static str, &'static str); 1];

/// The metrics of the interface. No label value comes from a caller.
pub struct Metrics {
    requests: Family<Request, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    accepted: Family<ByName, Counter>,
    rejected: Family<ByName, Counter>,
    shed: Family<ByName, Counter>,
    connections: Gauge,
    refused_connections: Family<ByName, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Puts the metrics into a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
            accepted: Family::default(),
            rejected: Family::default(),
            shed: Family::default(),
            connections: Gauge::default(),
            refused_connections: Family::default(),
        };
        registry.register(
            "http_request_duration_seconds",
            "How long requests took to answer",
            metrics.requests.clone(),
        );
        registry.register("http_requests_in_flight", "Requests that are being answered", metrics.in_flight.clone());
        registry.register(
            "notifications_accepted",
            "Notifications accepted, repeated requests not counted",
            metrics.accepted.clone(),
        );
        registry.register(
            "notifications_rejected",
            "Notifications refused, by the code of the error",
            metrics.rejected.clone(),
        );
        registry.register(
            "tidings_shed",
            "Notifications refused because the store was too busy for their class",
            metrics.shed.clone(),
        );
        registry.register("http_connections", "Connections of clients", metrics.connections.clone());
        registry.register(
            "http_connections_refused",
            "Connections that were closed at once, because their peer has too many or because files are short",
            metrics.refused_connections.clone(),
        );
        metrics
    }

    /// A request has begun; it ends when the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.inc();
        InFlight(Arc::clone(self))
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &'static str, route: &'static str, status: StatusCode, took: Duration) {
        let request = Request { method, route, status: status.as_u16() };
        self.requests.get_or_create(&request).observe(took.as_secs_f64());
    }

    /// A notification was accepted on this channel.
    pub(crate) fn accepted(&self, channel: &'static str) {
        self.accepted.get_or_create(&[("type", channel)]).inc();
    }

    /// A connection was let in; it ends when the guard is dropped.
    pub(crate) fn connected(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// A connection was closed at once.
    pub(crate) fn refused_connection(&self, reason: &'static str) {
        self.refused_connections.get_or_create(&[("reason", reason)]).inc();
    }

    /// A notification was refused because the store was too busy for its class.
    pub(crate) fn shed(&self, class: &'static str) {
        self.shed.get_or_create(&[("class", class)]).inc();
    }

    /// A notification was refused.
    pub(crate) fn rejected(&self, code: ErrorCode) {
        self.rejected.get_or_create(&[("code", code.code)]).inc();
    }
}

/// A request that is being answered, or whose client has gone away in the meantime.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The metrics of this process.
///
/// In the `OpenMetrics` text format if `Accept` names it, otherwise in the classic text format of Prometheus. Needs the
/// scope `admin` or `read:any`. Where the operator has set `METRICS_ADDR` they are given there, and not here.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"))
)]
pub(crate) fn export_metrics(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    format: Format,
) -> Ready<Result<Response, Failure>> {
    ready(if caller.is_admin || caller.reads_any {
        Ok(exposition(&api.exposition, format))
    } else {
        Err(forbidden("This needs a token with the scope `admin` or `read:any`"))
    })
}

/// The same for whoever reaches the listener of the metrics.
pub(crate) fn expose_metrics(State(source): State<Exposition>, format: Format) -> Ready<Response> {
    ready(exposition(&source, format))
}

fn exposition(source: &Exposition, format: Format) -> Response {
    let text = source();
    let (content_type, text) = match format {
        Format::OpenMetrics => (OPEN_METRICS, text),
        Format::Classic => (CLASSIC, classic(&text)),
    };
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the registry writes them.
    OpenMetrics,
    /// As older scrapers read them.
    Classic,
}

impl<S> FromRequestParts<S> for Format {
    type Rejection = Infallible;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, Infallible>> + Send {
        let mut accepted = parts.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let is_open = accepted.any(|value| value.contains("application/openmetrics-text"));
        ready(Ok(if is_open { Self::OpenMetrics } else { Self::Classic }))
    }
}

/// Turns `OpenMetrics` into the classic text format: there the family of a counter has the name of its sample, with
/// `_total`; units and the end are not written; and what has no type is called untyped.
fn classic(open_metrics: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (name, kind) = match kind {
                "counter" => (format!("{name}_total"), "counter"),
                "info" => (format!("{name}_info"), "gauge"),
                "unknown" => (name.to_owned(), "untyped"),
                _ => (name.to_owned(), kind),
            };
            if let Some((_, text)) = help.take() {
                lines.push(format!("# HELP {name} {text}"));
            }
            lines.push(format!("# TYPE {name} {kind}"));
        } else if !line.starts_with('#') {
            lines.push(line.to_owned());
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn exposition(use_it: impl FnOnce(&Arc<Metrics>)) -> String {
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        use_it(&metrics);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn requests_are_timed_by_method_route_and_status() {
        let text = exposition(|metrics| {
            let took = Duration::from_millis(4);
            metrics.answered("GET", "/api/notifications/{messageId}", StatusCode::NOT_FOUND, took);
        });
        let labels = r#"{method="GET",route="/api/notifications/{messageId}",status="404"}"#;
        assert!(text.contains(&format!("http_request_duration_seconds_count{labels} 1")), "{text}");
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let text = exposition(|metrics| {
            let first = metrics.begin();
            let second = metrics.begin();
            drop(first);
            std::mem::forget(second);
        });
        assert!(text.contains("http_requests_in_flight 1"), "{text}");
    }

    #[test]
    fn notifications_are_counted() {
        let text = exposition(|metrics| {
            metrics.accepted("email");
            metrics.accepted("email");
            metrics.rejected(ErrorCode::UNKNOWN_USER);
        });
        assert!(text.contains(r#"notifications_accepted_total{type="email"} 2"#), "{text}");
        assert!(text.contains(r#"notifications_rejected_total{code="unknown_user"} 1"#), "{text}");
    }

    #[test]
    fn the_classic_format_names_families_as_their_samples() {
        let open = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP c Time.\n# TYPE c histogram\n\
                    # UNIT c seconds\nc_sum 1.0\n# EOF\n";
        let expected = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n\
                        # HELP c Time.\n# TYPE c histogram\nc_sum 1.0\n";
        assert_eq!(classic(open), expected);
    }
}
