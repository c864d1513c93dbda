//! What the tests of several channels need.

use std::time::Duration;

use serde_json::Value;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::notification::{Content, Destination, NewNotification, Priority, TraceContext};
use tidings_core::ports::sender::Dispatch;
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;

use crate::payload::Payload;

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The id of [`notification`].
pub(crate) const MESSAGE_ID: &str = "01a3185c-5000-7000-801b-9532f5a8d7bf";

/// A notification on `channel`, accepted one minute ago.
pub(crate) fn notification(channel: &str, payload: &Value) -> NewNotification {
    let id = MessageId::floor(NOW);
    NewNotification {
        id,
        request: id,
        tenant: TenantId::DEFAULT,
        user: None,
        channel: channel.to_owned(),
        category: "transactional".to_owned(),
        priority: Priority::Normal,
        destination: Destination::new(channel, "test"),
        content: Content { payload: payload.to_string(), metadata: None },
        context: TraceContext {
            correlation_id: "order-4711".to_owned(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        },
        accepted_at: NOW - Duration::from_mins(1),
        due_at: NOW,
        expires_at: None,
        redrive_of: None,
        redrives: 0,
    }
}

/// The first attempt of a notification.
pub(crate) fn dispatch<'a>(notification: &'a NewNotification, contacts: &'a Contacts) -> Dispatch<'a> {
    Dispatch { notification, contacts, attempt: 1, now: NOW }
}

/// The payload that a JSON object is.
pub(crate) fn payload(value: &Value) -> Payload {
    value.as_object().cloned().unwrap()
}

/// What `main` does first.
pub(crate) fn install_tls_provider() {
    let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
