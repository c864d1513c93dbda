//! Every route that there is, asked by somebody of another tenant.

use reqwest::Method;
use serde_json::{Value, json};
use tidings_core::id::MessageId;
use tidings_core::time::Clock;
use uuid::Uuid;

use crate::harness::{Answer, TESTUSER, USER1, World};

/// Stands in everything that belongs to the first tenant.
const CANARY: &str = "canary-of-the-first-tenant";

/// What the first tenant has, and how it looks to them.
struct Belongings {
    told: String,
    dead: String,
    waiting: String,
}

impl Belongings {
    async fn lay_out(world: &World) -> Self {
        let contacts = json!({"email": format!("{CANARY}@example.com"), "locale": "en-GB"});
        let path = format!("/api/users/{TESTUSER}");
        assert_eq!(world.call(Method::PATCH, &path, &world.admin(), Some(&contacts)).await.status, 200);
        let told = world.submit_with("in-app", json!({"title": CANARY}), json!({"metadata": {"note": CANARY}})).await;
        let refusing = json!({"url": format!("http://{}/status/400", world.web.addr()), "data": {"note": CANARY}});
        let dead = world.submit("webhook", refusing).await;
        let tomorrow = (world.clock.now() + std::time::Duration::from_hours(24)).to_string();
        let waiting = world.submit_with("in-app", json!({"title": CANARY}), json!({"sendAt": tomorrow})).await;
        assert_eq!(world.ended(&told).await["status"], "processed");
        assert_eq!(world.ended(&dead).await["deliveryStatus"], "dead");
        Self { told, dead, waiting }
    }

    /// Everything as its owners see it.
    async fn seen_by_owner(&self, world: &World) -> String {
        let mut seen = String::new();
        let mut paths: Vec<String> =
            [&self.told, &self.dead, &self.waiting].map(|id| format!("/api/notifications/{id}")).into();
        paths.push(format!("/api/dead-letters/{}", self.dead));
        paths.push(format!("/api/users/{TESTUSER}"));
        paths.push(format!("/api/users/{TESTUSER}/inbox"));
        paths.extend(["/api/notifications", "/api/dead-letters", "/api/users"].map(str::to_owned));
        for path in paths {
            let answer = world.get(&path, &world.admin()).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            assert!(
                answer.text.contains(CANARY) || !path.contains("/users/"),
                "{path} is worth hiding: {}",
                answer.text
            );
            seen.push_str(&answer.text);
            seen.push('\n');
        }
        seen
    }
}

/// One call of the description.
struct Call {
    method: Method,
    path: String,
    is_public: bool,
}

fn calls(document: &Value) -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let is_public = operation["security"] == json!([{}]);
            calls.push(Call { method, path: path.clone(), is_public });
        }
    }
    calls
}

impl Call {
    /// The paths that name something of the first tenant, each beside one that names nothing.
    fn pairs(&self, belongings: &Belongings) -> Vec<(String, String)> {
        let nothing = MessageId::from_integer(17).unwrap().to_string();
        let nobody = Uuid::from_u128(0x1234_5678_1234_4678_9234_5678_1234_5678).to_string();
        if self.path.contains("{userId}") {
            let fill = |user: &str| self.path.replace("{userId}", user);
            return vec![(fill(TESTUSER), fill(&nobody))];
        }
        if self.path.contains("{messageId}") {
            let fill = |id: &str| self.path.replace("{messageId}", id);
            let ids = [&belongings.told, &belongings.dead, &belongings.waiting];
            return ids.map(|id| (fill(id), fill(&nothing))).into();
        }
        vec![(self.path.clone(), self.path.clone())]
    }

    /// A body that the route takes, so that nothing but the tenant stands in the way.
    fn body(&self) -> Option<Value> {
        let to_them = json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": "for you"}});
        match (self.method.as_str(), self.path.as_str()) {
            ("GET" | "DELETE", _) => None,
            (_, "/api/notifications") => Some(to_them),
            (_, "/api/notifications/batch") => Some(json!({"notifications": [to_them]})),
            (_, "/api/users") => Some(json!({"username": "testuser"})),
            ("PATCH", "/api/users/{userId}") => Some(json!({"locale": "pt-BR"})),
            (_, "/api/users/{userId}/inbox/receipts") => Some(json!({"receipt": "read", "upTo": 1_000})),
            ("PATCH", _) => Some(json!({"note": "mine now"})),
            _ => Some(json!({})),
        }
    }
}

/// What may be told about an answer without telling which id was asked for.
fn told(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.text.as_str())
}

#[tokio::test]
async fn no_route_shows_or_changes_what_is_another_tenants() {
    let world = World::start().await;
    let belongings = Belongings::lay_out(&world).await;
    let before = belongings.seen_by_owner(&world).await;
    let document = world.get("/openapi.json", "").await.json();
    let calls = calls(&document);
    assert!(calls.len() > 20, "{}", calls.len());
    // Two of them have the id of a user of the first tenant, in a tenant where nobody has it.
    let intruders = [(TESTUSER, Some("admin")), (USER1, Some("read:any")), (TESTUSER, None)]
        .map(|(user, scope)| world.token_of(user, scope, Some("acme")));
    for call in calls.iter().filter(|call| !call.is_public) {
        for intruder in &intruders {
            try_as(&world, call, &belongings, intruder).await;
        }
    }
    assert_eq!(belongings.seen_by_owner(&world).await, before, "nothing has changed");
    world.stop().await;
}

/// Makes a call on everything that belongs to the first tenant.
async fn try_as(world: &World, call: &Call, belongings: &Belongings, intruder: &str) {
    for (theirs, nothing) in call.pairs(belongings) {
        let what = format!("{} {theirs}", call.method);
        let answer = world.call(call.method.clone(), &theirs, intruder, call.body().as_ref()).await;
        assert!(!answer.text.contains(CANARY), "{what}: {}", answer.text);
        assert!(answer.status.as_u16() < 500, "{what}: {}", answer.text);
        if theirs == nothing {
            continue;
        }
        assert!(matches!(answer.status.as_u16(), 403 | 404), "{what}: {} {}", answer.status, answer.text);
        let absent = world.call(call.method.clone(), &nothing, intruder, call.body().as_ref()).await;
        assert_eq!(told(&answer), told(&absent), "{what} is answered as if it did not exist");
    }
}

#[tokio::test]
async fn within_a_tenant_others_do_not_exist_either() {
    let world = World::start().await;
    let belongings = Belongings::lay_out(&world).await;
    let before = belongings.seen_by_owner(&world).await;
    let document = world.get("/openapi.json", "").await.json();
    let neighbour = world.token_of(USER1, None, None);
    for call in calls(&document).iter().filter(|call| call.path.contains('{')) {
        for (theirs, nothing) in call.pairs(&belongings) {
            let what = format!("{} {theirs}", call.method);
            let answer = world.call(call.method.clone(), &theirs, &neighbour, call.body().as_ref()).await;
            assert!(matches!(answer.status.as_u16(), 403 | 404), "{what}: {} {}", answer.status, answer.text);
            assert!(!answer.text.contains(CANARY), "{what}: {}", answer.text);
            let absent = world.call(call.method.clone(), &nothing, &neighbour, call.body().as_ref()).await;
            assert_eq!(told(&answer), told(&absent), "{what} is answered as if it did not exist");
        }
    }
    assert_eq!(belongings.seen_by_owner(&world).await, before, "nothing has changed");
    world.stop().await;
}

#[tokio::test]
async fn keys_names_and_metrics_of_tenants_do_not_meet() {
    let world = World::start().await;
    let theirs = world.token_of(USER1, Some("admin"), Some("acme"));
    let user = json!({"id": USER1, "username": "testuser", "email": "test@example.com"});
    assert_eq!(world.post("/api/users", &theirs, &user).await.status, 201, "a name is taken in its tenant only");
    let note = |title: &str| json!({"targetUserId": USER1, "type": "in-app", "payload": {"title": title}, "idempotencyKey": "one"});
    let ours = world.post("/api/notifications", &world.admin(), &note("ours")).await;
    let other = world.post("/api/notifications", &theirs, &note("theirs")).await;
    assert_eq!((ours.status.as_u16(), other.status.as_u16()), (202, 202), "a key is used in its tenant only");
    assert_ne!(ours.json()["messageId"], other.json()["messageId"]);
    let metrics = world.get("/metrics", &theirs).await.text;
    for name in ["acme", USER1, TESTUSER, "example.com"] {
        assert!(!metrics.contains(name), "{name} is a label of a metric");
    }
    world.stop().await;
}
