use proptest::prelude::*;

use super::*;

const USER: &str = "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a";

fn body(rest: &str) -> String {
    format!(r#"{{"targetUserId":"{USER}","type":"in-app","payload":{{"title":"t"}}{rest}}}"#)
}

fn problem(body: &str) -> Problem {
    parse(body.as_bytes()).unwrap_err()
}

#[test]
fn the_three_fields_of_the_seed_suffice() {
    let draft = parse(body("").as_bytes()).unwrap();
    assert_eq!(draft.target_user.to_string(), USER);
    assert_eq!((draft.channel.as_str(), draft.payload_text.as_str()), ("in-app", r#"{"title":"t"}"#));
    assert_eq!((draft.category.as_str(), draft.priority), ("transactional", Priority::Normal));
}

#[test]
fn what_is_missing_is_told_in_the_words_of_the_seed() {
    for missing in [
        "{}",
        r#"{"targetUserId":"x","type":"email"}"#,
        r#"{"targetUserId":"","type":"email","payload":{}}"#,
        r#"{"targetUserId":"x","type":null,"payload":{}}"#,
        r#"{"targetUserId":"x","type":"email","payload":null}"#,
        r#"{"targetUserId":"x","type":"email","payload":0}"#,
    ] {
        let problem = problem(missing);
        assert_eq!(problem.message, "Missing required fields: targetUserId, type, payload", "{missing}");
    }
}

#[test]
fn a_payload_is_an_object() {
    for payload in ["[]", "\"text\"", "17", "true"] {
        let problem = problem(&format!(r#"{{"targetUserId":"{USER}","type":"email","payload":{payload}}}"#));
        assert_eq!(
            (problem.code, problem.message.as_str()),
            (ErrorCode::PAYLOAD_NOT_OBJECT, "Payload must be a JSON object")
        );
    }
}

#[test]
fn all_options_are_read() {
    let rest = r#","category":"otp","priority":"critical","sendAt":"2026-01-01T00:00:00Z","ttlSeconds":60,"idempotencyKey":"k","metadata":{"a":1},"unknown":true"#;
    let draft = parse(body(rest).as_bytes()).unwrap();
    assert_eq!((draft.category.as_str(), draft.priority), ("otp", Priority::Critical));
    assert_eq!(draft.send_at, Some(Timestamp::from_millis(1_767_225_600_000)));
    assert_eq!(draft.expiry, Some(Expiry::After(Duration::from_mins(1))));
    assert_eq!(draft.key, Some(IdempotencyKey::new("k").unwrap()));
    assert_eq!(draft.metadata.as_deref(), Some(r#"{"a":1}"#));
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let rest =
        r#","category":"a b","priority":"urgent","sendAt":"soon","ttlSeconds":-1,"idempotencyKey":7,"metadata":[]"#;
    let problem = problem(&body(rest));
    let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["category", "priority", "sendAt", "ttlSeconds", "idempotencyKey", "metadata"]);
}

#[test]
fn two_expiries_contradict_each_other() {
    let problem = problem(&body(r#","expiresAt":"2030-01-01T00:00:00Z","ttlSeconds":5"#));
    assert_eq!(problem.errors[0].field, "ttlSeconds");
}

#[test]
fn what_is_no_json_is_refused() {
    for text in ["", " ", "{", "nul", "{\"a\":}", "[1,2", "{\"payload\":{\"a\":NaN}}", "\u{feff}{}"] {
        assert_eq!(problem(text).code, ErrorCode::INVALID_JSON, "{text:?}");
    }
    assert_eq!(parse(b"{\"type\":\"\xff\"}").unwrap_err().code, ErrorCode::INVALID_JSON);
    assert_eq!(problem("[]").code, ErrorCode::INVALID_FIELD);
}

#[test]
fn a_lone_surrogate_in_the_payload_is_refused() {
    let body = format!(r#"{{"targetUserId":"{USER}","type":"in-app","payload":{{"title":"\ud800"}}}}"#);
    assert_eq!(problem(&body).code, ErrorCode::INVALID_JSON);
}

#[test]
fn a_field_given_twice_is_refused() {
    assert_eq!(problem(&body(r#","type":"email""#)).code, ErrorCode::INVALID_JSON);
}

#[test]
fn deep_and_wide_bodies_are_refused_before_they_are_parsed() {
    let deep = "[".repeat(100_000);
    assert_eq!(problem(&deep).code, ErrorCode::JSON_TOO_COMPLEX);
    let wide: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":1")).collect();
    let body = format!(r#"{{"targetUserId":"{USER}","type":"in-app","payload":{{{}}}}}"#, wide.join(","));
    assert_eq!(problem(&body).code, ErrorCode::JSON_TOO_COMPLEX);
}

#[test]
fn a_bad_item_of_a_batch_spoils_no_other() {
    let batch = format!(r#"{{"notifications":[{},{{}},{}]}}"#, body(""), body(""));
    let verdicts: Vec<bool> = parse_batch(batch.as_bytes()).unwrap().iter().map(Result::is_ok).collect();
    assert_eq!(verdicts, [true, false, true]);
}

#[test]
fn a_batch_has_items_but_not_too_many() {
    assert_eq!(parse_batch(b"{}").unwrap_err().code, ErrorCode::MISSING_FIELDS);
    assert_eq!(parse_batch(br#"{"notifications":[]}"#).unwrap_err().code, ErrorCode::MISSING_FIELDS);
    for bad in [r#"{"notifications":"x"}"#, r#"{"notifications":[],"notifications":[]}"#] {
        let problem = parse_batch(bad.as_bytes()).unwrap_err();
        assert_eq!(
            (problem.code, problem.errors[0].field.as_str()),
            (ErrorCode::INVALID_FIELD, "notifications"),
            "{bad}"
        );
    }
    let many = format!(r#"{{"notifications":[{}]}}"#, vec!["{}"; 1001].join(","));
    assert_eq!(parse_batch(many.as_bytes()).unwrap_err().code, ErrorCode::INVALID_FIELD);
}

proptest! {
    #[test]
    fn no_bytes_can_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(parse(&bytes));
        drop(parse_batch(&bytes));
    }

    #[test]
    fn no_field_value_can_do_harm(value in "\\PC{0,40}", field in 0_usize..6) {
        let name = ["category", "priority", "sendAt", "ttlSeconds", "idempotencyKey", "metadata"][field];
        drop(parse(body(&format!(r#","{name}":{value}"#)).as_bytes()));
    }
}
