use mail_parser::{MessageParser, MimeHeaders};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidings_core::error::ErrorCode;

use super::*;
use crate::testing::{MESSAGE_ID, NOW, dispatch, notification, payload};

fn email() -> Email {
    Email::new(Some(sender("Tidings <news@bücher.example>").unwrap()))
}

fn mail(value: &Value) -> Mail {
    let notification = notification(NAME, value);
    match email().build(&dispatch(&notification, &Contacts::default())) {
        Ok(Outgoing::Mail(mail)) => mail,
        Ok(Outgoing::Http(_)) => panic!("a request"),
        Err(report) => panic!("{report:?}"),
    }
}

fn fields_at_fault(value: &Value) -> Vec<String> {
    let problem = email().address(&payload(value), &Contacts::default()).unwrap_err();
    assert_eq!(problem.code, ErrorCode::INVALID_PAYLOAD);
    problem.errors.into_iter().map(|error| error.field).collect()
}

fn letter_to(to: &str) -> Value {
    json!({"to": to, "subject": "Hello", "body": "Text"})
}

#[test]
fn a_mail_has_both_forms_and_its_identity() {
    let mail = mail(
        &json!({"to": "ada@example.com", "subject": "Grüße an Ada", "body": "Hallo\nÄda.", "htmlContent": "<p>Hallo <b>Ada</b></p>"}),
    );
    assert_eq!((mail.from.as_ref(), mail.to.as_ref()), ("news@xn--bcher-kva.example", "ada@example.com"));
    let parsed = MessageParser::default().parse(&mail.message).unwrap();
    assert_eq!(parsed.subject(), Some("Grüße an Ada"));
    assert_eq!(parsed.body_text(0).unwrap().lines().collect::<Vec<_>>(), ["Hallo", "Äda."]);
    assert_eq!(parsed.body_html(0).as_deref().map(str::trim_end), Some("<p>Hallo <b>Ada</b></p>"));
    assert_eq!(parsed.content_type().unwrap().subtype(), Some("alternative"));
    assert_eq!(parsed.message_id(), Some(format!("{MESSAGE_ID}@xn--bcher-kva.example").as_str()));
    assert_eq!(parsed.date().unwrap().to_timestamp(), NOW.as_seconds());
    assert_eq!(parsed.header_raw("X-Correlation-Id").map(str::trim), Some("order-4711"));
    assert_eq!(parsed.from().unwrap().first().unwrap().name(), Some("Tidings"));
    assert_eq!(parsed.to().unwrap().first().unwrap().address(), Some("ada@example.com"));
}

#[test]
fn a_mail_without_html_is_plain() {
    let message = String::from_utf8(mail(&letter_to("ada@example.com")).message).unwrap();
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: text/plain; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("Message-ID: <{MESSAGE_ID}@xn--bcher-kva.example>")), "{head}");
    assert!(head.contains("Date: Fri, 15 Jan 2027 08:00:00 +0000"), "{head}");
    assert_eq!(body, "Text\r\n");
}

#[test]
fn attempts_of_one_notification_are_the_same_mail() {
    let value = json!({"to": "ada@example.com", "subject": "Hello", "body": "Text", "htmlContent": "<p>Text</p>"});
    assert_eq!(mail(&value).message, mail(&value).message);
}

#[test]
fn the_recipient_comes_from_the_payload_or_the_contacts() {
    let contacts = Contacts { email: Some("contact@example.com".to_owned()), ..Contacts::default() };
    let to = |value: Value| {
        let payload = payload(&value);
        letter(&payload, &contacts).unwrap().to.to_string()
    };
    assert_eq!(to(json!({"subject": "s", "body": "b"})), "contact@example.com");
    assert_eq!(to(letter_to("other@example.com")), "other@example.com");
    assert_eq!(fields_at_fault(&json!({"subject": "s", "body": "b"})), ["payload.to"]);
}

#[test]
fn domains_travel_in_ascii() {
    assert_eq!(mail(&letter_to("ada@Bücher.Example")).to.to_string(), "ada@xn--bcher-kva.example");
    assert!(mail(&letter_to("ada@bücher.example")).message.is_ascii());
}

#[test]
fn what_is_not_one_address_is_refused() {
    let table = [
        "ada",
        "ada@",
        "@example.com",
        "ada@example.com, bob@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\r\nBcc: bob@example.com",
        "a@b>\r\nRCPT TO:<c",
        "ada@example.com\0",
        "ada@127.0.0.1",
        "ada@[127.0.0.1]",
        "ada @example.com",
        "\"ada\"@example.com",
        "ada@example.com\n",
        "ada%0d%0a@exam ple.com",
    ];
    for to in table {
        assert_eq!(fields_at_fault(&letter_to(to)), ["payload.to"], "{to:?}");
    }
    for to in [json!(["ada@example.com"]), json!({"address": "ada@example.com"}), json!(1), json!(true)] {
        assert_eq!(fields_at_fault(&json!({"to": to, "subject": "s", "body": "b"})), ["payload.to"], "{to}");
    }
}

#[test]
fn no_header_can_be_injected_through_the_subject() {
    for subject in [
        "a\r\nBcc: x@y.example",
        "a\nBcc: x@y.example",
        "a\rBcc: x@y.example",
        "a\0b",
        "a\r\n folded",
        "a\u{2028}b",
        "a\u{85}b",
    ] {
        let value = json!({"to": "ada@example.com", "subject": subject, "body": "b"});
        assert_eq!(fields_at_fault(&value), ["payload.subject"], "{subject:?}");
    }
    let encoded = mail(&json!({"to": "ada@example.com", "subject": "a%0d%0aBcc: x@y.example", "body": "b"}));
    let parsed = MessageParser::default().parse(&encoded.message).unwrap();
    assert_eq!(parsed.subject(), Some("a%0d%0aBcc: x@y.example"));
    assert!(parsed.bcc().is_none());
}

#[test]
fn subject_and_body_have_to_be_there() {
    assert_eq!(fields_at_fault(&json!({"to": "ada@example.com"})), ["payload.subject", "payload.body"]);
    assert_eq!(
        fields_at_fault(&json!({"to": "ada@example.com", "subject": "x".repeat(999), "body": "b\0"})),
        ["payload.subject", "payload.body"]
    );
    assert_eq!(
        fields_at_fault(&json!({"to": "ada@example.com", "subject": "s", "body": "b", "htmlContent": ["p"]})),
        ["payload.htmlContent"]
    );
}

#[test]
fn without_a_relay_the_settings_are_named() {
    let problem = Email::new(None).address(&payload(&letter_to("ada@example.com")), &Contacts::default()).unwrap_err();
    assert_eq!(problem.code, ErrorCode::CHANNEL_NOT_CONFIGURED);
    assert!(problem.message.contains("SMTP_URL"), "{}", problem.message);
}

#[test]
fn senders_are_mailboxes() {
    let read = |text: &str| sender(text).map(|mailbox| (mailbox.name, mailbox.email.to_string()));
    assert_eq!(read("a@example.com").unwrap(), (None, "a@example.com".to_owned()));
    assert_eq!(
        read("Tidings News <a@example.com>").unwrap(),
        (Some("Tidings News".to_owned()), "a@example.com".to_owned())
    );
    for text in
        ["", "Tidings", "Tidings <a@example.com", "a@example.com\r\nBcc: x@y.example", "a@b.example, c@d.example"]
    {
        assert!(sender(text).is_err(), "{text:?}");
    }
}

#[test]
fn replies_have_their_verdicts() {
    let read = |code| {
        email().read(Answer::Mail(MailAnswer { code, text: "5.1.1 <ada@example.com> is unknown".to_owned() }), NOW)
    };
    assert_eq!(read(250), Report { code: Some("250".to_owned()), ..Report::new(PROVIDER, Verdict::Delivered) });
    assert_eq!(read(451).verdict, Verdict::Retry { after: None });
    let refused = Report::new(PROVIDER, Verdict::Reject).saying("5.1.1 <address> is unknown");
    assert_eq!(read(550), Report { code: Some("550".to_owned()), ..refused });
    assert_eq!(read(354).verdict, Verdict::Unknown);
}

proptest! {
    /// However a text is broken into lines, on the wire there are only whole CR LF, and no line is too long.
    #[test]
    fn a_mail_has_clean_lines(body in "[a-z.\r\n\u{0}-\u{7f}äü]{0,400}", html in "[a-z.<>\r\né]{0,200}", subject in "[^\\p{C}\u{2028}\u{2029}]{1,300}") {
        let value = json!({"to": "ada@example.com", "subject": subject, "body": format!("x{}", body.replace('\0', "")), "htmlContent": html});
        let message = String::from_utf8(mail(&value).message).unwrap();
        prop_assert!(message.is_ascii());
        for line in message.split("\r\n") {
            prop_assert!(!line.contains(['\r', '\n']) && line.len() <= 998, "{line:?}");
        }
        let parsed = MessageParser::default().parse(message.as_bytes()).unwrap();
        let to = parsed.to().unwrap();
        prop_assert_eq!((to.iter().count(), to.first().unwrap().address()), (1, Some("ada@example.com")));
        prop_assert!(parsed.bcc().is_none() && parsed.cc().is_none());
    }
}
