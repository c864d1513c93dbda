//! The stand-ins for the outside world, on this machine only.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use tidings_catcher::{HttpCatcher, SmtpCatcher};

/// Where mails are caught, if the port is free.
const MAIL_PORT: u16 = 1025;
/// Where webhooks are caught, if the port is free.
const WEBHOOK_PORT: u16 = 8025;
/// How many ports are tried from the usual one on.
const TRIES: u16 = 100;

/// A mail relay, a receiver of webhooks and an SMS provider. The last two are apart, so that an answer prepared for the
/// next webhook is not given to a text message.
pub(crate) struct Catchers {
    pub(crate) mail: SmtpCatcher,
    pub(crate) webhooks: HttpCatcher,
    pub(crate) sms: HttpCatcher,
}

impl Catchers {
    /// Starts all three, each on its usual port or the next one that is free.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mail = on_free_port(MAIL_PORT, SmtpCatcher::start).await.context("the mail catcher cannot listen")?;
        let webhooks =
            on_free_port(WEBHOOK_PORT, HttpCatcher::start).await.context("the webhook catcher cannot listen")?;
        let next = webhooks.addr().port().saturating_add(1);
        let sms = on_free_port(next, HttpCatcher::start).await.context("the SMS catcher cannot listen")?;
        Ok(Self { mail, webhooks, sms })
    }

    /// Where webhooks for a user go.
    pub(crate) fn webhook_url(&self, username: &str) -> String {
        self.webhooks.url(&format!("{WEBHOOK_PATH}{username}"))
    }
}

/// What the paths of webhooks for the seed users start with.
pub(crate) const WEBHOOK_PATH: &str = "/hooks/";

async fn on_free_port<T, F>(usual: u16, start: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let last = usual.saturating_add(TRIES);
    for port in usual..last {
        match start((Ipv4Addr::LOCALHOST, port).into()).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            outcome => return outcome,
        }
    }
    start((Ipv4Addr::LOCALHOST, 0).into()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_passed_over() {
        let first = on_free_port(39_025, HttpCatcher::start).await.unwrap();
        let second = on_free_port(first.addr().port(), HttpCatcher::start).await.unwrap();
        assert!(second.addr().port() > first.addr().port());
        assert!(second.addr().ip().is_loopback());
    }
}
