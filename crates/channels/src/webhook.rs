//! The channel `webhook`: a POST signed by Standard Webhooks 1.0.0.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings_core::delivery::Verdict;
use tidings_core::error::Problem;
use tidings_core::notification::{Destination, NewNotification, SYSTEM_CATEGORY};
use tidings_core::ports::sender::{Dispatch, Report};
use tidings_core::time::Timestamp;
use tidings_core::user::Contacts;

use crate::channel::{Channel, refused, stored_payload};
use crate::outbound::{Guard, Refusal, Target};
use crate::payload::{Fields, Form, Payload};
use crate::verdict;
use crate::wire::{self, Answer, Failure, HttpAnswer, HttpRequest, Outgoing, Route};

mod headers;
mod signature;

pub use signature::{InvalidSecret, Secret, sign};

const NAME: &str = "webhook";

/// The `type` of a body whose payload names no event.
const DEFAULT_EVENT: &str = "notification";

/// How webhooks are signed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The secret that receivers check signatures with.
    pub secret: Secret,
}

/// Signed POSTs to whoever the payload or the user's contacts name.
///
/// The payload: `url` (else the contact `webhookUrl`), `event`, `data` and `headers`. Where there is no `data`, the rest
/// of the payload is sent in its place.
pub(crate) struct Webhook {
    secret: Secret,
    guard: Arc<Guard>,
}

/// What a payload asks for.
struct Call<'a> {
    target: Target,
    event: &'a str,
    headers: HeaderMap,
}

impl Webhook {
    /// The channel with its secret and its limits.
    pub(crate) fn new(config: Config, guard: Arc<Guard>) -> Self {
        Self { secret: config.secret, guard }
    }

    fn call<'a>(&self, payload: &'a Payload, contacts: &Contacts) -> Result<Call<'a>, Problem> {
        let mut fields = Fields::of(payload);
        let event = fields.text("event", Form::line(255)).unwrap_or(DEFAULT_EVENT);
        let headers = headers::read(&mut fields);
        fields.object("data");
        let url = match (fields.value("url"), &contacts.webhook_url) {
            (Some(_), _) => fields.text("url", Form::document()),
            (None, Some(url)) => Some(url.as_str()),
            (None, None) => {
                fields.complain("url", "is required, because the user has no webhookUrl in their contacts");
                None
            }
        };
        let (url, headers) = fields.finish(url.map(|url| (url, headers)))?;
        let refuse = |refusal: Refusal| Problem::field(refusal.code(), "payload.url", refusal.message());
        Ok(Call { target: self.guard.check(url).map_err(refuse)?, event, headers })
    }
}

impl Channel for Webhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn address(&self, payload: &Payload, contacts: &Contacts) -> Result<Destination, Problem> {
        let call = self.call(payload, contacts)?;
        Ok(Destination::new(NAME, &call.target.origin))
    }

    fn build(&self, dispatch: &Dispatch<'_>) -> Result<Outgoing, Report> {
        let notification = dispatch.notification;
        let payload = stored_payload(dispatch, NAME)?;
        let Call { target, event, mut headers } =
            self.call(&payload, dispatch.contacts).map_err(|problem| refused(NAME, &problem))?;
        let body = body(notification, event)
            .map_err(|error| Failure::Unsendable(format!("the body cannot be written: {error}")).report(NAME))?;
        let id = notification.id.to_string();
        let timestamp = dispatch.now.as_seconds();
        let signature = sign(&self.secret, &id, timestamp, &body);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, wire::user_agent());
        for (name, value) in
            [("webhook-id", id), ("webhook-timestamp", timestamp.to_string()), ("webhook-signature", signature)]
        {
            let value = HeaderValue::try_from(value).map_err(|error| {
                Failure::Unsendable(format!("the header {name} cannot be written: {error}")).report(NAME)
            })?;
            headers.insert(name, value);
        }
        wire::add_context(&mut headers, &notification.context);
        Ok(Outgoing::Http(HttpRequest { url: target.url, headers, body, route: Route::Vetted(target.demand) }))
    }

    fn read(&self, answer: Answer, now: Timestamp) -> Report {
        match answer {
            Answer::Http(answer) => report(&answer, now),
            Answer::Failed(failure) => failure.report(NAME),
            Answer::Mail(_) => Failure::foreign().report(NAME),
        }
    }
}

fn report(answer: &HttpAnswer, now: Timestamp) -> Report {
    let verdict = verdict::of(answer, now);
    // What the receiver wrote stays out: it could repeat the payload, or be read as a look into the network.
    let message = (verdict != Verdict::Delivered).then(|| verdict::describe(answer.status));
    Report { code: Some(answer.status.as_u16().to_string()), message, ..Report::new(NAME, verdict) }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: Data<'a>,
    /// Set on what Tidings itself sends, and on nothing else: callers cannot make a signed event look like one of these.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    system: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Given(&'a RawValue),
    Rest(BTreeMap<String, &'a RawValue>),
}

/// The body, with every value spelled as the caller spelled it: numbers keep all their digits.
fn body(notification: &NewNotification, event: &str) -> serde_json::Result<Bytes> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(&notification.content.payload)?;
    let given = members.remove("data").filter(|data| data.get().starts_with('{'));
    let data = if let Some(data) = given {
        Data::Given(data)
    } else {
        members.retain(|name, _| !["url", "event", "headers"].contains(&name.as_str()));
        Data::Rest(members)
    };
    let system = notification.user.is_none() && notification.category == SYSTEM_CATEGORY;
    let body = Body { r#type: event, timestamp: notification.accepted_at, data, system };
    serde_json::to_vec(&body).map(Bytes::from)
}

#[cfg(test)]
mod tests;
