use std::time::Duration;

use serde_json::{Value, json};
use tidings_core::error::ErrorCode;

use super::*;
use crate::outbound::{self, Demand};
use crate::testing::{MESSAGE_ID, NOW, dispatch, notification, payload};

fn webhook(networks: &[&str]) -> Webhook {
    let allowed_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    let guard = Guard::new(&outbound::Config {
        allowed_networks,
        https_only: false,
        divert_to: None,
        timeout: Duration::from_secs(1),
    });
    let secret = Secret::parse("whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
    Webhook::new(Config { secret }, Arc::new(guard))
}

fn request(webhook: &Webhook, text: &str) -> HttpRequest {
    let mut notification = notification(NAME, &json!({}));
    text.clone_into(&mut notification.content.payload);
    match webhook.build(&dispatch(&notification, &Contacts::default())) {
        Ok(Outgoing::Http(request)) => request,
        Ok(Outgoing::Mail(_)) => panic!("a mail"),
        Err(report) => panic!("{report:?}"),
    }
}

fn problem(value: &Value, contacts: &Contacts) -> Problem {
    webhook(&[]).address(&payload(value), contacts).unwrap_err()
}

fn read(status: u16) -> Report {
    let answer = HttpAnswer {
        status: status.try_into().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"secret"),
    };
    webhook(&[]).read(Answer::Http(answer), NOW)
}

#[test]
fn the_request_is_complete_and_signed() {
    let text = r#"{"url": "https://example.com/hook?a=1", "event": "order.shipped",
        "data": {"order":12345678901234567890123,"price":1.10}, "headers": {"X-Team": "orders"}, "ignored": true}"#;
    let request = request(&webhook(&[]), text);
    assert_eq!(request.url.as_str(), "https://example.com/hook?a=1");
    assert_eq!(request.route, Route::Vetted(Demand::Admitted));
    assert_eq!(
        std::str::from_utf8(&request.body).unwrap(),
        r#"{"type":"order.shipped","timestamp":"2027-01-15T07:59:00.000Z","data":{"order":12345678901234567890123,"price":1.10}}"#
    );
    let mut headers: Vec<String> =
        request.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "content-type: application/json".to_owned(),
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            format!("user-agent: Tidings/{}", env!("CARGO_PKG_VERSION")),
            format!("webhook-id: {MESSAGE_ID}"),
            "webhook-signature: v1,KHmVNRAS556kLpqiNDmgcB/yVxpm3JjbwGMbzbP9Ef0=".to_owned(),
            "webhook-timestamp: 1800000000".to_owned(),
            "x-correlation-id: order-4711".to_owned(),
            "x-team: orders".to_owned(),
        ]
    );
}

#[test]
fn the_rest_of_the_payload_stands_in_for_data() {
    let request = request(
        &webhook(&[]),
        r#"{"url":"https://example.com/","headers":{},"amount":1.50,"data":null,"currency":"EUR"}"#,
    );
    assert_eq!(
        std::str::from_utf8(&request.body).unwrap(),
        r#"{"type":"notification","timestamp":"2027-01-15T07:59:00.000Z","data":{"amount":1.50,"currency":"EUR"}}"#
    );
}

#[test]
fn the_destination_is_the_origin() {
    let address =
        |value: Value, contacts: &Contacts| webhook(&[]).address(&payload(&value), contacts).unwrap().to_string();
    let contacts = Contacts { webhook_url: Some("https://user.example/hook".to_owned()), ..Contacts::default() };
    assert_eq!(address(json!({"url": "https://Example.com/a"}), &contacts), "webhook:https://example.com:443");
    assert_eq!(address(json!({"url": "http://example.com:8080/b"}), &contacts), "webhook:http://example.com:8080");
    assert_eq!(address(json!({"any": "thing"}), &contacts), "webhook:https://user.example:443");
}

#[test]
fn wrong_payloads_are_refused_by_field() {
    let nobody = Contacts::default();
    let message = |value: Value| {
        let problem = problem(&value, &nobody);
        assert_eq!(problem.code, ErrorCode::INVALID_PAYLOAD);
        problem.message
    };
    assert_eq!(message(json!({})), "payload.url: is required, because the user has no webhookUrl in their contacts");
    assert_eq!(message(json!({"url": 1})), "payload.url: must be a string");
    assert_eq!(message(json!({"url": "https://example.com", "data": []})), "payload.data: must be an object");
    assert_eq!(
        message(json!({"url": "https://example.com", "event": "a\nb"})),
        "payload.event: must be one line without control characters"
    );
    assert!(message(json!({"url": "example.com"})).starts_with("payload.url: must be an absolute http or https URL"));
}

#[test]
fn private_destinations_are_refused_without_a_hint() {
    for url in [
        "http://127.0.0.1/",
        "http://localhost:8080/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "gopher://example.com/",
        "http://example.com:22/",
    ] {
        let problem = problem(&json!({"url": url}), &Contacts::default());
        assert_eq!(
            (problem.code, problem.errors[0].field.as_str()),
            (ErrorCode::DESTINATION_NOT_ALLOWED, "payload.url"),
            "{url}"
        );
        assert!(!problem.message.contains("127") && !problem.message.contains("169"), "{}", problem.message);
    }
    let contacts = Contacts { webhook_url: Some("http://10.0.0.1/".to_owned()), ..Contacts::default() };
    assert_eq!(problem(&json!({}), &contacts).code, ErrorCode::DESTINATION_NOT_ALLOWED);
}

#[test]
fn rules_are_applied_again_at_the_time_of_sending() {
    let notification = notification(NAME, &json!({"url": "http://127.0.0.1:3000/"}));
    let listed = webhook(&["127.0.0.0/8"]).build(&dispatch(&notification, &Contacts::default()));
    assert!(matches!(listed, Ok(Outgoing::Http(HttpRequest { route: Route::Vetted(Demand::Listed), .. }))));
    let Err(report) = webhook(&[]).build(&dispatch(&notification, &Contacts::default())) else {
        panic!("it was built")
    };
    assert_eq!(report, Report::new(NAME, Verdict::Reject).saying("destination not allowed"));
}

#[test]
fn an_erased_payload_ends_the_attempt() {
    let notification = notification(NAME, &json!({}));
    let Err(report) = webhook(&[]).build(&dispatch(&notification, &Contacts::default())) else {
        panic!("it was built")
    };
    assert_eq!(report.verdict, Verdict::Reject);
}

#[test]
fn answers_become_reports_that_quote_nobody() {
    let report = |verdict, code: &str, message: Option<&str>| Report {
        code: Some(code.to_owned()),
        message: message.map(str::to_owned),
        ..Report::new(NAME, verdict)
    };
    assert_eq!(read(204), report(Verdict::Delivered, "204", None));
    assert_eq!(read(503), report(Verdict::Retry { after: None }, "503", Some("answered 503 Service Unavailable")));
    assert_eq!(read(410), report(Verdict::Reject, "410", Some("answered 410 Gone")));
    assert_eq!(read(302), report(Verdict::Reject, "302", Some("answered 302 Found; redirects are not followed")));
}

#[test]
fn failures_become_verdicts() {
    let read = |failure| webhook(&[]).read(Answer::Failed(failure), NOW).verdict;
    assert_eq!(read(Failure::NotSent("refused".to_owned())), Verdict::Retry { after: None });
    assert_eq!(read(Failure::Lost("cut".to_owned())), Verdict::Unknown);
    assert_eq!(read(Failure::Unsendable("no".to_owned())), Verdict::Reject);
    assert_eq!(read(Failure::Forbidden), Verdict::Reject);
}
