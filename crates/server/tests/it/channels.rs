//! What comes out of each channel, as its receiver sees it.

use mail_parser::MessageParser;
use serde_json::json;

use crate::harness::{TESTUSER, USER1, World, events};

#[tokio::test]
async fn a_mail_arrives_with_both_parts_and_a_stable_message_id() {
    let world = World::start().await;
    let payload = json!({"to": "ada@example.com", "subject": "Grüße aus Tidings", "body": "plain ✓", "htmlContent": "<h1>rich ✓</h1>"});
    let id = world.submit("email", payload).await;
    let record = world.ended(&id).await;
    assert_eq!(
        (record["status"].clone(), events(&record)),
        (json!("processed"), vec!["accepted", "delivered"]),
        "{record:#}"
    );
    assert_eq!(record["attempts"][0]["provider"], "smtp");

    let mails = world.mail.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["ada@example.com"]);
    let message = MessageParser::default().parse(&mails[0].raw).unwrap();
    assert_eq!(message.subject(), Some("Grüße aus Tidings"));
    assert_eq!(message.body_text(0).unwrap().trim(), "plain ✓");
    assert_eq!(message.body_html(0).unwrap().trim(), "<h1>rich ✓</h1>");
    assert_eq!(message.message_id(), Some(format!("{id}@tidings.example").as_str()));
    assert_eq!(message.from().unwrap().first().unwrap().address(), Some("noreply@tidings.example"));
    assert!(message.date().is_some());
    world.stop().await;
}

#[tokio::test]
async fn a_mail_without_address_goes_to_the_contact_of_its_user() {
    let world = World::start().await;
    let id = world.submit("email", json!({"subject": "s", "body": "b"})).await;
    assert_eq!(world.ended(&id).await["status"], "processed");
    assert_eq!(world.mail.mails()[0].to, ["test@example.com"]);
    world.stop().await;
}

#[tokio::test]
async fn lines_that_look_like_smtp_stay_in_their_mail() {
    let world = World::start().await;
    let smuggled = "one\n.\nMAIL FROM:<x@y.example>\r\n.\r\nRCPT TO:<z@y.example>\n\r.\r\n..two";
    let id = world.submit("email", json!({"to": "a@b.example", "subject": "s", "body": smuggled})).await;
    assert_eq!(world.ended(&id).await["status"], "processed");
    let mails = world.mail.mails();
    assert_eq!((mails.len(), mails[0].to.as_slice()), (1, ["a@b.example".to_owned()].as_slice()));
    world.stop().await;
}

#[tokio::test]
async fn a_webhook_is_verified_by_an_independent_library() {
    let world = World::start().await;
    let url = format!("http://{}/hooks/orders", world.web.addr());
    let payload = json!({"url": url, "event": "order.shipped", "data": {"order": 17, "note": "ünïcode"}, "headers": {"x-shop": "one"}});
    let id = world.submit("webhook", payload).await;
    let record = world.ended(&id).await;
    assert_eq!(record["status"], "processed", "{record:#}");

    let caught = world.web.requests().remove(0);
    assert_eq!((caught.method.as_str(), caught.path.as_str()), ("POST", "/hooks/orders"));
    assert_eq!(caught.header("webhook-id"), Some(id.as_str()));
    assert_eq!(caught.header("x-shop"), Some("one"));
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, caught.header(name).unwrap().parse().unwrap());
    }
    let verifier = standardwebhooks::Webhook::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    verifier.verify(&caught.body, &headers).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&caught.body).unwrap();
    assert_eq!((body["type"].clone(), body["data"]["order"].clone()), (json!("order.shipped"), json!(17)));
    world.stop().await;
}

#[tokio::test]
async fn a_text_message_is_posted_as_the_provider_expects() {
    let world = World::start().await;
    let id = world.submit("sms", json!({"phoneNumber": "+12345678901", "message": "Your code is 123456 & more"})).await;
    let record = world.ended(&id).await;
    assert_eq!(record["status"], "processed", "{record:#}");
    assert!(record["attempts"][0]["providerId"].as_str().unwrap().starts_with("SM"));
    let caught = world.web.requests().remove(0);
    assert_eq!(caught.path, "/2010-04-01/Accounts/AC0123456789/Messages.json");
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(&caught.body).into_owned().collect();
    assert_eq!(form["To"], "+12345678901");
    assert_eq!(form["From"], "+15005550006");
    assert_eq!(form["Body"], "Your code is 123456 & more");
    assert!(caught.header("authorization").unwrap().starts_with("Basic "));
    world.stop().await;
}

#[tokio::test]
async fn an_in_app_notification_is_in_the_inbox() {
    let world = World::start().await;
    let id = world.submit("in-app", json!({"title": "Hello", "link": "https://example.com"})).await;
    world.ended(&id).await;
    let inbox = world.get(&format!("/api/users/{TESTUSER}/inbox"), &world.token()).await.json();
    assert_eq!(inbox["items"][0]["messageId"], json!(id));
    assert_eq!(inbox["items"][0]["payload"], json!({"title": "Hello", "link": "https://example.com"}));
    world.stop().await;
}

#[tokio::test]
async fn a_channel_without_provider_is_refused_with_the_settings_it_needs() {
    let world = World::start_with(&[
        ("SMTP_URL", ""),
        ("SMTP_FROM", ""),
        ("SMS_ACCOUNT_SID", ""),
        ("SMS_AUTH_TOKEN", ""),
        ("SMS_FROM", ""),
    ])
    .await;
    for (channel, payload, setting) in [
        ("email", json!({"to": "a@b.example", "subject": "s", "body": "b"}), "SMTP_URL"),
        ("sms", json!({"phoneNumber": "+12345678901", "message": "m"}), "SMS_ACCOUNT_SID"),
    ] {
        let body = json!({"targetUserId": USER1, "type": channel, "payload": payload});
        let answer = world.post("/api/notifications", &world.token(), &body).await;
        assert_eq!(answer.verdict(), (422, "channel_not_configured".to_owned()));
        assert!(answer.text.contains(setting), "{}", answer.text);
    }
    world.stop().await;
}
