//! Requests over HTTP.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, Request, Response, retry};
use rustls::crypto::CryptoProvider;
use tokio::time::{Instant, timeout_at};

use crate::config::ConfigError;
use crate::outbound::{Blocked, Demand, Guard};
use crate::said::tidy;
use crate::transport::resolver::VettingResolver;
use crate::wire::{Answer, Failure, HttpAnswer, HttpRequest, Route};

/// How much of an answer is read.
const MAX_ANSWER: usize = 64 * 1024;

/// How long the body of an answer may take once its head is there: by then the verdict is known.
const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// The longest that connecting may take: name, TCP and TLS together.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Clients that differ only in the addresses they connect to.
pub(super) struct Clients {
    admitted: Client,
    /// Only where networks are listed: otherwise nothing could pass.
    listed: Option<Client>,
    trusted: Client,
    guard: Arc<Guard>,
    timeout: Duration,
}

impl Clients {
    /// Clients whose requests take `timeout` at most.
    pub(super) fn new(guard: &Arc<Guard>, timeout: Duration) -> Result<Self, ConfigError> {
        if CryptoProvider::get_default().is_none() {
            return Err(ConfigError::NoTlsProvider);
        }
        let vetted = |demand| build(hardened(timeout).dns_resolver(VettingResolver::new(Arc::clone(guard), demand)));
        Ok(Self {
            admitted: vetted(Demand::Admitted)?,
            listed: guard.lists_any().then(|| vetted(Demand::Listed)).transpose()?,
            trusted: build(hardened(timeout))?,
            guard: Arc::clone(guard),
            timeout,
        })
    }

    /// Sends a request. Whatever the server does, this ends in time and reads little.
    pub(super) async fn exchange(&self, request: HttpRequest) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let diverted = if request.route == Route::Trusted { None } else { self.guard.diverted(&request.url) };
        let route = if diverted.is_some() { Route::Trusted } else { request.route };
        let Some(client) = self.client(route) else {
            return Answer::Failed(Failure::Forbidden);
        };
        let mut post = Request::new(Method::POST, diverted.unwrap_or(request.url));
        *post.headers_mut() = request.headers;
        *post.body_mut() = Some(request.body.into());
        let mut response = match timeout_at(deadline, client.execute(post)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Answer::Failed(failure(&error)),
            // Connecting has a shorter limit of its own, so the request was on its way.
            Err(_elapsed) => return Answer::Failed(Failure::Lost("no answer came in time".to_owned())),
        };
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let body = body(&mut response, deadline.min(Instant::now() + BODY_PATIENCE)).await;
        Answer::Http(HttpAnswer { status, headers, body })
    }

    fn client(&self, route: Route) -> Option<&Client> {
        match route {
            Route::Trusted => Some(&self.trusted),
            Route::Vetted(Demand::Admitted) => Some(&self.admitted),
            Route::Vetted(Demand::Listed) => self.listed.as_ref(),
        }
    }
}

fn build(builder: ClientBuilder) -> Result<Client, ConfigError> {
    builder.build().map_err(|error| ConfigError::Tls(innermost(&error).to_string()))
}

fn hardened(timeout: Duration) -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .retry(retry::never())
        .no_proxy()
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(CONNECT_PATIENCE.min(timeout / 2))
        .http1_max_headers(100)
        .http2_max_header_list_size(32 * 1024)
        .pool_max_idle_per_host(32)
        .pool_idle_timeout(Duration::from_mins(1))
}

/// The body as far as it comes in time and is short enough. The connection of a body that was cut is not used again.
async fn body(response: &mut Response, deadline: Instant) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(&chunk.slice(..chunk.len().min(room)));
        if body.len() == MAX_ANSWER {
            break;
        }
    }
    body.freeze()
}

/// Addresses, names and URLs stay out of the reasons: they are read by whoever chose the URL.
fn failure(error: &reqwest::Error) -> Failure {
    if causes(error).any(<dyn Error + 'static>::is::<Blocked>) {
        return Failure::Forbidden;
    }
    if error.is_builder() {
        return Failure::Unsendable("the request cannot be written".to_owned());
    }
    if !error.is_connect() {
        return Failure::Lost("the connection was cut before an answer came".to_owned());
    }
    if let Some(tls) = causes(error).find_map(tls_error) {
        return Failure::NotSent(format!("destination unreachable: TLS failed ({})", tidy(&tls.to_string())));
    }
    let reason = if error.is_dns() { "its name was not resolved" } else { "no connection could be made" };
    Failure::NotSent(format!("destination unreachable: {reason}"))
}

/// The TLS error in an error; transports wrap it in I/O errors, which hide it from the chain of causes.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref().or_else(|| tls_error(error.downcast_ref::<io::Error>()?.get_ref()?))
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
}

#[cfg(test)]
mod tests;
