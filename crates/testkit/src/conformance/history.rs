//! What every [`History`](tidings_core::ports::History) has to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{State, Status, Verdict};
use tidings_core::id::{MessageId, TenantId};
use tidings_core::journal::Event;
use tidings_core::notification::NewNotification;
use tidings_core::ports::history::{Cancellation, Query};

use super::world::{ANSWERS, World, lane};
use crate::sample::{self, TESTUSER, USER1};

/// All pages of a query; each asks for `limit`.
async fn pages(world: &World, tenant: TenantId, query: Query, limit: usize) -> Vec<MessageId> {
    let mut query = Query { limit, ..query };
    let mut found = Vec::new();
    loop {
        let page = world.store.list(tenant, query.clone()).await.expect(ANSWERS);
        assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|summary| summary.id));
        query.before = page.next;
        if page.next.is_none() {
            return found;
        }
    }
}

async fn all(world: &World, query: Query) -> BTreeSet<MessageId> {
    pages(world, TenantId::DEFAULT, query, 100).await.into_iter().collect()
}

async fn cancel(world: &World, tenant: TenantId, id: MessageId) -> Option<Cancellation> {
    world.store.cancel(tenant, id, world.now()).await.expect(ANSWERS)
}

pub async fn another_tenant_sees_nothing(world: &World) {
    let tenant = world.tenant("other").await;
    let id = world.accept_email().await;
    assert_eq!(world.find(tenant, id).await, None);
    assert_eq!(cancel(world, tenant, id).await, None);
    assert!(pages(world, tenant, Query::default(), 10).await.is_empty());
    let theirs = Query { user: Some(TESTUSER), ..Query::default() };
    assert!(pages(world, tenant, theirs, 10).await.is_empty());
    assert_eq!(world.record(id).await.summary.state, State::Queued);
    let nobody_issued = world.id();
    assert_eq!(world.find(TenantId::DEFAULT, nobody_issued).await, None);
}

pub async fn pages_go_from_new_to_old_and_miss_nothing(world: &World) {
    let mut expected = Vec::new();
    for number in 0..20 {
        let user = Some(if number % 3 == 0 { TESTUSER } else { USER1 });
        expected.insert(0, world.accept(NewNotification { user, ..world.email() }).await);
        world.tick();
    }
    let of_user = Query { user: Some(TESTUSER), ..Query::default() };
    let theirs: Vec<MessageId> = pages(world, TenantId::DEFAULT, of_user.clone(), 100).await;
    assert_eq!(theirs.len(), 7);
    for limit in [1, 2, 7, 19, 20, 21] {
        assert_eq!(pages(world, TenantId::DEFAULT, Query::default(), limit).await, expected, "by {limit}");
        assert_eq!(pages(world, TenantId::DEFAULT, of_user.clone(), limit).await, theirs, "by {limit}");
    }
}

pub async fn pages_are_stable_under_new_notifications(world: &World) {
    let mut expected = Vec::new();
    for _ in 0..6 {
        expected.insert(0, world.accept_email().await);
    }
    let mut found = Vec::new();
    let mut query = Query { limit: 2, ..Query::default() };
    loop {
        let page = world.store.list(TenantId::DEFAULT, query.clone()).await.expect(ANSWERS);
        found.extend(page.items.iter().map(|summary| summary.id));
        world.accept_email().await;
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(found, expected, "what came since is on a page of its own");
}

pub async fn each_filter_selects(world: &World) {
    let start = world.now();
    let plain = world.attempt(world.email(), Verdict::Delivered).await;
    let second = world.advance(Duration::from_secs(1));
    let webhook = world.attempt(world.webhook("https://a.example:443"), Verdict::Reject).await;
    let third = world.advance(Duration::from_secs(1));
    let otp = world.accept(NewNotification { category: "otp".to_owned(), user: Some(USER1), ..world.email() }).await;
    let any = Query::default;
    for (query, expected) in [
        (any(), vec![plain, webhook, otp]),
        (Query { user: Some(TESTUSER), ..any() }, vec![plain, webhook]),
        (Query { user: Some(USER1), ..any() }, vec![otp]),
        (Query { channel: Some("webhook".to_owned()), ..any() }, vec![webhook]),
        (Query { channel: Some("carrier-pigeon".to_owned()), ..any() }, Vec::new()),
        (Query { category: Some("otp".to_owned()), ..any() }, vec![otp]),
        (Query { status: Some(Status::Pending), ..any() }, vec![otp]),
        (Query { status: Some(Status::Processed), ..any() }, vec![plain]),
        (Query { status: Some(Status::Failed), ..any() }, vec![webhook]),
        (Query { from: Some(second), ..any() }, vec![webhook, otp]),
        (Query { until: Some(second), ..any() }, vec![plain]),
        (Query { from: Some(start), until: Some(third), ..any() }, vec![plain, webhook]),
        (Query { before: Some(otp), ..any() }, vec![plain, webhook]),
        (Query { user: Some(TESTUSER), status: Some(Status::Failed), from: Some(second), ..any() }, vec![webhook]),
        (Query { user: Some(USER1), status: Some(Status::Failed), ..any() }, Vec::new()),
    ] {
        let expected: BTreeSet<MessageId> = expected.into_iter().collect();
        assert_eq!(all(world, query.clone()).await, expected, "{query:?}");
    }
}

pub async fn the_status_follows_the_delivery(world: &World) {
    let id = world.accept_email().await;
    let with_status = async |status| !all(world, Query { status: Some(status), ..Query::default() }).await.is_empty();
    assert!(with_status(Status::Pending).await);
    let job = world.claim_one().await;
    assert!(with_status(Status::Pending).await, "what is being sent is still pending");
    let listed = world.store.list(TenantId::DEFAULT, Query { limit: 1, ..Query::default() }).await.expect(ANSWERS);
    assert_eq!(listed.items, [world.record(id).await.summary]);
    assert_eq!((listed.items[0].state, listed.items[0].attempts), (State::Sending, 1));
    world.attempted(&job, Verdict::Delivered).await;
    assert!(with_status(Status::Processed).await);
    assert!(!with_status(Status::Pending).await && !with_status(Status::Failed).await);
}

pub async fn what_has_no_user_is_not_listed(world: &World) {
    let own = world.accept(sample::system(world.id(), world.now())).await;
    let id = world.accept_email().await;
    assert_eq!(all(world, Query::default()).await, BTreeSet::from([id]));
    assert_eq!(world.record(own).await.summary.user, None, "it can be read by its id");
}

pub async fn what_waits_can_be_cancelled(world: &World) {
    let due = world.accept_email().await;
    let scheduled =
        world.accept(NewNotification { due_at: world.now() + Duration::from_hours(1), ..world.email() }).await;
    let retried = world.webhook("https://a.example:443");
    let retried_lane = lane(&retried);
    let retried = world.accept(retried).await;
    let job = world.claim(retried_lane, 1).await.remove(0);
    world.attempted(&job, Verdict::Retry { after: None }).await;
    world.tick();
    for (id, attempts) in [(due, 0), (scheduled, 0), (retried, 1)] {
        assert_eq!(cancel(world, TenantId::DEFAULT, id).await, Some(Cancellation::Cancelled));
        let record = world.record(id).await;
        assert_eq!((record.summary.state, record.summary.attempts), (State::Cancelled, attempts));
        assert_eq!(record.summary.finished_at, Some(world.now()));
        let last = record.journal.last().map(|entry| (entry.event, entry.at));
        assert_eq!(last, Some((Event::Cancelled, world.now())));
        assert_eq!(world.find_letter(id).await, None);
    }
    world.advance(Duration::from_hours(2));
    assert!(world.claim_all().await.is_empty());
}

pub async fn what_is_being_sent_or_has_ended_cannot_be_cancelled(world: &World) {
    let sending = world.accept_email().await;
    let job = world.claim_one().await;
    let delivered = world.attempt(world.email(), Verdict::Delivered).await;
    let dead = world.dead().await;
    let cancelled = world.accept_email().await;
    cancel(world, TenantId::DEFAULT, cancelled).await;
    for (id, state) in
        [(sending, State::Sending), (delivered, State::Delivered), (dead, State::Dead), (cancelled, State::Cancelled)]
    {
        let before = world.record(id).await;
        assert_eq!(cancel(world, TenantId::DEFAULT, id).await, Some(Cancellation::Refused(state)));
        assert_eq!(world.record(id).await, before);
    }
    world.attempted(&job, Verdict::Delivered).await;
    assert_eq!(world.record(sending).await.summary.state, State::Delivered);
}

pub async fn of_cancel_and_claim_one_wins(world: &World) {
    for _ in 0..50 {
        let notification = world.email();
        let claim = world.claim_of(vec![(lane(&notification), 1)]);
        let id = world.accept(notification).await;
        let (store, now) = (Arc::clone(&world.store), world.now());
        let cancelling = tokio::spawn(async move { store.cancel(TenantId::DEFAULT, id, now).await.expect(ANSWERS) });
        let claimed = world.store.claim(claim).await.expect(ANSWERS);
        let cancelled = cancelling.await.expect("cancelling does not panic");
        match claimed.as_slice() {
            [] => assert_eq!(cancelled, Some(Cancellation::Cancelled)),
            [job] => {
                assert_eq!(cancelled, Some(Cancellation::Refused(State::Sending)));
                world.attempted(job, Verdict::Delivered).await;
            }
            more => assert_eq!(more.len(), 1, "there was one job"),
        }
    }
}
