//! Tokens forged by hand, as somebody would who holds no key, or holds one and lies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000)
}

fn keys() -> Keys {
    Keys::new(SECRET, true)
}

/// A token with exactly this header and these claims, signed with HMAC-SHA-256 and the real secret.
fn forge(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    keys();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn with_claims(claims: &str) -> String {
    forge(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

fn with_header(header: &str) -> String {
    forge(header, &format!(r#"{{"exp":{}}}"#, NOW + 60))
}

fn is_valid(token: &str) -> bool {
    keys().verify(token, now()).is_ok()
}

#[test]
fn an_issued_token_reads_back() {
    let claims = Claims {
        user_id: Some(Uuid::from_u128(7)),
        username: Some("testuser".to_owned()),
        tenant: Some("acme".to_owned()),
        scope: Some("read:any admin".to_owned()),
        iat: Some(NOW),
        exp: Some(NOW + 60),
    };
    let token = keys().issue(&claims).unwrap();
    assert_eq!(keys().verify(&token, now()), Ok(claims));
}

#[test]
fn the_claims_of_the_seed_are_read() {
    let token =
        with_claims(r#"{"userId":"9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a","username":"testuser","iat":1703600000}"#);
    assert!(!is_valid(&token), "it has no expiry");
    let claims = Keys::new(SECRET, false).verify(&token, now()).unwrap();
    assert_eq!(claims.user_id.unwrap().to_string(), "9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a");
    assert_eq!((claims.username.as_deref(), claims.iat), (Some("testuser"), Some(1_703_600_000)));
}

#[test]
fn the_algorithm_is_ours_to_choose() {
    assert!(is_valid(&with_header(r#"{"alg":"HS256"}"#)));
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"nOnE"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":null}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"typ":"JWT"}"#,
        "{}",
        "[]",
        "HS256",
    ] {
        assert!(!is_valid(&with_header(header)), "{header}");
    }
}

#[test]
fn a_signature_is_needed_and_must_be_ours() {
    let token = with_claims(&format!(r#"{{"exp":{}}}"#, NOW + 60));
    assert!(is_valid(&token));
    let message = token.rsplit_once('.').unwrap().0;
    for forged in [
        format!("{message}."),
        message.to_owned(),
        format!("{message}.AAAA"),
        format!("{message}.{}", URL_SAFE_NO_PAD.encode([0_u8; 32])),
        format!("{token}="),
        format!("{token}.{token}"),
        format!(" {token}"),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a".repeat(100_000),
    ] {
        assert!(!is_valid(&forged), "{forged}");
    }
    let another = Keys::new(b"another secret of more than thirty-two", true);
    assert_eq!(another.verify(&token, now()), Err(InvalidToken));
}

#[test]
fn claims_cannot_be_swapped_under_a_signature() {
    let token = with_claims(&format!(r#"{{"exp":{}}}"#, NOW + 60));
    let (header, rest) = token.split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let admin = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{},"scope":"admin"}}"#, NOW + 60));
    assert!(!is_valid(&format!("{header}.{admin}.{signature}")));
}

#[test]
fn what_the_header_says_about_keys_is_ignored_and_what_it_calls_critical_is_refused() {
    for harmless in [
        r#"{"alg":"HS256","kid":"../../dev/null"}"#,
        r#"{"alg":"HS256","kid":"' OR 1=1--"}"#,
        r#"{"alg":"HS256","jku":"http://127.0.0.1:1/keys","x5u":"http://127.0.0.1:1/cert"}"#,
        r#"{"alg":"HS256","typ":"jwt"}"#,
    ] {
        assert!(is_valid(&with_header(harmless)), "{harmless}");
    }
    for critical in [
        r#"{"alg":"HS256","crit":["x"],"x":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":"exp"}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
    ] {
        assert!(!is_valid(&with_header(critical)), "{critical}");
    }
}

#[test]
fn a_token_needs_a_sane_expiry_that_lies_ahead() {
    for (exp, valid) in [
        (format!("{}", NOW + 1), true),
        (format!("{}", NOW - LEEWAY_SECONDS + 1), true),
        (format!("{}", NOW - LEEWAY_SECONDS), false),
        ("null".to_owned(), false),
        ("0".to_owned(), false),
        ("-1".to_owned(), false),
        (format!("\"{}\"", NOW + 60), false),
        (format!("[{}]", NOW + 60), false),
        (format!("{}.5", NOW + 60), false),
        ("1e400".to_owned(), false),
        ("1e12".to_owned(), false),
        (format!("{}", i64::MAX), false),
        ("18446744073709551616".to_owned(), false),
        ("true".to_owned(), false),
    ] {
        assert_eq!(is_valid(&with_claims(&format!(r#"{{"exp":{exp}}}"#))), valid, "{exp}");
    }
    assert!(!is_valid(&with_claims("{}")));
    assert!(!is_valid(&with_claims(&format!(r#"{{"exp":1,"exp":{}}}"#, NOW + 60))));
}

#[test]
fn a_token_is_not_valid_before_its_time_or_for_somebody_else() {
    for (claim, valid) in [
        (format!(r#""nbf":{}"#, NOW + LEEWAY_SECONDS), true),
        (format!(r#""nbf":{}"#, NOW + LEEWAY_SECONDS + 1), false),
        (r#""nbf":"soon""#.to_owned(), false),
        (r#""iss":"tidings""#.to_owned(), true),
        (r#""iss":"somebody""#.to_owned(), false),
        (r#""iss":["tidings"]"#.to_owned(), false),
        (r#""aud":"somebody""#.to_owned(), false),
        (r#""aud":["somebody"]"#.to_owned(), false),
        (r#""userId":"not-a-uuid""#.to_owned(), false),
        (r#""scope":["admin"]"#.to_owned(), false),
        (r#""iat":"yesterday""#.to_owned(), false),
    ] {
        let token = with_claims(&format!(r#"{{"exp":{},{claim}}}"#, NOW + 60));
        assert_eq!(is_valid(&token), valid, "{claim}");
    }
}

#[test]
fn scopes_are_whole_words() {
    let claims = |scope: &str| Claims { scope: Some(scope.to_owned()), ..Claims::default() };
    assert!(claims("read:any admin").has_scope(SCOPE_ADMIN));
    assert!(!claims("administrator").has_scope(SCOPE_ADMIN) && !claims("").has_scope(SCOPE_ADMIN));
    assert!(!Claims::default().has_scope(SCOPE_READ_ANY));
}

#[test]
fn keys_do_not_show_their_secret() {
    assert_eq!(format!("{:?}", keys()), "Keys { require_expiry: true, .. }");
}

#[test]
fn a_token_of_an_account_is_told_from_others() {
    let claims = Claims { user_id: Some(Uuid::from_u128(7)), exp: Some(NOW + 60), ..Claims::default() };
    let of_account = keys().issue_to_account(&claims).unwrap();
    let verified = Verified { claims: claims.clone(), is_of_account: true };
    assert_eq!(keys().read(&of_account, now()), Ok(verified));
    assert_eq!(keys().verify(&of_account, now()), Ok(claims.clone()));
    let by_operator = keys().issue(&claims).unwrap();
    assert_eq!(keys().read(&by_operator, now()), Ok(Verified { claims, is_of_account: false }));
}
