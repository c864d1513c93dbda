//! What the catchers hold, for the page, which asks again and again and is answered when there is something new.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use tidings_catcher::{CaughtRequest, HeaderView, MailView};
use tidings_channels::webhook::{self, sign};
use tidings_core::time::{Clock as _, Timestamp};

use crate::dev::stage::Stage;

/// How many of each kind are shown.
const SHOWN: usize = 50;
/// How long the page waits for news.
const PATIENCE: Duration = Duration::from_secs(25);
/// Things that come together are shown together.
const GATHER: Duration = Duration::from_millis(50);

/// What the page has seen.
#[derive(Deserialize)]
pub(crate) struct Seen {
    after: Option<String>,
}

/// Everything that was caught lately, oldest first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Caught {
    /// Changes with every catch.
    version: String,
    clock: ClockView,
    mails: Vec<MailView>,
    messages: Vec<MessageView>,
    webhooks: Vec<WebhookView>,
}

/// The clock of the product.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClockView {
    now: Timestamp,
    shift_ms: u64,
}

impl ClockView {
    pub(crate) fn of(stage: &Stage) -> Self {
        Self { now: stage.clock.now(), shift_ms: u64::try_from(stage.clock.shift().as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A text message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageView {
    number: u64,
    at_ms: u64,
    from: String,
    pub(crate) to: String,
    pub(crate) text: String,
}

impl MessageView {
    pub(crate) fn of(request: &CaughtRequest) -> Self {
        let form = request.form();
        let field = |wanted: &str| {
            form.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let view = request.view();
        Self { number: view.number, at_ms: view.at_ms, from: field("From"), to: field("To"), text: field("Body") }
    }
}

/// A webhook.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookView {
    number: u64,
    at_ms: u64,
    method: String,
    path: String,
    headers: Vec<HeaderView>,
    body: String,
    /// Whether its signature is the one that a receiver with our secret would compute.
    verified: bool,
}

impl WebhookView {
    pub(crate) fn of(request: &CaughtRequest, secret: Option<&webhook::Secret>) -> Self {
        let view = request.view();
        Self {
            number: view.number,
            at_ms: view.at_ms,
            method: view.method,
            path: view.path,
            headers: view.headers,
            body: view.body,
            verified: secret.is_some_and(|secret| is_signed(request, secret)),
        }
    }
}

/// Checks a signature as Standard Webhooks tells receivers to. How old it is does not matter here: the clock can be moved.
pub(crate) fn is_signed(request: &CaughtRequest, secret: &webhook::Secret) -> bool {
    let id = request.header("webhook-id");
    let timestamp = request.header("webhook-timestamp").and_then(|text| text.parse().ok());
    let (Some(id), Some(timestamp), Some(signatures)) = (id, timestamp, request.header("webhook-signature")) else {
        return false;
    };
    let expected = sign(secret, id, timestamp, &request.body);
    signatures.split(' ').any(|signature| signature == expected)
}

/// Answers at once if the page has not seen what is there, else when something comes, or after a while.
pub(crate) async fn wait_for_events(State(stage): State<Arc<Stage>>, Query(seen): Query<Seen>) -> Json<Caught> {
    let catchers = &stage.catchers;
    // Before the look: what comes after it must not be missed.
    let (mut mails, mut sms, mut webhooks) =
        (catchers.mail.subscribe(), catchers.sms.subscribe(), catchers.webhooks.subscribe());
    let caught = look(&stage);
    if seen.after.as_deref() != Some(caught.version.as_str()) {
        return Json(caught);
    }
    tokio::select! {
        _ = mails.recv() => {}
        _ = sms.recv() => {}
        _ = webhooks.recv() => {}
        () = stage.end.cancelled() => return Json(caught),
        () = tokio::time::sleep(PATIENCE) => {}
    }
    tokio::time::sleep(GATHER).await;
    Json(look(&stage))
}

fn look(stage: &Stage) -> Caught {
    let mails = stage.catchers.mail.mails();
    let sms = stage.catchers.sms.requests();
    let webhooks = stage.catchers.webhooks.requests();
    let number = |request: Option<&CaughtRequest>| request.map_or(0, |request| request.number);
    let last_mail = mails.last().map_or(0, |mail| mail.number);
    let secret = stage.product().map(|product| &product.webhook_secret);
    Caught {
        version: format!("{last_mail}.{}.{}", number(sms.last()), number(webhooks.last())),
        clock: ClockView::of(stage),
        mails: latest(&mails).iter().map(tidings_catcher::Mail::view).collect(),
        messages: latest(&sms).iter().map(MessageView::of).collect(),
        webhooks: latest(&webhooks).iter().map(|request| WebhookView::of(request, secret)).collect(),
    }
}

fn latest<T>(items: &[T]) -> &[T] {
    items.get(items.len().saturating_sub(SHOWN)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn request(body: &'static str, signature: &str) -> CaughtRequest {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_static("msg_p5jXN8AQM9LWM0D4loKWxJek"));
        headers.insert("webhook-timestamp", HeaderValue::from_static("1614265330"));
        headers.insert("webhook-signature", HeaderValue::from_str(signature).unwrap());
        let at = std::time::UNIX_EPOCH;
        CaughtRequest { number: 1, method: Method::POST, path: "/hooks/x".to_owned(), headers, body: body.into(), at }
    }

    #[test]
    fn a_good_signature_among_several_is_enough() {
        let secret = webhook::Secret::parse(SECRET).unwrap();
        let good = "v1,bm9uZQ== v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(is_signed(&request(r#"{"test": 2432232314}"#, good), &secret));
        assert!(!is_signed(&request(r#"{"test": 2432232315}"#, good), &secret));
        assert!(!is_signed(&request(r#"{"test": 2432232314}"#, "v1,bm9uZQ=="), &secret));
    }

    #[test]
    fn a_text_message_is_read_from_its_form() {
        let view = MessageView::of(&request("From=%2B1&To=%2B44&Body=a+b", "x"));
        assert_eq!((view.from.as_str(), view.to.as_str(), view.text.as_str()), ("+1", "+44", "a b"));
    }

    #[test]
    fn only_the_latest_are_shown() {
        let numbers: Vec<usize> = (0..120).collect();
        assert_eq!(latest(&numbers).first(), Some(&70));
        assert_eq!(latest(&numbers[..3]).len(), 3);
    }
}
