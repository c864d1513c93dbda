//! The one middleware: what happens around every request.
//!
//! Before the handler: correlation and trace, a span, the clock. After it: the body of a failure, the headers that every
//! answer carries, the metrics. A panic of a handler ends here as a 500. It is one layer and not five because each layer
//! costs every request an allocation or two.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use http::Method;
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, debug, error, info_span};

use tidings_core::error::{ErrorCode, Problem};

use crate::api::Api;
use crate::context::Traced;
use crate::error::{Failure, Form, render, wants_problem_details};
use crate::metrics::InFlight;
use crate::{headers, routes};

/// The label of requests to paths that do not exist.
const UNMATCHED: &str = "unmatched";

/// Wraps the routes.
#[derive(Clone)]
pub(crate) struct Observe {
    pub(crate) api: Arc<Api>,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, api: Arc::clone(&self.api) }
    }
}

/// A wrapped route.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    api: Arc<Api>,
}

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let exchange = Exchange::begin(Arc::clone(&self.api), &mut request);
        let span = exchange.span();
        let answering = self.inner.call(request);
        Box::pin(async move { Ok(exchange.end(caught(answering).await)) }.instrument(span))
    }
}

/// One request and its answer.
struct Exchange {
    api: Arc<Api>,
    traced: Traced,
    method: &'static str,
    route: &'static str,
    /// The path, if the client wants problem details about it.
    problem_about: Option<String>,
    began: Instant,
    in_flight: InFlight,
}

impl Exchange {
    fn begin(api: Arc<Api>, request: &mut Request) -> Self {
        let traced = Traced::of(request.headers());
        let exchange = Self {
            method: method_label(request.method()),
            route: route_label(request),
            problem_about: wants_problem_details(request.headers()).then(|| request.uri().path().to_owned()),
            began: Instant::now(),
            in_flight: api.metrics.begin(),
            traced: traced.clone(),
            api,
        };
        request.extensions_mut().insert(traced);
        exchange
    }

    fn span(&self) -> Span {
        let context = &self.traced.0;
        info_span!(
            "request",
            method = self.method,
            route = self.route,
            correlationId = %context.correlation_id,
            traceparent = context.traceparent.as_deref(),
        )
    }

    fn end(self, mut response: Response) -> Response {
        if let Some(failure) = response.extensions_mut().remove::<Failure>() {
            response = self.refuse(&failure.0);
        }
        headers::finish(response.headers_mut(), &self.traced.0);
        let took = self.began.elapsed();
        self.api.metrics.answered(self.method, self.route, response.status(), took);
        drop(self.in_flight);
        response
    }

    fn refuse(&self, problem: &Problem) -> Response {
        if self.method == "POST" && routes::TAKES_NOTIFICATIONS.contains(&self.route) {
            self.api.metrics.rejected(problem.code);
        }
        // Being too busy is counted, not told line by line: a flood would only be followed by a flood of lines.
        if problem.code.status >= 500 && problem.code != ErrorCode::OVERLOADED {
            let correlation_id = &self.traced.0.correlation_id;
            error!(code = %problem.code, correlationId = %correlation_id, "Answered {problem}");
        } else {
            let (code, correlation_id) = (problem.code, &self.traced.0.correlation_id);
            debug!(%code, correlationId = %correlation_id, route = self.route, "Refused with {code}");
        }
        let form = match &self.problem_about {
            Some(instance) => Form::ProblemDetails { instance },
            None => Form::Seed,
        };
        render(problem, form)
    }
}

fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PATCH", "DELETE", "HEAD", "PUT", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("OTHER")
}

fn route_label(request: &Request) -> &'static str {
    let matched = request.extensions().get::<MatchedPath>();
    matched
        .and_then(|matched| routes::PATHS.iter().find(|path| **path == matched.as_str()))
        .copied()
        .unwrap_or(UNMATCHED)
}

/// The answer of a handler; if it panics, a failure. The panic itself is reported by the hook of the process.
async fn caught(answering: impl Future<Output = Result<Response, Infallible>>) -> Response {
    let mut answering = pin!(answering);
    let outcome = poll_fn(|context| {
        let step = AssertUnwindSafe(|| answering.as_mut().poll(context));
        catch_unwind(step).map_or(Poll::Ready(None), |poll| poll.map(Some))
    });
    match outcome.await {
        Some(Ok(response)) => response,
        None => Failure(Problem::new(ErrorCode::INTERNAL, "A handler panicked")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure() {
        let broken = poll_fn(|_| -> Poll<Result<Response, Infallible>> { panic!("a bug") });
        let answer = caught(broken).await;
        assert_eq!(answer.status(), 500);
        assert!(answer.extensions().get::<Failure>().is_some());
    }

    #[tokio::test]
    async fn an_answer_passes_unchanged() {
        let answer = caught(ready(Ok("fine".into_response()))).await;
        assert_eq!(answer.status(), 200);
    }

    #[test]
    fn methods_that_nobody_uses_share_a_label() {
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        assert_eq!(method_label(&Method::from_bytes(b"BREW").unwrap()), "OTHER");
    }
}
