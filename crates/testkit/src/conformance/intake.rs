//! What every [`Intake`](tidings_core::ports::Intake) has to do.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{State, appended};
use tidings_core::id::TenantId;
use tidings_core::idempotency::DEFAULT_TTL;
use tidings_core::journal::{Entry, Event};
use tidings_core::notification::{Content, NewNotification, Priority, Record, Summary, TraceContext};
use tidings_core::ports::history::Query;
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::ports::streams::InboxRange;
use tokio::task::JoinSet;

use super::world::{ANSWERS, World};
use crate::sample::{self, keyed, unkeyed};

/// A notification in which no field has its usual value.
fn unusual(world: &World) -> NewNotification {
    NewNotification {
        request: world.id(),
        category: "otp".to_owned(),
        priority: Priority::Critical,
        content: Content {
            payload: r#"{"body":"Zeichen: ä \u0000 🎉"}"#.to_owned(),
            metadata: Some(r#"{"order":17}"#.to_owned()),
        },
        context: TraceContext {
            correlation_id: "c-1".to_owned(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        },
        due_at: world.now() + Duration::from_mins(1),
        expires_at: Some(world.now() + Duration::from_mins(2)),
        redrive_of: Some(world.id()),
        redrives: 3,
        ..world.email()
    }
}

async fn stored(world: &World, tenant: TenantId) -> usize {
    world.store.list(tenant, Query { limit: 100, ..Query::default() }).await.expect(ANSWERS).items.len()
}

pub async fn a_notification_reads_back_whole(world: &World) {
    let given = unusual(world);
    let id = world.accept(given.clone()).await;
    let expected = Record {
        summary: Summary {
            id,
            request: given.request,
            user: given.user,
            channel: given.channel,
            category: given.category,
            priority: given.priority,
            state: State::Queued,
            attempts: 0,
            context: given.context,
            accepted_at: given.accepted_at,
            due_at: given.due_at,
            expires_at: given.expires_at,
            finished_at: None,
            read_at: None,
            error: None,
            redrive_of: given.redrive_of,
        },
        content: Some(given.content),
        journal: vec![Entry::new(given.accepted_at, Event::Accepted)],
    };
    assert_eq!(world.record(id).await, expected);
}

pub async fn a_batch_is_answered_in_order(world: &World) {
    let batch: Vec<Submission> = (0..100).map(|_| unkeyed(world.email())).collect();
    let expected: Vec<Acceptance> =
        batch.iter().map(|submission| Acceptance::Accepted(submission.notification.id)).collect();
    assert_eq!(world.submit(batch).await, expected);
    assert_eq!(stored(world, TenantId::DEFAULT).await, 100);
}

pub async fn an_empty_batch_has_no_answers(world: &World) {
    assert!(world.submit(Vec::new()).await.is_empty());
}

pub async fn the_same_key_and_body_are_replayed(world: &World) {
    let first = keyed(world.email(), "key", "body");
    let id = first.notification.id;
    assert_eq!(world.submit(vec![first]).await, [Acceptance::Accepted(id)]);
    world.tick();
    for _ in 0..2 {
        assert_eq!(world.submit(vec![keyed(world.email(), "key", "body")]).await, [Acceptance::Replayed(id)]);
    }
    assert_eq!(stored(world, TenantId::DEFAULT).await, 1);
    assert_eq!(world.claim_all().await.len(), 1);
}

pub async fn the_same_key_with_another_body_is_mismatched_and_stores_nothing(world: &World) {
    let first = keyed(world.email(), "key", "body");
    let id = first.notification.id;
    world.submit(vec![first]).await;
    let other = keyed(world.email(), "key", "another body");
    let other_id = other.notification.id;
    assert_eq!(world.submit(vec![other]).await, [Acceptance::Mismatched]);
    assert_eq!(world.find(TenantId::DEFAULT, other_id).await, None);
    assert_eq!(world.submit(vec![keyed(world.email(), "key", "body")]).await, [Acceptance::Replayed(id)]);
}

pub async fn keys_are_checked_within_a_batch(world: &World) {
    let batch = vec![
        keyed(world.email(), "key", "body"),
        keyed(world.email(), "key", "body"),
        keyed(world.email(), "key", "another body"),
        keyed(world.email(), "another key", "body"),
        unkeyed(world.email()),
    ];
    let ids: Vec<_> = batch.iter().map(|submission| submission.notification.id).collect();
    let expected = [
        Acceptance::Accepted(ids[0]),
        Acceptance::Replayed(ids[0]),
        Acceptance::Mismatched,
        Acceptance::Accepted(ids[3]),
        Acceptance::Accepted(ids[4]),
    ];
    assert_eq!(world.submit(batch).await, expected);
    assert_eq!(stored(world, TenantId::DEFAULT).await, 3);
}

pub async fn an_expired_key_counts_as_absent(world: &World) {
    let first = keyed(world.email(), "key", "body");
    let id = first.notification.id;
    world.submit(vec![first]).await;
    world.advance(DEFAULT_TTL.saturating_sub(Duration::from_millis(1)));
    assert_eq!(world.submit(vec![keyed(world.email(), "key", "body")]).await, [Acceptance::Replayed(id)]);
    world.tick();
    let anew = keyed(world.email(), "key", "another body");
    let new_id = anew.notification.id;
    assert_eq!(world.submit(vec![anew]).await, [Acceptance::Accepted(new_id)]);
    assert_eq!(world.submit(vec![keyed(world.email(), "key", "another body")]).await, [Acceptance::Replayed(new_id)]);
}

pub async fn tenants_do_not_share_keys(world: &World) {
    let other_tenant = world.tenant("other").await;
    for tenant in [TenantId::DEFAULT, other_tenant] {
        let submission = keyed(NewNotification { tenant, ..world.email() }, "key", "body");
        let id = submission.notification.id;
        assert_eq!(world.submit(vec![submission]).await, [Acceptance::Accepted(id)]);
        assert_eq!(stored(world, tenant).await, 1);
    }
}

pub async fn a_thousand_concurrent_requests_with_one_key_make_one_notification(world: &World) {
    let mut requests = JoinSet::new();
    for _ in 0..1_000 {
        let (store, submission) = (Arc::clone(&world.store), keyed(world.email(), "key", "body"));
        requests.spawn(async move { store.accept(vec![submission]).await.expect(ANSWERS) });
    }
    let answers: Vec<Acceptance> = requests.join_all().await.into_iter().flatten().collect();
    let accepted: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            Acceptance::Accepted(id) => Some(*id),
            Acceptance::Delivered(_) | Acceptance::Replayed(_) | Acceptance::Mismatched => None,
        })
        .collect();
    assert_eq!(accepted.len(), 1, "one of {} is accepted", answers.len());
    let replays = answers.iter().filter(|answer| **answer == Acceptance::Replayed(accepted[0]));
    assert_eq!(replays.count(), 999);
    assert_eq!(stored(world, TenantId::DEFAULT).await, 1);
}

pub async fn an_inbox_can_be_written_with_the_acceptance(world: &World) {
    let user = sample::TESTUSER;
    let created = world.store.create_user(sample::user(user, "testuser", world.now())).await.expect(ANSWERS);
    assert_eq!(created, Ok(()));
    let at_once =
        |notification| Submission { at_once: Some(appended(world.now())), ..keyed(notification, "key", "body") };
    let (first, second) = (world.in_app(user), world.in_app(user));
    let (id, accepted_at) = (first.id, first.accepted_at);
    assert_eq!(
        world.submit(vec![at_once(first), at_once(second)]).await,
        [Acceptance::Delivered(id), Acceptance::Replayed(id)]
    );

    let record = world.store.record(TenantId::DEFAULT, id).await.expect(ANSWERS).expect("it is stored");
    let Summary { state, attempts, finished_at, .. } = record.summary;
    assert_eq!((state, attempts, finished_at), (State::Delivered, 1, Some(accepted_at)));
    let events: Vec<Event> = record.journal.iter().map(|entry| entry.event).collect();
    assert_eq!(events, [Event::Accepted, Event::Delivered]);
    assert!(record.journal[1].attempt.is_some());
    let range = InboxRange::After(0);
    let inbox = world.store.read_inbox(TenantId::DEFAULT, user, range, 10).await.expect(ANSWERS);
    assert_eq!(inbox.entries.iter().map(|entry| (entry.number, entry.id)).collect::<Vec<_>>(), [(1, id)]);
    assert_eq!(inbox.head.unread, 1);
    assert!(world.claim_all().await.is_empty(), "there is no job");
}

pub async fn the_inbox_of_a_deleted_user_is_not_written_with_the_acceptance(world: &World) {
    let gone = world.in_app(sample::TESTUSER);
    let id = gone.id;
    let submission = Submission { at_once: Some(appended(world.now())), ..unkeyed(gone) };
    assert_eq!(world.submit(vec![submission]).await, [Acceptance::Accepted(id)]);
    assert_eq!(world.claim_all().await.len(), 1, "who works on it finds that its user is gone");
}

pub async fn a_batch_that_fails_stores_nothing(world: &World) {
    let taken = world.email();
    world.accept(taken.clone()).await;
    let (before, after) = (keyed(world.email(), "key", "body"), unkeyed(world.email()));
    let (before_id, after_id) = (before.notification.id, after.notification.id);
    let result = world.store.accept(vec![before, unkeyed(taken), after]).await;
    assert!(result.is_err(), "an id cannot be stored twice");
    assert_eq!(stored(world, TenantId::DEFAULT).await, 1);
    for id in [before_id, after_id] {
        assert_eq!(world.find(TenantId::DEFAULT, id).await, None);
    }
    assert_eq!(world.claim_all().await.len(), 1);
    let anew = keyed(world.email(), "key", "another body");
    let id = anew.notification.id;
    assert_eq!(world.submit(vec![anew]).await, [Acceptance::Accepted(id)], "nor was its key");
}

pub async fn asking_what_a_key_would_answer_stores_nothing(world: &World) {
    let replay = async |body: &str| {
        let key = sample::idempotency(TenantId::DEFAULT, "key", body, world.now());
        world.store.replay(&key, world.now()).await.expect(ANSWERS)
    };
    assert_eq!(replay("body").await, None);
    assert_eq!(replay("body").await, None, "asking made it known");
    let first = keyed(world.email(), "key", "body");
    let id = first.notification.id;
    world.submit(vec![first]).await;
    assert_eq!(replay("body").await, Some(Acceptance::Replayed(id)));
    assert_eq!(replay("another body").await, Some(Acceptance::Mismatched));
    world.advance(DEFAULT_TTL);
    assert_eq!(replay("body").await, None, "the key has expired");
}
