//! Users, their contacts, and their leaving.

use serde_json::{Value, json};

use crate::harness::{Answer, TESTUSER, World, answer};

async fn open_post(world: &World, path: &str, body: Value) -> Answer {
    answer(world.http.post(world.url(path)).json(&body)).await
}

#[tokio::test]
async fn a_user_is_created_changed_and_reached_by_the_new_contact() {
    let world = World::start().await;
    let admin = world.admin();
    let created = world
        .post("/api/users", &admin, &json!({"username": "ada", "email": "ada@example.com", "locale": "en-GB"}))
        .await;
    assert_eq!(created.status, 201, "{}", created.text);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/users/{id}");

    let changed = world
        .call(reqwest::Method::PATCH, &path, &admin, Some(&json!({"email": "lovelace@example.com", "locale": null})))
        .await;
    assert_eq!(
        (changed.json()["email"].clone(), changed.json()["locale"].clone()),
        (json!("lovelace@example.com"), Value::Null),
        "{}",
        changed.text
    );
    let body = json!({"targetUserId": id, "type": "email", "payload": {"subject": "s", "body": "b"}});
    let sent = world.post("/api/notifications", &admin, &body).await.json();
    world.ended(sent["messageId"].as_str().unwrap()).await;
    assert_eq!(world.mail.mails()[0].to, ["lovelace@example.com"]);

    let taken = world.post("/api/users", &admin, &json!({"username": "other", "email": "LOVELACE@example.com"})).await;
    assert_eq!(taken.verdict(), (409, "user_exists".to_owned()));
    for bad in [
        json!({"username": "x", "email": "nope"}),
        json!({"username": "x", "phone": "123"}),
        json!({"username": ""}),
        json!({"username": "x", "role": "admin"}),
    ] {
        assert_eq!(world.post("/api/users", &admin, &bad).await.status, 400, "{bad}");
    }
    world.stop().await;
}

#[tokio::test]
async fn people_register_and_log_in() {
    let world = World::start().await;
    let registered = open_post(
        &world,
        "/api/auth/register",
        json!({"username": "bob", "email": "bob@example.com", "password": "correct horse"}),
    )
    .await;
    assert_eq!(registered.status, 201, "{}", registered.text);
    let id = registered.json()["user"]["id"].as_str().unwrap().to_owned();
    let login = open_post(&world, "/api/auth/login", json!({"username": "bob", "password": "correct horse"})).await;
    assert_eq!(login.status, 200, "{}", login.text);
    let token = login.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("/api/users/{id}"), &token).await.json()["username"], "bob");
    assert_eq!(world.get("/api/dead-letters", &token).await.status, 403);

    let wrong = open_post(&world, "/api/auth/login", json!({"username": "bob", "password": "wrong horse"})).await;
    let unknown = open_post(&world, "/api/auth/login", json!({"username": "nobody", "password": "wrong horse"})).await;
    assert_eq!(wrong.verdict(), (401, "invalid_credentials".to_owned()));
    assert_eq!(wrong.text, unknown.text);
    let short = open_post(
        &world,
        "/api/auth/register",
        json!({"username": "eve", "email": "eve@example.com", "password": "short"}),
    )
    .await;
    assert_eq!(short.verdict(), (400, "invalid_field".to_owned()));
    let again = open_post(
        &world,
        "/api/auth/register",
        json!({"username": "bob", "email": "b@example.com", "password": "correct horse"}),
    )
    .await;
    assert_eq!(again.verdict(), (409, "user_exists".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn the_users_of_the_seed_can_log_in() {
    let world = World::start().await;
    let login = open_post(&world, "/api/auth/login", json!({"username": "testuser", "password": "password"})).await;
    assert_eq!(login.status, 200, "{}", login.text);
    let token = login.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("/api/users/{TESTUSER}"), &token).await.json()["username"], "testuser");
    world.stop().await;
}

#[tokio::test]
async fn registration_can_be_closed() {
    let world = World::start_with(&[("REGISTRATION", "false")]).await;
    let answer = open_post(
        &world,
        "/api/auth/register",
        json!({"username": "bob", "email": "bob@example.com", "password": "correct horse"}),
    )
    .await;
    assert_eq!(answer.verdict(), (403, "forbidden".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn deleting_a_user_erases_what_was_theirs() {
    let world = World::start().await;
    let told = world.submit("in-app", json!({"title": "secret"})).await;
    world.ended(&told).await;
    let dead = world.dead_letter().await;
    let tomorrow = (tidings_core::time::Clock::now(&*world.clock) + std::time::Duration::from_hours(24)).to_string();
    let waiting = world.submit_with("in-app", json!({"title": "secret"}), json!({"sendAt": tomorrow})).await;
    let path = format!("/api/users/{TESTUSER}");
    assert_eq!(world.call(reqwest::Method::DELETE, &path, &world.token(), None).await.status, 204);

    let admin = world.admin();
    assert_eq!(world.get(&path, &admin).await.status, 404);
    assert_eq!(world.get(&format!("{path}/inbox"), &admin).await.status, 404);
    for id in [&told, &dead, &waiting] {
        let record = world.show(id).await;
        assert_eq!(record["payload"], Value::Null, "{record:#}");
        assert!(record.to_string().contains("erased") && !record.to_string().contains("secret"), "{record:#}");
    }
    assert_eq!(world.show(&waiting).await["deliveryStatus"], "cancelled");
    assert_eq!(world.post(&format!("/api/dead-letters/{dead}/redrive"), &admin, &json!({})).await.status, 409);
    let body = json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": "t"}});
    assert_eq!(world.post("/api/notifications", &admin, &body).await.verdict(), (422, "unknown_user".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_login_does_not_create_the_tenant_it_names() {
    let world = World::start().await;
    let login = json!({"username": "bob", "password": "correct horse", "tenant": "invented"});
    for _ in 0..2 {
        assert_eq!(
            open_post(&world, "/api/auth/login", login.clone()).await.verdict(),
            (401, "invalid_credentials".to_owned())
        );
    }
    world.stop().await;
}
