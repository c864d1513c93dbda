//! What can be done on the dev page and nowhere else: move the clock, let a webhook go wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings_catcher::HttpAnswer;
use uuid::Uuid;

use crate::config;
use crate::dev::events::ClockView;
use crate::dev::people::Contact;
use crate::dev::samples::{self, Sample};
use crate::dev::stage::Stage;
use crate::serve::SEED_USERS;

/// How far the clock is moved at once. Further than a year ahead there is nothing to see.
const MOST: Duration = Duration::from_hours(366 * 24);
/// How far it is moved in all: the ids of notifications have room for the year 2109.
const MOST_IN_ALL: Duration = Duration::from_hours(20 * 366 * 24);

/// An answer that tells what is wrong with the request.
pub(crate) type Refusal = (StatusCode, Json<Value>);

/// Who the page acts as, and where everything is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    token: String,
    user_id: Uuid,
    username: &'static str,
    channels: Vec<&'static str>,
    mail_catcher: String,
    webhook_catcher: String,
    contact: Contact,
    samples: Vec<Sample>,
}

/// Gives the page a token of its own.
pub(crate) async fn show_session(State(stage): State<Arc<Stage>>) -> Result<Json<Session>, Refusal> {
    let product = stage.product().ok_or_else(|| refusal(StatusCode::SERVICE_UNAVAILABLE, "Tidings is starting"))?;
    let token =
        product.admin_token().map_err(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))?;
    let (user_id, username, _) = SEED_USERS[0];
    Ok(Json(Session {
        token,
        user_id,
        username,
        channels: product.services.submitter.sender.channels(),
        mail_catcher: stage.catchers.mail.addr().to_string(),
        webhook_catcher: stage.catchers.webhooks.addr().to_string(),
        contact: Contact::of(0, &stage.catchers),
        samples: samples::all(),
    }))
}

/// How far to move the clock.
#[derive(Deserialize)]
pub(crate) struct Step {
    advance: String,
}

/// Moves the clock forward and has everything looked at that became due by it.
pub(crate) async fn advance_clock(
    State(stage): State<Arc<Stage>>,
    Json(step): Json<Step>,
) -> Result<Json<ClockView>, Refusal> {
    let by = config::parse_ttl(&step.advance)
        .map_err(|message| refusal(StatusCode::BAD_REQUEST, format!("advance: {message}")))?;
    if by > MOST || stage.clock.shift().saturating_add(by) > MOST_IN_ALL {
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "advance: move the clock by at most a year at a time, and twenty in all",
        ));
    }
    stage.clock.advance(by);
    if let Some(product) = stage.product() {
        product.services.submitter.broker.wake();
    }
    Ok(Json(ClockView::of(&stage)))
}

/// What the catcher does with the next webhook.
#[derive(Deserialize)]
pub(crate) struct Next {
    answer: Wanted,
}

#[derive(Clone, Copy, Deserialize)]
enum Wanted {
    /// Busy: tried again.
    #[serde(rename = "503")]
    Unavailable,
    /// Gone: a dead letter at once.
    #[serde(rename = "410")]
    Gone,
    /// No answer at all.
    #[serde(rename = "hang")]
    Hang,
}

/// Prepares the answer to the next webhook.
pub(crate) async fn script_next_webhook(State(stage): State<Arc<Stage>>, Json(next): Json<Next>) -> StatusCode {
    let answer = match next.answer {
        Wanted::Unavailable => HttpAnswer::json(503, &json!({ "error": "busy" })),
        Wanted::Gone => HttpAnswer::json(410, &json!({ "error": "gone" })),
        Wanted::Hang => HttpAnswer::Hang,
    };
    stage.catchers.webhooks.script([answer]);
    StatusCode::NO_CONTENT
}

fn refusal(status: StatusCode, message: impl Into<String>) -> Refusal {
    let message: String = message.into();
    (status, Json(json!({ "error": status.canonical_reason(), "message": message })))
}
