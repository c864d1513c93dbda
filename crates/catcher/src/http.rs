//! An HTTP server that takes every request.
//!
//! It speaks HTTP/1.1 by itself, because what it must be able to do wrong no proper server does.

mod answer;
mod connection;
mod form;
mod request;
mod twilio;
mod wire;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

pub use answer::HttpAnswer;
pub use request::{CaughtRequest, RequestView};

use crate::script::Script;
use crate::server::Server;
use crate::shelf::{Late, Shelf};

/// A running HTTP server; it stops when dropped.
///
/// A request gets the next prepared answer. When none is left its path decides: `/status/<code>` answers with that code,
/// `/hang` never answers, `POST /2010-04-01/Accounts/<sid>/Messages.json` answers as Twilio does, and all else gets
/// `200 {"ok":true}`.
pub struct HttpCatcher {
    server: Server,
    shelf: Arc<Shelf<CaughtRequest>>,
    script: Arc<Script<HttpAnswer>>,
}

impl HttpCatcher {
    /// Listens on `addr`; port 0 takes a free one.
    pub async fn start(addr: SocketAddr) -> io::Result<Self> {
        let shelf = Arc::new(Shelf::new());
        let script = Arc::new(Script::new());
        let (requests, answers) = (Arc::clone(&shelf), Arc::clone(&script));
        let server =
            Server::start(addr, move |stream| connection::serve(stream, Arc::clone(&requests), Arc::clone(&answers)))
                .await?;
        Ok(Self { server, shelf, script })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The URL of a path, such as `/hook`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// Prepares answers for the next requests, one each, after those prepared before.
    pub fn script(&self, answers: impl IntoIterator<Item = HttpAnswer>) {
        self.script.extend(answers);
    }

    /// The requests caught, oldest first; the last 1,000 at most.
    pub fn requests(&self) -> Vec<CaughtRequest> {
        self.shelf.items()
    }

    /// Waits until `count` requests were caught since the start or the last [`HttpCatcher::clear`], and gives those
    /// kept.
    pub async fn wait_for(&self, count: usize, within: Duration) -> Result<Vec<CaughtRequest>, Late> {
        self.shelf.wait_for(count, within).await
    }

    /// Forgets what was caught. Prepared answers stay.
    pub fn clear(&self) {
        self.shelf.clear();
    }

    /// Requests from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CaughtRequest>> {
        self.shelf.subscribe()
    }
}

impl fmt::Debug for HttpCatcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HttpCatcher").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

/// The doors for [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz {
    use std::io;

    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use tokio::io::AsyncBufRead;

    use super::{form as forms, wire};

    /// A whole request: method, target, headers and body.
    pub(crate) async fn read(
        reader: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<(Method, String, HeaderMap, Bytes)> {
        let head = wire::read_head(reader).await?;
        let body = wire::read_body(reader, &head).await?;
        Ok((head.method, head.target, head.headers, body))
    }

    /// The fields of a form.
    pub(crate) fn form(body: &[u8]) -> Vec<(String, String)> {
        forms::decode(body)
    }
}

#[cfg(test)]
mod tests;
