//! An SMTP server that takes every mail.

mod session;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::mail::Mail;
use crate::script::Script;
use crate::server::Server;
use crate::shelf::{Late, Shelf};
use session::Session;

/// Where in the dialogue an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Instead of the greeting; the connection is closed.
    Connect,
    /// To `MAIL FROM`.
    Mail,
    /// To every `RCPT TO`.
    Rcpt,
    /// To `DATA`, instead of asking for the content.
    Data,
    /// To the content.
    AfterData,
}

/// What happens to one mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmtpAnswer {
    /// It is taken.
    Accept,
    /// It is refused.
    Reply {
        /// Where.
        stage: Stage,
        /// The reply code, such as 450 or 550. After 421 the connection is closed.
        code: u16,
        /// What is said.
        text: String,
    },
    /// The server says nothing any more: on a new connection not even a greeting, on an older one from `MAIL FROM` on.
    Silence,
    /// The server reads the whole content and then cuts the connection. Whether the mail was taken nobody can tell; it
    /// is not among those caught.
    CloseMidway,
}

impl SmtpAnswer {
    /// A refusal.
    pub fn refuse(stage: Stage, code: u16, text: impl Into<String>) -> Self {
        Self::Reply { stage, code, text: text.into() }
    }
}

/// A running SMTP server; it stops when dropped.
pub struct SmtpCatcher {
    server: Server,
    shelf: Arc<Shelf<Mail>>,
    script: Arc<Script<SmtpAnswer>>,
}

impl SmtpCatcher {
    /// Listens on `addr`; port 0 takes a free one.
    pub async fn start(addr: SocketAddr) -> io::Result<Self> {
        let shelf = Arc::new(Shelf::new());
        let script = Arc::new(Script::new());
        let (mails, answers) = (Arc::clone(&shelf), Arc::clone(&script));
        let server =
            Server::start(addr, move |stream| Session::new(stream, Arc::clone(&mails), Arc::clone(&answers)).run())
                .await?;
        Ok(Self { server, shelf, script })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Prepares answers for the next mails, one each, after those prepared before. Mails beyond them are taken.
    pub fn script(&self, answers: impl IntoIterator<Item = SmtpAnswer>) {
        self.script.extend(answers);
    }

    /// The mails caught, oldest first; the last 1,000 at most.
    pub fn mails(&self) -> Vec<Mail> {
        self.shelf.items()
    }

    /// Waits until `count` mails were caught since the start or the last [`SmtpCatcher::clear`], and gives those kept.
    pub async fn wait_for(&self, count: usize, within: Duration) -> Result<Vec<Mail>, Late> {
        self.shelf.wait_for(count, within).await
    }

    /// Forgets what was caught. Prepared answers stay.
    pub fn clear(&self) {
        self.shelf.clear();
    }

    /// Mails from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Mail>> {
        self.shelf.subscribe()
    }
}

impl fmt::Debug for SmtpCatcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SmtpCatcher").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

/// The doors for [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz {
    use super::session::path;

    /// The address in what follows `MAIL` or `RCPT`.
    pub(crate) fn address<'a>(rest: &'a str, keyword: &str) -> Option<&'a str> {
        path(rest, keyword).map(|(address, _parameters)| address)
    }
}

#[cfg(test)]
mod tests;
