//! Text messages against an API in the shape of Twilio's.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_catcher::{CaughtRequest, HttpAnswer};
use tidings_core::delivery::Verdict;

use crate::support::World;

fn payload() -> Value {
    json!({"phoneNumber": "+1234567890", "message": "Your code is 123456\n& thanks"})
}

#[tokio::test]
async fn a_message_reaches_the_api_and_gets_its_id() {
    // The API is the operator's choice: the guard of webhooks does not apply.
    let world = World::guarded().await;
    let report = world.send("sms", &payload()).await;
    assert_eq!((report.verdict, report.code.as_deref(), report.provider), (Verdict::Delivered, Some("201"), "twilio"));
    assert!(report.provider_id.is_some_and(|sid| sid.starts_with("SM")));

    let [request]: [CaughtRequest; 1] = world.http.requests().try_into().unwrap();
    assert_eq!(request.path, "/2010-04-01/Accounts/AC1/Messages.json");
    assert_eq!(request.header("authorization"), Some("Basic QUMxOnRva2Vu"));
    assert_eq!(request.header("x-correlation-id"), Some("order-4711"));
    let fields = [("To", "+1234567890"), ("From", "+15005550006"), ("Body", "Your code is 123456\n& thanks")];
    assert_eq!(request.form(), fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn refusals_keep_the_code_of_the_api() {
    let world = World::guarded().await;
    let said = json!({"code": 21610, "message": "+1234567890 has unsubscribed", "status": 400});
    world.http.script([HttpAnswer::json(400, &said)]);
    let report = world.send("sms", &payload()).await;
    assert_eq!((report.verdict, report.code.as_deref()), (Verdict::Reject, Some("21610")));
    assert_eq!(report.message.as_deref(), Some("<number> has unsubscribed"));
}

#[tokio::test]
async fn troubles_of_the_api_are_retried_or_unknown() {
    let world = World::guarded().await;
    let busy = HttpAnswer::json(429, &json!({"code": 20429, "status": 429})).with_header("Retry-After", "3");
    world.http.script([busy, HttpAnswer::Hang]);
    let throttled = world.send("sms", &payload()).await;
    assert_eq!(throttled.verdict, Verdict::Retry { after: Some(Duration::from_secs(3)) });
    assert_eq!(world.send("sms", &payload()).await.verdict, Verdict::Unknown);
}
