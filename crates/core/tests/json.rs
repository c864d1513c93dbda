//! Bodies as `JSONTestSuite` has them: `y_` has to be taken, `n_` has to be refused with the position of what is wrong, `i_`
//! may be either, but does no harm.

use tidings_core::draft::{MAX_BATCH, MAX_DEPTH, MAX_MEMBERS, MAX_TTL_SECONDS, parse, parse_batch, parse_object};
use tidings_core::error::{ErrorCode, Problem};
use tidings_core::idempotency::MAX_KEY_CHARS;

const USER: &str = "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a";

/// Values, put into a payload.
const VALUES: &[(&str, &[u8])] = &[
    ("y_null", b"null"),
    ("y_true", b"true"),
    ("y_false", b"false"),
    ("y_zero", b"0"),
    ("y_minus_zero", b"-0"),
    ("y_integer", b"1234567890"),
    ("y_negative_integer", b"-17"),
    ("y_fraction", b"0.1"),
    ("y_exponent", b"1e3"),
    ("y_exponent_plus", b"1E+3"),
    ("y_exponent_minus", b"-1.5e-3"),
    ("y_exponent_with_zeros", b"1e0003"),
    ("y_smallest_double", b"5e-324"),
    ("y_string_empty", b"\"\""),
    ("y_string_ascii", b"\"hello\""),
    ("y_string_utf8_two_bytes", "\"ß\"".as_bytes()),
    ("y_string_utf8_four_bytes", "\"👩‍👧\"".as_bytes()),
    ("y_string_escapes", br#""\"\\\/\b\f\n\r\t""#),
    ("y_string_unicode_escape", br#""\u00fc""#),
    ("y_string_surrogate_pair", br#""\ud83d\ude00""#),
    ("y_string_escaped_nul", br#""\u0000""#),
    ("y_string_line_separator", "\"\u{2028}\"".as_bytes()),
    ("y_string_delete", b"\"\x7f\""),
    ("y_string_noncharacter", "\"\u{fffe}\"".as_bytes()),
    ("y_array_empty", b"[]"),
    ("y_array_of_kinds", br#"[null,1,"a",{},[],true]"#),
    ("y_object_empty", b"{}"),
    ("y_object_empty_key", br#"{"":0}"#),
    ("y_object_escaped_key", br#"{"\u0061b":0}"#),
    ("y_object_nested", br#"{"a":{"b":{"c":[]}}}"#),
    ("y_space_all_kinds", b" \t\r\n[ \t\r\n1 \t\r\n] \t\r\n"),
    ("n_nothing", b""),
    ("n_comma", b","),
    ("n_word", b"nul"),
    ("n_word_capital", b"True"),
    ("n_word_undefined", b"undefined"),
    ("n_number_nan", b"NaN"),
    ("n_number_infinity", b"-Infinity"),
    ("n_number_leading_zero", b"012"),
    ("n_number_plus", b"+1"),
    ("n_number_minus_only", b"-"),
    ("n_number_dot_first", b".5"),
    ("n_number_dot_last", b"1."),
    ("n_number_exponent_only", b"1e"),
    ("n_number_exponent_sign_only", b"1e+"),
    ("n_number_hex", b"0x1f"),
    ("n_number_grouped", b"1_000"),
    ("n_number_full_width", "１".as_bytes()),
    ("n_two_values", b"1 2"),
    ("n_string_single_quotes", b"'a'"),
    ("n_string_open", b"\"a"),
    ("n_string_line_feed", b"\"a\nb\""),
    ("n_string_tab", b"\"a\tb\""),
    ("n_string_nul", b"\"a\0b\""),
    ("n_string_bad_escape", br#""\x61""#),
    ("n_string_short_escape", br#""\u00f""#),
    ("n_string_escape_at_end", br#""\"#),
    ("n_string_lone_high_surrogate", br#""\ud800""#),
    ("n_string_lone_low_surrogate", br#""\udc00""#),
    ("n_string_two_high_surrogates", br#""\ud800\ud800""#),
    ("n_array_open", b"[1"),
    ("n_array_trailing_comma", b"[1,]"),
    ("n_array_leading_comma", b"[,1]"),
    ("n_array_colon", b"[1:2]"),
    ("n_array_no_comma", b"[1 2]"),
    ("n_array_closed_by_brace", b"[1}"),
    ("n_object_open", b"{"),
    ("n_object_trailing_comma", br#"{"a":1,}"#),
    ("n_object_no_value", br#"{"a":}"#),
    ("n_object_no_colon", br#"{"a" 1}"#),
    ("n_object_bare_key", b"{a:1}"),
    ("n_object_number_key", b"{1:1}"),
    ("n_object_two_colons", br#"{"a"::1}"#),
    ("n_comment_line", b"1 // one"),
    ("n_comment_block", b"/* one */ 1"),
    ("n_space_no_break", "\u{a0}1".as_bytes()),
    ("n_space_form_feed", b"\x0c1"),
    ("n_byte_order_mark", "\u{feff}1".as_bytes()),
    ("n_utf8_invalid", b"\"\xff\""),
    ("n_utf8_overlong", b"\"\xc0\xaf\""),
    ("n_utf8_surrogate", b"\"\xed\xa0\x80\""),
    ("n_utf8_cut", b"\"\xf0\x9f\x98\""),
    ("n_utf16", b"\xff\xfe1\0"),
    ("i_number_huge_exponent", b"1e400"),
    ("i_number_huge_negative_exponent", b"1e-400"),
    ("i_number_more_than_64_bits", b"123456789012345678901234567890"),
    ("i_number_many_digits", b"0.123456789012345678901234567890123456789012345678901234567890"),
    ("i_object_duplicate_key", br#"{"a":1,"a":2}"#),
    ("i_object_duplicate_escaped_key", br#"{"a":1,"\u0061":2}"#),
    ("i_object_prototype_key", br#"{"__proto__":{"a":1}}"#),
];

/// Whole bodies. Those that are taken are taken as a batch, whose items are judged one by one.
const BODIES: &[(&str, &[u8])] = &[
    ("y_body_spaces", b" \r\n\t{\"notifications\":[1]}\n "),
    ("y_body_unknown_member", br#"{"a":[],"notifications":[1]}"#),
    ("n_body_open", b"{"),
    ("n_body_closed_twice", b"{}}"),
    ("n_body_two_objects", b"{}{}"),
    ("n_body_trailing_comma", br#"{"notifications":[1],}"#),
    ("i_body_duplicate_member", br#"{"notifications":[1],"notifications":[2]}"#),
    ("n_body_bad_literal", b"nope"),
    ("n_body_byte_order_mark", b"\xef\xbb\xbf{}"),
    ("n_body_cut", br#"{"notifications":[{"type":"in-a"#),
    ("n_body_nul", b"\0"),
    ("n_body_not_utf8", b"{\"\xff\":1}"),
    ("i_body_empty", b""),
    ("i_body_spaces_only", b" \n "),
    ("i_body_array", b"[]"),
    ("i_body_string", b"\"a\""),
    ("i_body_number", b"1e999"),
];

fn with_payload(payload: &[u8]) -> Vec<u8> {
    let start = format!(r#"{{"targetUserId":"{USER}","type":"in-app","payload":"#);
    [start.as_bytes(), payload, b"}"].concat()
}

fn with_value(value: &[u8]) -> Vec<u8> {
    with_payload(&[b"{\"x\":".as_slice(), value, b"}"].concat())
}

/// A refusal as it has to be: the fault of the caller, with the place to mend.
fn check_refusal(name: &str, problem: &Problem) {
    assert_eq!((problem.code, problem.code.status), (ErrorCode::INVALID_JSON, 400), "{name}: {problem}");
    let message = &problem.message;
    let has_position = (message.contains("line ") && message.contains("column ")) || message.contains("byte ");
    assert!(has_position, "{name}: {message}");
}

fn check<T>(name: &str, outcome: Result<T, Problem>) {
    let problem = outcome.err();
    match (name.split('_').next().unwrap_or_default(), &problem) {
        ("n", Some(problem)) => check_refusal(name, problem),
        ("i", Some(problem)) => assert_eq!(problem.code.status, 400, "{name}: {problem}"),
        (class, problem) => {
            assert!(["y", "n", "i"].contains(&class), "{name} is of no class");
            assert!(class != "n", "{name} was taken");
            assert_eq!(*problem, None, "{name} was refused");
        }
    }
}

#[test]
fn values_in_a_payload_are_json_or_refused_at_their_place() {
    for (name, value) in VALUES {
        check(name, parse(&with_value(value)));
        check(name, parse_object::<serde_json::Value>(&with_value(value)));
    }
}

#[test]
fn what_is_taken_is_kept_to_the_letter() {
    for (name, value) in VALUES.iter().filter(|(name, _)| name.starts_with("y_")) {
        let text = String::from_utf8([b"{\"x\":".as_slice(), *value, b"}"].concat()).unwrap();
        assert_eq!(parse(&with_value(value)).unwrap().payload_text, text, "{name}");
    }
}

#[test]
fn bodies_are_json_or_refused_at_their_place() {
    for (name, body) in BODIES {
        check(name, parse_batch(body));
    }
    assert!(VALUES.len() + BODIES.len() >= 80, "a corpus that shrinks tests less");
}

#[test]
fn the_place_is_that_in_the_whole_body() {
    let body = format!("{{\"targetUserId\":\"{USER}\",\n\"type\":\"in-app\",\n\"payload\":{{\n\"x\":\"\\ud800\"}}}}");
    let problem = parse(body.as_bytes()).unwrap_err();
    assert!(problem.message.contains("line 4 "), "{}", problem.message);
}

/// A payload that nests so deep, itself included.
fn deep(levels: usize) -> Vec<u8> {
    let arrays = levels - 1;
    with_payload(format!("{{\"x\":{}1{}}}", "[".repeat(arrays), "]".repeat(arrays)).as_bytes())
}

#[test]
fn a_body_nests_to_the_limit_and_no_deeper() {
    // The body itself is a level.
    assert!(parse(&deep(MAX_DEPTH - 1)).is_ok());
    for levels in [MAX_DEPTH, MAX_DEPTH + 1, 10_000] {
        assert_eq!(parse(&deep(levels)).unwrap_err().code, ErrorCode::JSON_TOO_COMPLEX, "{levels} levels");
    }
    let brackets_in_a_string = with_payload(format!("{{\"x\":\"{}\"}}", "[".repeat(10_000)).as_bytes());
    assert!(parse(&brackets_in_a_string).is_ok(), "what stands in a string does not nest");
}

#[test]
fn a_payload_has_members_to_the_limit_and_no_more() {
    let items = |count: usize| with_payload(format!("{{\"x\":[{}]}}", vec!["1"; count].join(",")).as_bytes());
    assert!(parse(&items(MAX_MEMBERS - 1)).is_ok(), "the list is a member, too");
    assert_eq!(parse(&items(MAX_MEMBERS)).unwrap_err().code, ErrorCode::JSON_TOO_COMPLEX);
    assert_eq!(parse(&items(1_000_000)).unwrap_err().code, ErrorCode::JSON_TOO_COMPLEX);
}

#[test]
fn a_batch_has_items_to_the_limit_and_no_more() {
    let batch = |count: usize| format!("{{\"notifications\":[{}]}}", vec!["{}"; count].join(","));
    assert_eq!(parse_batch(batch(MAX_BATCH).as_bytes()).unwrap().len(), MAX_BATCH);
    let problem = parse_batch(batch(MAX_BATCH + 1).as_bytes()).unwrap_err();
    assert_eq!(problem.code, ErrorCode::INVALID_FIELD);
}

#[test]
fn fields_go_to_their_limits_and_no_further() {
    let with = |field: String| {
        let start = format!(r#"{{"targetUserId":"{USER}","type":"in-app","payload":{{"title":"t"}},"#);
        parse(format!("{start}{field}}}").as_bytes())
    };
    let key = |length: usize| format!(r#""idempotencyKey":"{}""#, "ß".repeat(length));
    assert!(with(key(MAX_KEY_CHARS)).is_ok() && with(key(MAX_KEY_CHARS + 1)).is_err());
    for (ttl, taken) in
        [(0, false), (1, true), (MAX_TTL_SECONDS, true), (MAX_TTL_SECONDS + 1, false), (u64::MAX, false)]
    {
        assert_eq!(with(format!("\"ttlSeconds\":{ttl}")).is_ok(), taken, "{ttl}");
    }
    for ttl in ["1.5", "-1", "\"1\"", "1e1", "18446744073709551616"] {
        assert!(with(format!("\"ttlSeconds\":{ttl}")).is_err(), "{ttl}");
    }
    for (length, taken) in [(1, true), (64, true), (65, false)] {
        assert_eq!(with(format!(r#""category":"{}""#, "c".repeat(length))).is_ok(), taken, "{length}");
    }
}
