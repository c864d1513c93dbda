//! What Tidings itself sends: reports about the ends of notifications, and alerts.
//!
//! These are notifications like others, durable and retried, but told to an operator's address instead of a user.
//! Nothing is reported about them in turn.

use serde_json::{Map, Value};
use tidings_core::delivery::{State, Transition};
use tidings_core::error::Problem;
use tidings_core::id::TenantId;
use tidings_core::notification::{Content, Destination, NewNotification, Priority, SYSTEM_CATEGORY, TraceContext};
use tidings_core::ports::Sender;
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;
use tracing::error;

use crate::config::Ports;

/// The channel that operational events go through.
pub(crate) const WEBHOOK: &str = "webhook";

/// Reports the ends of notifications to one URL.
pub(crate) struct Events {
    url: String,
    destination: Destination,
}

impl Events {
    /// Reports to `url`, or to nobody if nothing can be sent there.
    pub(crate) fn to(url: &str, sender: &dyn Sender) -> Option<Self> {
        let payload = webhook_payload(url, "notification.delivered", Map::new());
        match sender.address(WEBHOOK, &payload, &Contacts::default()) {
            Ok(destination) => Some(Self { url: url.to_owned(), destination }),
            Err(problem) => {
                // The message may repeat the URL, which may contain a secret.
                let code = problem.code;
                error!(code = %code, "No operational events are sent: their URL is not usable ({code})");
                None
            }
        }
    }

    /// The event for the end of a notification; `None` for what Tidings itself sent.
    pub(crate) fn of_end(
        &self,
        ports: &Ports,
        ended: &NewNotification,
        transition: &Transition,
        state: State,
    ) -> Option<NewNotification> {
        let user = ended.user?;
        let now = ports.clock.now();
        let data = object([
            ("messageId", ended.id.to_string().into()),
            ("targetUserId", user.to_string().into()),
            ("type", ended.channel.clone().into()),
            ("category", ended.category.clone().into()),
            ("status", state.status().as_str().into()),
            ("deliveryStatus", state.as_str().into()),
            ("attempts", transition.attempts.into()),
            ("error", transition.error.clone().into()),
            ("occurredAt", now.to_string().into()),
        ]);
        let payload = webhook_payload(&self.url, &format!("notification.{}", state.as_str()), data);
        let notice = Notice { tenant: ended.tenant, channel: WEBHOOK, destination: self.destination.clone(), payload };
        Some(NewNotification { context: ended.context.clone(), ..notice.into_notification(ports, now) })
    }
}

/// Something that Tidings itself has to tell.
pub(crate) struct Notice {
    tenant: TenantId,
    channel: &'static str,
    destination: Destination,
    payload: Map<String, Value>,
}

impl Notice {
    /// A notice on a channel, if the channel takes its payload.
    pub(crate) fn new(
        sender: &dyn Sender,
        channel: &'static str,
        payload: Map<String, Value>,
    ) -> Result<Self, Problem> {
        Ok(Self {
            tenant: TenantId::DEFAULT,
            channel,
            destination: sender.address(channel, &payload, &Contacts::default())?,
            payload,
        })
    }

    /// The notice as a notification that is due at once.
    pub(crate) fn into_notification(self, ports: &Ports, now: Timestamp) -> NewNotification {
        let id = ports.ids.next(now);
        NewNotification {
            id,
            request: id,
            tenant: self.tenant,
            user: None,
            channel: self.channel.to_owned(),
            category: SYSTEM_CATEGORY.to_owned(),
            priority: Priority::Normal,
            destination: self.destination,
            content: Content { payload: Value::Object(self.payload).to_string(), metadata: None },
            context: TraceContext { correlation_id: id.to_string(), traceparent: None },
            accepted_at: now,
            due_at: now,
            expires_at: None,
            redrive_of: None,
            redrives: 0,
        }
    }
}

/// The payload of a webhook of our own.
pub(crate) fn webhook_payload(url: &str, event: &str, data: Map<String, Value>) -> Map<String, Value> {
    object([("url", url.into()), ("event", event.into()), ("data", Value::Object(data))])
}

/// A JSON object of these members.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
