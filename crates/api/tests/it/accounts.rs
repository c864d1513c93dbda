//! Users, registering, logging in.

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
