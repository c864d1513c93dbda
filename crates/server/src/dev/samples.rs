//! A good notification for each channel: for the first run, and for the buttons of the page.

use serde::Serialize;
use serde_json::{Value, json};

const MAIL: &str = include_str!("../../assets/dev/sample-mail.html");

/// A notification to try a channel with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    #[serde(rename = "type")]
    pub(crate) channel: &'static str,
    /// What the channel is called on the page.
    pub(crate) label: &'static str,
    pub(crate) payload: Value,
}

/// One for each channel.
pub(crate) fn all() -> Vec<Sample> {
    let sample = |channel, label, payload| Sample { channel, label, payload };
    vec![
        sample(
            "in-app",
            "In-app",
            json!({ "title": "Order shipped", "message": "Order 4711 is on its way.", "orderId": "4711" }),
        ),
        sample(
            "email",
            "E-mail",
            json!({
                "subject": "Your order is on its way",
                "body": "Order 4711 left our warehouse this morning.\nExpected tomorrow between 9 and 12.",
                "htmlContent": MAIL,
            }),
        ),
        sample("sms", "SMS", json!({ "message": "Order 4711 is on its way. Expected tomorrow between 9 and 12." })),
        sample(
            "webhook",
            "Webhook",
            json!({ "event": "order.shipped", "data": { "orderId": "4711", "carrier": "Post", "parcels": 2 } }),
        ),
    ]
}
