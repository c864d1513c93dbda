//! The HTTP client of the commands that talk to a running server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;

use super::token;
use crate::config::{Config, Sources};

const TIMEOUT: Duration = Duration::from_mins(1);
const TOKEN_VARIABLE: &str = "TIDINGS_TOKEN";

/// Which server, and as whom.
#[derive(clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Access {
    /// The address of the server [default: this machine, API_PORT]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<Url>,
    /// The token to use [default: TIDINGS_TOKEN, or one signed with the secret of this machine]
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<String>,
}

impl std::fmt::Debug for Access {
    /// A token is never shown.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Access").field("url", &self.url.as_ref().map(Url::as_str)).finish_non_exhaustive()
    }
}

/// A connection to a server.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl Client {
    /// Prepares a connection; nothing is sent yet.
    pub(crate) fn new(access: &Access, config: &Config, sources: &Sources) -> anyhow::Result<Self> {
        let base = match &access.url {
            Some(url) => url.clone(),
            None => local_url(config)?,
        };
        let given = access.token.clone().or_else(|| sources.variable(TOKEN_VARIABLE));
        let token = match given {
            Some(token) => token,
            None => token::own(config)?,
        };
        let mut builder = reqwest::Client::builder().timeout(TIMEOUT);
        if base.scheme() == "http" {
            // A machine without certificates of authorities can still talk to a server of its own.
            builder = builder.tls_certs_only([]).no_proxy();
        }
        Ok(Self { http: builder.build().context("the HTTP client cannot be set up")?, base, token })
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.ask(self.request(Method::GET, path)?.query(query)).await
    }

    /// Does something.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(self.request(Method::POST, path)?.json(body)).await
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = self.base.join(path).with_context(|| format!("{} is no address of a server", self.base))?;
        Ok(self.http.request(method, url).bearer_auth(&self.token))
    }

    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let word = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let message =
            word("message").or_else(|| word("detail")).unwrap_or_else(|| "the server gave no reason".to_owned());
        match word("code") {
            Some(code) => bail!("{message} ({status}, {code}: docs/reference/errors.md#{code})"),
            None => bail!("{message} ({status}); is {} a Tidings server?", self.base),
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let base = &self.base;
        if error.is_connect() {
            return anyhow!(error).context(format!(
                "nothing answers at {base}; start `tidings serve` or `tidings dev`, or name the server with --url"
            ));
        }
        if error.is_timeout() {
            return anyhow!(error).context(format!("{base} did not answer in time"));
        }
        anyhow!(error).context(format!("{base} cannot be asked"))
    }
}

/// Where a server with this configuration listens, seen from the same machine.
fn local_url(config: &Config) -> anyhow::Result<Url> {
    let ip = match config.server.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, config.server.port);
    Url::parse(&format!("http://{address}")).context("the address of the local server is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_server_is_reached_over_loopback() {
        let config = |bind: &str| {
            let sources = Sources::default().with_flag("server.bind", bind).with_flag("server.port", "9000");
            Config::load(&sources).unwrap()
        };
        assert_eq!(local_url(&config("0.0.0.0")).unwrap().as_str(), "http://127.0.0.1:9000/");
        assert_eq!(local_url(&config("::")).unwrap().as_str(), "http://[::1]:9000/");
        assert_eq!(local_url(&config("10.1.2.3")).unwrap().as_str(), "http://10.1.2.3:9000/");
    }
}
