//! The sockets. Everything that waits, times out or is cut is in here; nothing in here decides what it means.

use std::sync::Arc;

use crate::config::ConfigError;
use crate::outbound::{self, Guard};
use crate::wire::{Answer, Failure, Outgoing};

mod http;
mod resolver;
mod smtp;

pub(crate) use self::smtp::Smtp;

/// The ways out of this process.
pub(crate) struct Transports {
    http: http::Clients,
    smtp: Option<Smtp>,
}

impl Transports {
    /// Opens no connection yet.
    pub(crate) fn new(guard: &Arc<Guard>, config: &outbound::Config, smtp: Option<Smtp>) -> Result<Self, ConfigError> {
        Ok(Self { http: http::Clients::new(guard, config.timeout)?, smtp })
    }

    /// Sends something and waits for what comes back, within the time limit of its kind.
    pub(crate) async fn exchange(&self, outgoing: Outgoing) -> Answer {
        match (outgoing, &self.smtp) {
            (Outgoing::Http(request), _) => self.http.exchange(request).await,
            (Outgoing::Mail(mail), Some(smtp)) => smtp.exchange(&mail).await,
            (Outgoing::Mail(_), None) => Answer::Failed(Failure::Unsendable("there is no mail relay".to_owned())),
        }
    }
}
