//! All channels of an installation, and the one list where they are registered.

use std::sync::Arc;

use async_trait::async_trait;
use tidings_core::delivery::Verdict;
use tidings_core::error::{ErrorCode, Problem};
use tidings_core::notification::Destination;
use tidings_core::ports::Sender;
use tidings_core::ports::sender::{Dispatch, Reach, Report};
use tidings_core::user::Contacts;
use tracing::warn;

use crate::channel::Channel;
use crate::config::{Config, ConfigError};
use crate::email::{self, Email};
use crate::in_app::InApp;
use crate::outbound::Guard;
use crate::payload::Payload;
use crate::sms::Sms;
use crate::smtp::{self, Relay};
use crate::transport::{Smtp, Transports};
use crate::webhook::Webhook;

/// All channels of an installation.
pub struct Channels {
    channels: Vec<Box<dyn Channel>>,
    transports: Transports,
}

impl Channels {
    /// The channels as configured. Opens no connection yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let guard = Arc::new(Guard::new(&config.outbound));
        announce_exceptions(&config);
        let from = config.smtp.as_ref().map(|smtp| email::sender(&smtp.from)).transpose()?;
        let relay = config.smtp.as_ref().zip(from.as_ref());
        let relay = relay.map(|(smtp, from)| open_relay(smtp, from.email.domain())).transpose()?;
        let transports = Transports::new(&guard, &config.outbound, relay)?;
        let channels: Vec<Box<dyn Channel>> = vec![
            Box::new(Email::new(from)),
            Box::new(Sms::new(config.sms.as_ref())?),
            Box::new(Webhook::new(config.webhook, guard)),
            Box::new(InApp),
        ];
        Ok(Self { channels, transports })
    }

    fn find(&self, name: &str) -> Option<&dyn Channel> {
        self.channels.iter().map(|channel| &**channel).find(|channel| channel.name() == name)
    }
}

fn open_relay(config: &smtp::Config, domain: &str) -> Result<Smtp, ConfigError> {
    Ok(Smtp::new(Relay::parse(&config.url)?, domain, config.timeout))
}

fn announce_exceptions(config: &Config) {
    let networks: Vec<String> = config.outbound.allowed_networks.iter().map(ToString::to_string).collect();
    if !networks.is_empty() {
        let networks = networks.join(", ");
        warn!(networks, "Webhooks may reach the listed networks {networks} although they are not public");
    }
}

#[async_trait]
impl Sender for Channels {
    fn channels(&self) -> Vec<&'static str> {
        self.channels.iter().map(|channel| channel.name()).collect()
    }

    fn reach(&self, channel: &str) -> Option<Reach> {
        self.find(channel).map(Channel::reach)
    }

    fn address(&self, channel: &str, payload: &Payload, contacts: &Contacts) -> Result<Destination, Problem> {
        let Some(channel) = self.find(channel) else {
            let message = format!("must be one of: {}", self.channels().join(", "));
            return Err(Problem::field(ErrorCode::UNKNOWN_TYPE, "type", message));
        };
        channel.address(payload, contacts)
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let Some(channel) = self.find(&dispatch.notification.channel) else {
            return Report::new("none", Verdict::Reject).saying("this installation has no such channel any more");
        };
        match channel.build(&dispatch) {
            Ok(outgoing) => channel.read(self.transports.exchange(outgoing).await, dispatch.now),
            Err(report) => report,
        }
    }
}

#[cfg(test)]
mod tests;
