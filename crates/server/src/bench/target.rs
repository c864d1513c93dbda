//! The server under test: one that runs already, or one of our own that is gone afterwards.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use crate::bench::client::{Connection, Request};
use crate::bench::server::{OwnServer, Settings};

/// How long a single question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A server that can be loaded.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// What requests say in their `Host`.
    pub(crate) host: String,
    pub(crate) token: String,
    pub(crate) whose: Whose,
}

/// Who ends it.
pub(crate) enum Whose {
    /// Somebody else. Its processes, if they are known, are watched and left alone.
    Theirs { processes: Vec<u32> },
    /// We do.
    Ours(Box<OwnServer>),
}

/// What a server answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Target {
    /// A server that runs already.
    pub(crate) async fn existing(url: &Url, token: String, processes: Vec<u32>) -> anyhow::Result<Self> {
        let (address, host) = resolve(url).await?;
        Ok(Self { address, host, token, whose: Whose::Theirs { processes } })
    }

    /// Starts a server in a directory of its own, on a free port. `user` is whom its token names.
    pub(crate) async fn of_our_own(parent: Option<&Path>, user: Uuid, settings: Settings) -> anyhow::Result<Self> {
        let server = Box::new(OwnServer::start(parent, settings).await?);
        let address = server.address();
        let token = server.token(user)?;
        Ok(Self { address, host: address.to_string(), token, whose: Whose::Ours(server) })
    }

    /// The processes that it consists of, as far as they are known.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.whose {
            Whose::Theirs { processes } => processes.clone(),
            Whose::Ours(server) => server.id().into_iter().collect(),
        }
    }

    /// The server, if it is our own.
    pub(crate) fn own(&self) -> Option<&OwnServer> {
        match &self.whose {
            Whose::Theirs { .. } => None,
            Whose::Ours(server) => Some(server.as_ref()),
        }
    }

    /// The same, to be killed and started.
    pub(crate) fn own_mut(&mut self) -> Option<&mut OwnServer> {
        match &mut self.whose {
            Whose::Theirs { .. } => None,
            Whose::Ours(server) => Some(server.as_mut()),
        }
    }

    /// How many notifications the server has delivered since its start; `None` if it does not say.
    pub(crate) async fn delivered(&self) -> Option<u64> {
        let reply = ask(self.address, &self.request("GET", "/metrics", "")).await.ok()?;
        (reply.status == 200).then(|| delivered_total(&reply.body))
    }

    /// Ends a server of our own and removes its directory.
    pub(crate) async fn stop(self) {
        if let Whose::Ours(mut server) = self.whose {
            // What it has stored is thrown away: there is nothing to drain.
            server.kill().await.ok();
        }
    }

    /// A request with the token.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        Request { method, path, host: &self.host, token: Some(&self.token), header: None, body }.to_bytes()
    }
}

/// The address that a URL leads to, and what to say in `Host`.
pub(crate) async fn resolve(url: &Url) -> anyhow::Result<(SocketAddr, String)> {
    if url.scheme() != "http" {
        bail!("{url} is not an http address; the load generator speaks no TLS");
    }
    let port = url.port_or_known_default().unwrap_or(80);
    let name = url.host_str().context("the address has no host")?;
    let mut addresses = tokio::net::lookup_host((name.trim_matches(['[', ']']), port))
        .await
        .with_context(|| format!("{name} is not known"))?;
    let address = addresses.next().with_context(|| format!("{name} has no address"))?;
    Ok((address, format!("{name}:{port}")))
}

/// Asks one question on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Reply> {
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        let answer = connection.exchange(request).await?;
        Ok(Reply { status: answer.status, body: String::from_utf8_lossy(answer.body).into_owned() })
    };
    timeout(ANSWER_WITHIN, exchange).await.map_err(io::Error::from)?
}

/// The deliveries of all channels in an exposition of metrics.
pub(crate) fn delivered_total(exposition: &str) -> u64 {
    let lines = exposition.lines().filter_map(|line| line.strip_prefix("notifications_delivered_total"));
    lines.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_of_all_channels_are_added() {
        let exposition = "# TYPE notifications_delivered_total counter\nnotifications_delivered_total{type=\"in-app\"} 40\n\
                          notifications_delivered_total{type=\"email\"} 2\nnotifications_failed_total{type=\"email\"} 7\n";
        assert_eq!(delivered_total(exposition), 42);
        assert_eq!(delivered_total("notifications_delivered_total 7\n"), 7);
        assert_eq!(delivered_total(""), 0);
    }

    #[tokio::test]
    async fn an_address_without_http_is_refused() {
        let url: Url = "https://tidings.example".parse().unwrap();
        assert!(Target::existing(&url, String::new(), Vec::new()).await.is_err());
    }
}
