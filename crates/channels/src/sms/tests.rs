use http::StatusCode;
use serde_json::json;
use tidings_core::error::ErrorCode;

use super::*;
use crate::testing::{NOW, dispatch, notification, payload};

fn config() -> Config {
    Config {
        base_url: "https://sms.example/api/".to_owned(),
        account_sid: "AC123".to_owned(),
        auth_token: "hunter2".to_owned(),
        from: "+15005550006".to_owned(),
    }
}

fn sms() -> Sms {
    Sms::new(Some(&config())).unwrap()
}

fn problem(value: &Value) -> Problem {
    sms().address(&payload(value), &Contacts::default()).unwrap_err()
}

fn read(status: u16, body: &Value) -> Report {
    let answer = HttpAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_string()),
    };
    sms().read(Answer::Http(answer), NOW)
}

#[test]
fn the_request_is_a_form_for_the_account() {
    let notification = notification(NAME, &json!({"phoneNumber": "+1234567890", "message": "Code: 12 & 34\nBye ü"}));
    let Ok(Outgoing::Http(request)) = sms().build(&dispatch(&notification, &Contacts::default())) else {
        panic!("no request")
    };
    assert_eq!(request.url.as_str(), "https://sms.example/api/2010-04-01/Accounts/AC123/Messages.json");
    assert_eq!(request.route, Route::Trusted);
    assert_eq!(request.body, "To=%2B1234567890&From=%2B15005550006&Body=Code%3A+12+%26+34%0ABye+%C3%BC");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.headers["authorization"], format!("Basic {}", STANDARD.encode("AC123:hunter2")));
    assert_eq!(request.headers["x-correlation-id"], "order-4711");
    assert!(request.headers["authorization"].is_sensitive());
}

#[test]
fn the_number_comes_from_the_payload_or_the_contacts() {
    let contacts = Contacts { phone: Some("+442071838750".to_owned()), ..Contacts::default() };
    let to = |value: &Value| {
        let payload = payload(value);
        text(&payload, &contacts).unwrap().to.to_owned()
    };
    assert_eq!(to(&json!({"message": "hi"})), "+442071838750");
    assert_eq!(to(&json!({"message": "hi", "phoneNumber": ""})), "+442071838750");
    assert_eq!(to(&json!({"message": "hi", "phoneNumber": "+1234567890"})), "+1234567890");
}

#[test]
fn wrong_payloads_are_refused_by_field() {
    let fields = |value: &Value| {
        let problem = problem(value);
        assert_eq!(problem.code, ErrorCode::INVALID_PAYLOAD);
        problem.errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
    };
    assert_eq!(fields(&json!({})), ["payload.message", "payload.phoneNumber"]);
    for number in ["1234567890", "+0123456789", "+12 345", "+12345678\r\n", "call me"] {
        assert_eq!(fields(&json!({"message": "hi", "phoneNumber": number})), ["payload.phoneNumber"], "{number:?}");
    }
    assert_eq!(fields(&json!({"message": "hi", "phoneNumber": 1_234_567_890})), ["payload.phoneNumber"]);
    let too_long = "x".repeat(1601);
    for message in ["bell\u{7}", "nul\0", "tab\t", "return\r", too_long.as_str()] {
        assert_eq!(
            fields(&json!({"message": message, "phoneNumber": "+1234567890"})),
            ["payload.message"],
            "{message:?}"
        );
    }
    let longest = json!({"message": "ü".repeat(1600), "phoneNumber": "+1234567890"});
    assert!(sms().address(&payload(&longest), &Contacts::default()).is_ok());
}

#[test]
fn without_an_account_the_settings_are_named() {
    let problem = Sms::new(None).unwrap().address(&Payload::new(), &Contacts::default()).unwrap_err();
    assert_eq!(problem.code, ErrorCode::CHANNEL_NOT_CONFIGURED);
    for setting in ["SMS_ACCOUNT_SID", "SMS_AUTH_TOKEN", "SMS_FROM"] {
        assert!(problem.message.contains(setting), "{}", problem.message);
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let error = |config: Config| Sms::new(Some(&config)).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error(Config { base_url: "sms.example".to_owned(), ..config() }).starts_with("SMS_BASE_URL"));
    assert!(error(Config { base_url: "ftp://sms.example".to_owned(), ..config() }).starts_with("SMS_BASE_URL"));
    assert!(error(Config { account_sid: "../other".to_owned(), ..config() }).starts_with("SMS_ACCOUNT_SID"));
    assert!(error(Config { auth_token: "a\nb".to_owned(), ..config() }).starts_with("SMS_AUTH_TOKEN"));
    assert!(error(Config { from: String::new(), ..config() }).starts_with("SMS_FROM"));
    assert!(!format!("{:?}", config()).contains("hunter2"));
}

#[test]
fn an_accepted_message_has_its_id() {
    let report = read(201, &json!({"sid": "SM42", "status": "queued", "error_code": null}));
    let expected = Report {
        code: Some("201".to_owned()),
        provider_id: Some("SM42".to_owned()),
        ..Report::new(PROVIDER, Verdict::Delivered)
    };
    assert_eq!(report, expected);
    assert_eq!(read(200, &json!("what?")).verdict, Verdict::Delivered);
}

#[test]
fn errors_carry_the_code_of_the_provider() {
    let report =
        read(400, &json!({"code": 21211, "message": "Invalid 'To' Phone Number: +15005550001", "status": 400}));
    let expected = Report {
        code: Some("21211".to_owned()),
        ..Report::new(PROVIDER, Verdict::Reject).saying("Invalid 'To' Phone Number: <number>")
    };
    assert_eq!(report, expected);
    let throttled = read(429, &json!({"code": 20429, "message": "Too Many Requests", "status": 429}));
    assert_eq!((throttled.verdict, throttled.code.as_deref()), (Verdict::Retry { after: None }, Some("20429")));
    let plain = read(503, &json!("oops"));
    assert_eq!(
        (plain.code.as_deref(), plain.message.as_deref()),
        (Some("503"), Some("answered 503 Service Unavailable"))
    );
    let failed =
        read(201, &json!({"sid": "SM42", "status": "failed", "error_code": 30003, "error_message": "Unreachable"}));
    assert_eq!(
        (failed.verdict, failed.code.as_deref(), failed.message.as_deref()),
        (Verdict::Reject, Some("30003"), Some("Unreachable"))
    );
}
