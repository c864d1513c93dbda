//! Who may do what: tokens, owners, scopes, tenants.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::harness::{TESTUSER, USER1, World};

/// A token signed by hand with the secret of the tests, whatever its header and claims say.
pub(crate) fn sign(header: &Value, claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret of more than thirty-two bytes for tests");
    let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    format!("{signed}.{}", BASE64.encode(hmac::sign(&key, signed.as_bytes())))
}

fn hs256() -> Value {
    json!({"alg": "HS256", "typ": "JWT"})
}

fn claims(exp: Value) -> Value {
    json!({"userId": TESTUSER, "username": "testuser", "iat": 1_700_000_000, "exp": exp})
}

const LATER: i64 = 4_000_000_000;

#[tokio::test]
async fn forged_and_malformed_tokens_are_all_refused_alike() {
    let world = World::start_with(&[("JWT_COMPAT", "strict")]).await;
    let good = sign(&hs256(), &claims(json!(LATER)));
    assert_eq!(world.get("/api/notifications", &good).await.status, 200);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let none = |algorithm: &str| {
        format!(
            "{}.{}.",
            BASE64.encode(json!({"alg": algorithm}).to_string()),
            BASE64.encode(claims(json!(LATER)).to_string())
        )
    };
    let mut flipped = signature.to_owned();
    flipped.replace_range(0..1, if signature.starts_with('A') { "B" } else { "A" });
    let bad = [
        none("none"),
        none("None"),
        none("nOnE"),
        format!("{head}."),
        format!("{head}.{flipped}"),
        sign(&json!({"alg": "HS512"}), &claims(json!(LATER))),
        sign(&json!({"alg": "RS256"}), &claims(json!(LATER))),
        sign(&json!({"alg": ["HS256"]}), &claims(json!(LATER))),
        sign(&json!({"typ": "JWT"}), &claims(json!(LATER))),
        sign(&json!({"alg": "HS256", "crit": ["x"], "x": 1}), &claims(json!(LATER))),
        sign(&hs256(), &claims(json!(1_700_000_001))),
        sign(&hs256(), &claims(json!("4000000000"))),
        sign(&hs256(), &claims(json!(-1))),
        sign(&hs256(), &json!({"userId": TESTUSER, "iat": 1_700_000_000})),
        sign(&hs256(), &json!({"userId": "not-a-uuid", "iat": 1_700_000_000, "exp": LATER})),
        sign(&hs256(), &json!({"userId": TESTUSER, "iat": 1_700_000_000, "exp": LATER, "nbf": LATER - 1})),
        sign(&hs256(), &json!([])),
        "a.b.c".to_owned(),
        "a".repeat(20_000),
    ];
    let mut bodies = std::collections::BTreeSet::new();
    for token in bad {
        let answer = world.get("/api/notifications", &token).await;
        assert_eq!(answer.status, 401, "{token}");
        bodies.insert(answer.text);
    }
    assert_eq!(bodies.len(), 1, "the answer tells what was wrong: {bodies:?}");
    world.stop().await;
}

#[tokio::test]
async fn what_the_header_says_about_keys_is_ignored() {
    let world = World::start().await;
    let url = format!("http://{}/keys", world.web.addr());
    for name in ["jku", "x5u"] {
        let token = sign(&json!({"alg": "HS256", (name): url, "kid": "../../dev/null"}), &claims(json!(LATER)));
        assert_eq!(world.get("/api/notifications", &token).await.status, 200);
    }
    assert!(world.web.requests().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn somebody_elses_notification_does_not_exist() {
    let world = World::start().await;
    let body = json!({"targetUserId": USER1, "type": "in-app", "payload": {"title": "for user1"}});
    let accepted = world.post("/api/notifications", &world.token(), &body).await;
    assert_eq!(accepted.status, 202);
    let path = format!("/api/notifications/{}", accepted.json()["messageId"].as_str().unwrap());

    let mine = world.token();
    assert_eq!(world.get(&path, &mine).await.verdict(), (404, "not_found".to_owned()));
    assert_eq!(world.post(&format!("{path}/cancel"), &mine, &json!({})).await.status, 404);
    assert_eq!(world.get("/api/notifications", &mine).await.json()["items"], json!([]));
    assert_eq!(world.get(&format!("/api/notifications?userId={USER1}"), &mine).await.json()["items"], json!([]));
    assert_eq!(world.get(&format!("/api/users/{USER1}"), &mine).await.status, 404);
    assert_eq!(world.get(&format!("/api/users/{USER1}/inbox"), &mine).await.status, 404);

    assert_eq!(world.get(&path, &world.token_of(USER1, None, None)).await.status, 200);
    assert_eq!(world.get(&path, &world.token_of(TESTUSER, Some("read:any"), None)).await.status, 200);
    assert_eq!(world.get(&path, &world.admin()).await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn administration_needs_its_scope() {
    let world = World::start().await;
    for token in [world.token(), world.token_of(TESTUSER, Some("read:any"), None)] {
        assert_eq!(world.get("/api/dead-letters", &token).await.verdict(), (403, "forbidden".to_owned()));
        assert_eq!(world.post("/api/dead-letters/redrive", &token, &json!({})).await.status, 403);
        assert_eq!(world.post("/api/users", &token, &json!({"username": "x"})).await.status, 403);
    }
    world.stop().await;
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let world = World::start().await;
    let ours = world.admin();
    let theirs = world.token_of(TESTUSER, Some("admin"), Some("acme"));
    let id = world.submit("in-app", json!({"title": "ours"})).await;
    world.ended(&id).await;

    assert_eq!(world.get(&format!("/api/notifications/{id}"), &theirs).await.status, 404);
    assert_eq!(world.get("/api/notifications", &theirs).await.json()["items"], json!([]));
    assert_eq!(world.get("/api/users", &theirs).await.json()["items"], json!([]));
    assert_eq!(world.get(&format!("/api/users/{TESTUSER}/inbox"), &theirs).await.status, 404);
    let body =
        json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": "t"}, "idempotencyKey": "shared"});
    assert_eq!(world.post("/api/notifications", &theirs, &body).await.verdict(), (422, "unknown_user".to_owned()));

    let same_user = json!({"id": TESTUSER, "username": "testuser", "email": "test@example.com"});
    assert_eq!(world.post("/api/users", &theirs, &same_user).await.status, 201);
    let one = world.post("/api/notifications", &ours, &body).await.json()["messageId"].clone();
    let other = world.post("/api/notifications", &theirs, &body).await.json()["messageId"].clone();
    assert!(one.is_string() && other.is_string() && one != other);
    world.stop().await;
}
