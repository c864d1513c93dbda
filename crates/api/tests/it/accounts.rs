//! Users, registering, logging in.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use tidings_api::Config;
use tidings_core::id::UserId;
use tidings_core::ports::Catalog;
use tidings_core::time::Clock;
use tidings_core::user::NewUser;
use tidings_testkit::sample::{self, TESTUSER, USER1};

use crate::world::{World, note_to};

const PASSWORD: &str = "correct horse battery staple";

async fn open_world() -> World {
    World::with(Config { registration: true, ..Config::default() }).await
}

#[tokio::test]
async fn an_administrator_creates_changes_and_deletes_users() {
    let world = World::new().await;
    let body = json!({"username": "ada", "email": "ada@example.com", "phone": "+442071838750"});
    let created = world.post("/api/users", &world.admin(), &body).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/users/{id}");
    assert_eq!(created.header("location"), path);
    assert_eq!(world.get(&path, &world.reader()).await.json(), created.json());
    let changed = world.patch(&path, &world.admin(), &json!({"phone": null, "locale": "en-GB"})).await.json();
    assert_eq!(
        (&changed["email"], &changed["phone"], &changed["locale"]),
        (&json!("ada@example.com"), &Value::Null, &json!("en-GB"))
    );
    let deleted = world.with_body("DELETE", &path, &world.admin(), &json!({})).await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (204, ""));
    assert_eq!(world.get(&path, &world.admin()).await.status, 404);
}

#[tokio::test]
async fn users_see_and_change_themselves_only() {
    let world = World::new().await;
    let (mine, theirs) = (format!("/api/users/{TESTUSER}"), format!("/api/users/{USER1}"));
    assert_eq!(world.get(&mine, &world.mine()).await.status, 200);
    assert_eq!(world.patch(&mine, &world.mine(), &json!({"locale": "pt-BR"})).await.status, 200);
    assert_eq!(world.get(&theirs, &world.mine()).await.status, 404);
    assert_eq!(world.patch(&theirs, &world.mine(), &json!({"locale": "pt-BR"})).await.status, 404);
    assert_eq!(world.patch(&theirs, &world.reader(), &json!({"locale": "pt-BR"})).await.status, 403);
    assert_eq!(world.get("/api/users", &world.mine()).await.status, 403);
    assert_eq!(world.post("/api/users", &world.mine(), &json!({"username": "x"})).await.status, 403);
}

#[tokio::test]
async fn what_is_not_the_callers_to_set_is_refused() {
    let world = World::new().await;
    for field in ["tenant", "tenantId", "role", "status", "passwordHash", "createdAt"] {
        let answer = world.post("/api/users", &world.admin(), &json!({"username": "eve", field: "x"})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_field"), "{field}");
    }
    let taken = world.post("/api/users", &world.admin(), &json!({"username": "testuser"})).await;
    assert_eq!((taken.status.as_u16(), taken.code().as_str()), (409, "user_exists"));
}

#[tokio::test]
async fn users_are_listed_in_pages() {
    let world = World::new().await;
    let first = world.get("/api/users?limit=2", &world.reader()).await.json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let rest = world.get(&format!("/api/users?limit=2&after={cursor}"), &world.reader()).await.json();
    let names = |page: &Value| -> Vec<Value> {
        page["items"].as_array().unwrap().iter().map(|user| user["username"].clone()).collect()
    };
    assert_eq!((names(&first), names(&rest)), (vec![json!("testuser"), json!("user1")], vec![json!("user2")]));
    assert_eq!(rest["nextCursor"], Value::Null);
}

#[tokio::test]
async fn whoever_registers_can_log_in_and_use_the_token() {
    let world = open_world().await;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD});
    let registered = world.post("/api/auth/register", "", &body).await;
    assert_eq!(registered.status, 201, "{}", registered.text);
    let user = registered.json()["user"]["id"].as_str().unwrap().to_owned();
    let session = world.post("/api/auth/login", "", &json!({"username": "ada", "password": PASSWORD})).await;
    assert_eq!(session.status, 200, "{}", session.text);
    let token = session.json()["token"].as_str().unwrap().to_owned();
    assert!(session.json()["expiresAt"].is_string());
    assert_eq!(world.get(&format!("/api/users/{user}"), &token).await.status, 200);
    assert_eq!(world.post("/api/notifications", &token, &note_to(USER1)).await.status, 202);
    assert_eq!(world.get("/api/dead-letters", &token).await.status, 403);
}

#[tokio::test]
async fn nobody_registers_where_it_is_switched_off() {
    let world = World::new().await;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD});
    let answer = world.post("/api/auth/register", "", &body).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn a_refused_login_does_not_tell_why() {
    let world = World::new().await;
    let hash = tidings_api::hash_password(PASSWORD).unwrap();
    let user = sample::user(UserId(Uuid::from_u128(77)), "ada", world.clock.now());
    world.store.create_user(NewUser { password_hash: Some(hash), ..user }).await.unwrap().unwrap();
    let log_in = async |body: Value| {
        let answer = world.post("/api/auth/login", "", &body).await;
        (answer.status.as_u16(), answer.text)
    };
    let wrong = log_in(json!({"username": "ada", "password": "wrong"})).await;
    assert_eq!(wrong.0, 401);
    assert_eq!(log_in(json!({"username": "nobody", "password": PASSWORD})).await, wrong);
    assert_eq!(log_in(json!({"username": "testuser", "password": PASSWORD})).await, wrong);
    assert_eq!(log_in(json!({"username": "ada", "password": PASSWORD, "tenant": "other"})).await, wrong);
    assert_eq!(log_in(json!({"username": "ada", "password": PASSWORD, "tenant": "no such/one"})).await, wrong);
    assert_eq!(log_in(json!({"username": "ada", "password": PASSWORD})).await.0, 200);
}

#[tokio::test]
async fn a_password_has_to_be_long_enough() {
    let world = open_world().await;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": "short"});
    let answer = world.post("/api/auth/register", "", &body).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["errors"][0]["field"]), (400, &json!("password")));
}

#[tokio::test]
async fn whoever_guesses_a_password_is_slowed_down() {
    let world = World::new().await;
    let guess = async |username: &'static str| {
        world.post("/api/auth/login", "", &json!({"username": username, "password": "wrong horse"})).await
    };
    for _ in 0..10 {
        assert_eq!(guess("testuser").await.status, 401);
    }
    let refused = guess("testuser").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), "30");
    assert_eq!(guess("nobody").await.status, 401, "other names are not concerned");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(guess("testuser").await.status, 401);
    assert_eq!(guess("testuser").await.status, 429);
}

#[tokio::test]
async fn whoever_logs_in_may_do_so_again() {
    let world = open_world().await;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD});
    assert_eq!(world.post("/api/auth/register", "", &body).await.status, 201);
    for _ in 0..15 {
        let session = world.post("/api/auth/login", "", &json!({"username": "ada", "password": PASSWORD})).await;
        assert_eq!(session.status, 200, "{}", session.text);
    }
}

#[tokio::test]
async fn accounts_are_not_made_by_the_dozen() {
    let world = open_world().await;
    let register = async |number: usize| {
        // Too short a password costs nothing to refuse, and counts all the same.
        let body = json!({"username": format!("u{number}"), "email": "a@example.com", "password": "short"});
        world.post("/api/auth/register", "", &body).await.status.as_u16()
    };
    for number in 0..20 {
        assert_eq!(register(number).await, 400);
    }
    assert_eq!(register(20).await, 429);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(register(21).await, 400);
}

#[tokio::test]
async fn the_token_of_a_deleted_account_is_worth_nothing() {
    let world = open_world().await;
    let body = json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD});
    let registered = world.post("/api/auth/register", "", &body).await.json();
    let token = registered["token"].as_str().unwrap().to_owned();
    let path = format!("/api/users/{}", registered["user"]["id"].as_str().unwrap());
    assert_eq!(world.get(&path, &token).await.status, 200);
    assert_eq!(world.with_body("DELETE", &path, &token, &json!({})).await.status, 204);
    let forged = world.get("/api/notifications", "not a token").await;
    for (method, path) in [("GET", "/api/notifications"), ("POST", "/api/notifications"), ("GET", path.as_str())] {
        let answer = world.with_body(method, path, &token, &note_to(TESTUSER)).await;
        assert_eq!((answer.status.as_u16(), &answer.text), (401, &forged.text), "{method} {path}");
    }
    // The name may be taken anew; that does not bring the old token back.
    assert_eq!(world.post("/api/auth/register", "", &body).await.status, 201);
    assert_eq!(world.get("/api/notifications", &token).await.status, 401);
    assert_eq!(world.get("/api/notifications", &world.mine()).await.status, 200, "operators make tokens for whomever");
}
