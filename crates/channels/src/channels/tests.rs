use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::testing::{dispatch, install_tls_provider, notification, payload};
use crate::{outbound, sms, webhook};

static ALL: LazyLock<Channels> = LazyLock::new(|| {
    let smtp = smtp::Config {
        url: "smtp://127.0.0.1:1025?tls=none".to_owned(),
        from: "news@example.com".to_owned(),
        timeout: Duration::from_secs(1),
    };
    let sms = sms::Config {
        base_url: "http://127.0.0.1:8025".to_owned(),
        account_sid: "AC1".to_owned(),
        auth_token: "token".to_owned(),
        from: "+15005550006".to_owned(),
    };
    channels(Some(smtp), Some(sms))
});

fn channels(smtp: Option<smtp::Config>, sms: Option<sms::Config>) -> Channels {
    install_tls_provider();
    let webhook = webhook::Config { secret: webhook::Secret::generate() };
    let outbound = outbound::Config {
        allowed_networks: Vec::new(),
        https_only: false,
        divert_to: None,
        timeout: Duration::from_secs(1),
    };
    Channels::new(Config { smtp, sms, webhook, outbound }).unwrap()
}

#[test]
fn every_channel_is_registered_once() {
    let names = ALL.channels();
    assert_eq!(names, ["email", "sms", "webhook", "in-app"]);
    assert_eq!(ALL.reach("in-app"), Some(Reach::Inbox));
    assert_eq!(ALL.reach("email"), Some(Reach::Remote));
    assert_eq!(ALL.reach("pigeon"), None);
}

#[test]
fn an_unknown_type_is_told_the_known_ones() {
    let problem = ALL.address("pigeon", &Payload::new(), &Contacts::default()).unwrap_err();
    assert_eq!(problem.code, ErrorCode::UNKNOWN_TYPE);
    assert_eq!(problem.message, "type: must be one of: email, sms, webhook, in-app");
}

#[test]
fn destinations_name_the_queue() {
    let contacts = Contacts {
        email: Some("ada@example.com".to_owned()),
        phone: Some("+442071838750".to_owned()),
        webhook_url: Some("https://example.com/hook".to_owned()),
        ..Contacts::default()
    };
    let value = json!({"subject": "s", "body": "b", "message": "m"});
    let address = |channel| ALL.address(channel, &payload(&value), &contacts).unwrap().to_string();
    assert_eq!(
        ["email", "sms", "webhook", "in-app"].map(address),
        ["email:smtp", "sms:twilio", "webhook:https://example.com:443", "in-app:inbox"]
    );
}

#[test]
fn channels_without_configuration_stay_known() {
    let bare = channels(None, None);
    assert_eq!(bare.channels(), ALL.channels());
    for channel in ["email", "sms"] {
        let problem = bare.address(channel, &Payload::new(), &Contacts::default()).unwrap_err();
        assert_eq!(problem.code, ErrorCode::CHANNEL_NOT_CONFIGURED, "{channel}");
    }
}

#[test]
fn a_wrong_configuration_names_its_setting() {
    install_tls_provider();
    let error = |url: &str, from: &str| {
        let smtp = smtp::Config { url: url.to_owned(), from: from.to_owned(), timeout: Duration::from_secs(1) };
        let webhook = webhook::Config { secret: webhook::Secret::generate() };
        let outbound = outbound::Config {
            allowed_networks: Vec::new(),
            https_only: false,
            divert_to: None,
            timeout: Duration::from_secs(1),
        };
        let made = Channels::new(Config { smtp: Some(smtp), sms: None, webhook, outbound });
        made.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(error("http://example.com", "a@example.com").starts_with("SMTP_URL"));
    assert!(error("smtp://example.com?tls=none", "nobody").starts_with("SMTP_FROM"));
}

#[tokio::test]
async fn what_cannot_be_sent_is_rejected_without_a_connection() {
    let contacts = Contacts::default();
    for (channel, value) in [
        ("pigeon", json!({})),
        ("email", json!({})),
        ("webhook", json!({"url": "http://127.0.0.1/"})),
        ("in-app", json!({})),
    ] {
        let report = ALL.send(dispatch(&notification(channel, &value), &contacts)).await;
        assert_eq!(report.verdict, Verdict::Reject, "{channel}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z@.:/#?\\[\\]0-9\r\n\u{0} -]{0,40}".prop_map(Value::from),
        "https?://[a-z0-9.\\[\\]:@%-]{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn payloads() -> impl Strategy<Value = Map<String, Value>> {
    let names = prop::sample::select(vec![
        "to",
        "subject",
        "body",
        "htmlContent",
        "phoneNumber",
        "message",
        "url",
        "event",
        "data",
        "headers",
        "title",
        "orderId",
        "link",
        "other",
    ]);
    prop::collection::vec((names.prop_map(str::to_owned), values()), 0..8)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    /// Whatever a payload holds, it is accepted or refused with fields; and what was accepted can be built.
    #[test]
    fn no_payload_surprises_a_channel(payload in payloads(), contact in prop::option::of(any::<String>())) {
        let contacts = Contacts { email: contact.clone(), phone: contact.clone(), webhook_url: contact, ..Contacts::default() };
        for channel in &ALL.channels {
            match channel.address(&payload, &contacts) {
                Err(problem) => prop_assert!(!problem.errors.is_empty()),
                Ok(_) if channel.reach() == Reach::Inbox => {}
                Ok(_) => {
                    let notification = notification(channel.name(), &Value::Object(payload.clone()));
                    let built = channel.build(&dispatch(&notification, &contacts));
                    prop_assert!(built.is_ok(), "{}", channel.name());
                }
            }
        }
    }
}
