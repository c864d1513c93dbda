//! What one destination or one tenant does to the others: nothing that they notice.

use std::time::Duration;

use serde_json::json;
use tidings_api::token::{Claims, Keys};
use tidings_testkit::catcher::{CaughtRequest, HttpAnswer, HttpCatcher};
use tidings_testkit::faults::tier::repeat;
use tidings_testkit::faults::verdict::Verdict;

use crate::program::{Program, USER, http};
use crate::verbs::{Door, Lags, PATIENCE, Stage, catcher};

/// What the others send: a webhook every 20 ms.
const EVERY: Duration = Duration::from_millis(20);

/// Twice the calm, and a constant for what a machine with two cores does beside.
fn assert_unmoved(calm: &Lags, beside: &Lags) {
    let (calm, beside) = (calm.p99(), beside.p99());
    assert!(beside <= calm * 2 + Duration::from_millis(250), "p99 {beside:?}, {calm:?} when calm");
}

/// Sends `count` webhooks and gives what the receiver got of them.
async fn steady(door: &Door, receiver: &HttpCatcher, count: usize) -> Vec<CaughtRequest> {
    receiver.clear();
    door.pace(&[receiver.url("/hook")], count, EVERY).await;
    let caught = receiver.wait_for(count, PATIENCE).await.unwrap();
    door.heard(&caught);
    caught
}

/// A port where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/hook", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_with_a_long_queue_delays_nobody_else() {
    let (flood, count) = (repeat(1_000, 10_000), repeat(200, 900));
    let stage = Stage::set(&[("RETRY_SCHEDULE", "1s"), ("MAX_RETRIES", "2")]).await;
    let door = &stage.door;
    let receiver = catcher().await;
    let calm = steady(door, &receiver, count).await;

    // Their own books: they are still waiting when the story ends.
    let dead = Door::new(&door.url, door.token.clone(), door.http.clone());
    let waiting = dead.submit_many(&nobody(), flood).await;
    let beside = steady(door, &receiver, count).await;
    let attempts = stage.program.metric("delivery_attempts_total").await;
    let opened = stage.program.metric("breaker_opened_total").await;

    for id in &waiting {
        let cancelled = dead.post(&format!("/api/notifications/{id}/cancel"), &json!({})).await;
        assert!(matches!(cancelled.status, 200 | 409), "{}", cancelled.text);
    }
    let of_the_dead = dead.settle(Duration::from_mins(2)).await;
    let totals = door.settle(PATIENCE).await;
    let (calm, beside) = (Lags::of(&calm), Lags::of(&beside));
    Verdict::of("F24", "a dead endpoint with a long queue", format!("{flood} notifications to a closed port"))
        .totals(&totals)
        .measured("p99 of the others, calm", format!("{:?}", calm.p99()))
        .measured("p99 of the others, beside", format!("{:?}", beside.p99()))
        .measured("attempts made in all", attempts)
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
    of_the_dead.assert_clean();
    assert!(opened >= 1.0, "the breaker of the dead endpoint never opened");
    assert_unmoved(&calm, &beside);
}

const SECRET: &str = "a secret of the stories about tenants, long enough";

/// A token of the administrator of a tenant. Naming a tenant in a signed token makes it.
fn token(tenant: &str) -> String {
    let claims = Claims {
        user_id: Some(USER.parse().unwrap()),
        tenant: Some(tenant.to_owned()),
        scope: Some("admin".to_owned()),
        exp: Some(4_000_000_000),
        ..Claims::default()
    };
    Keys::new(SECRET.as_bytes(), true).issue(&claims).unwrap()
}

async fn door_of(program: &Program, tenant: &str) -> Door {
    let door = Door::new(program.url(), token(tenant), http());
    let user = json!({"id": USER, "username": "testuser", "email": "test@example.com"});
    let created = door.post("/api/users", &user).await;
    assert_eq!(created.status, 201, "{}", created.text);
    door
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_tenant_is_not_felt_by_another() {
    let (flood, count) = (repeat(2_000, 8_000), repeat(200, 900));
    let dir = tempfile::tempdir().unwrap();
    let program = Program::at(&dir.path().join("data")).env("JWT_SECRET", SECRET).start().await;
    let quiet = door_of(&program, "quiet").await;
    let loud = door_of(&program, "loud").await;
    let receiver = catcher().await;
    let calm = steady(&quiet, &receiver, count).await;

    // Everything at once, to several destinations: each is slow enough that the flood lasts as long as the others send.
    let slow: Vec<HttpCatcher> = [catcher().await, catcher().await, catcher().await, catcher().await].into();
    for receiver in &slow {
        let late = HttpAnswer::status(200).delayed(Duration::from_millis(20));
        receiver.script(std::iter::repeat_n(late, flood / slow.len()));
        loud.submit_many(&receiver.url("/hook"), flood / slow.len()).await;
    }
    let beside = steady(&quiet, &receiver, count).await;

    // What the flood is for has to arrive as well. The catchers keep the last thousand only, so they are counted.
    for receiver in &slow {
        let arrived = receiver.wait_for(flood / slow.len(), Duration::from_mins(2)).await;
        assert!(arrived.is_ok(), "{arrived:?}");
    }
    let of_the_loud = loud.settle(Duration::from_mins(2)).await;
    let totals = quiet.settle(PATIENCE).await;
    let foreign = seen_by(&loud, &quiet).await;
    let (calm, beside) = (Lags::of(&calm), Lags::of(&beside));
    Verdict::of("F38", "a flood of one tenant", format!("{flood} notifications at once, to 4 destinations"))
        .totals(&totals)
        .measured("p99 of the other tenant, calm", format!("{:?}", calm.p99()))
        .measured("p99 of the other tenant, beside", format!("{:?}", beside.p99()))
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
    of_the_loud.assert_clean();
    assert_eq!(foreign, 0, "a tenant saw what belongs to another");
    assert_unmoved(&calm, &beside);
}

/// How many of some notifications of one tenant another one can see.
async fn seen_by(stranger: &Door, owner: &Door) -> usize {
    let mut seen = 0;
    for id in owner.ledger.acknowledged().into_iter().take(20) {
        let answer = stranger.get(&format!("/api/notifications/{id}")).await;
        seen += usize::from(answer.status != 404);
    }
    seen
}
