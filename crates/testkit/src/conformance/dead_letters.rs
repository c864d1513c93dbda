//! What every [`DeadLetters`](tidings_core::ports::DeadLetters) has to do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::{MessageId, TenantId};
use tidings_core::journal::Event;
use tidings_core::notification::{Content, NewNotification, Priority, TraceContext};
use tidings_core::ports::dead_letters::{DeadLetter, DeadLetterQuery, Review, ReviewStatus, Reviewed};
use tidings_core::ports::jobs::{Settled, Settlement};
use tidings_core::time::Timestamp;
use tokio::task::JoinSet;

use super::world::{ANSWERS, World};
use crate::sample::{self, TESTUSER, USER1};

async fn review(world: &World, id: MessageId, review: Review) -> Option<Reviewed> {
    world.store.review(TenantId::DEFAULT, id, review, world.now()).await.expect(ANSWERS)
}

/// Reviews a dead letter that is open.
async fn decide(world: &World, id: MessageId, decision: Review) -> DeadLetter {
    match review(world, id, decision).await {
        Some(Reviewed::Done(letter)) => *letter,
        other => unreachable!("the dead letter is open, but the answer was {other:?}"),
    }
}

fn discard() -> Review {
    Review::Discard { note: None }
}

fn note(text: &str, status: Option<ReviewStatus>) -> Review {
    Review::Note { note: Some(text.to_owned()), status }
}

/// The notification that sends a dead letter anew.
fn replacement(world: &World, letter: &DeadLetter) -> NewNotification {
    NewNotification { redrive_of: Some(letter.id), redrives: letter.redrives + 1, ..world.email() }
}

async fn pages(world: &World, tenant: TenantId, query: DeadLetterQuery, limit: usize) -> Vec<MessageId> {
    let mut query = DeadLetterQuery { limit, ..query };
    let mut found = Vec::new();
    loop {
        let page = world.store.list_dead_letters(tenant, query.clone()).await.expect(ANSWERS);
        assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|letter| letter.id));
        query.before = page.next;
        if page.next.is_none() {
            return found;
        }
    }
}

/// Makes a dead letter that is redriven by itself at an instant.
async fn dead_until(world: &World, redrive_at: Option<Timestamp>) -> MessageId {
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    let event = sample::attempted(1, Verdict::Reject, world.now());
    let settlement = Settlement { redrive_at, ..sample::settlement(&job, event, world.now()) };
    assert_eq!(world.settle(settlement).await, Settled::Done);
    id
}

pub async fn a_dead_letter_tells_what_is_known(world: &World) {
    let given = NewNotification {
        category: "otp".to_owned(),
        priority: Priority::High,
        content: Content { payload: r#"{"a":1}"#.to_owned(), metadata: Some(r#"{"b":2}"#.to_owned()) },
        context: TraceContext { correlation_id: "c-1".to_owned(), traceparent: Some("t-1".to_owned()) },
        redrive_of: Some(world.id()),
        redrives: 2,
        ..world.email()
    };
    let id = world.attempt(given.clone(), Verdict::Reject).await;
    let expected = DeadLetter {
        id,
        tenant: given.tenant,
        user: given.user,
        channel: given.channel,
        category: given.category,
        priority: given.priority,
        context: given.context,
        content: Some(given.content),
        error: "said the provider".to_owned(),
        attempts: 1,
        accepted_at: given.accepted_at,
        died_at: world.now(),
        review_status: ReviewStatus::Pending,
        note: None,
        redrives: 2,
        next_redrive_at: None,
        redriven_as: None,
    };
    assert_eq!(world.letter(id).await, expected);
    let query = DeadLetterQuery { limit: 1, ..DeadLetterQuery::default() };
    let page = world.store.list_dead_letters(TenantId::DEFAULT, query).await.expect(ANSWERS);
    assert_eq!(page.items, [expected]);
}

pub async fn another_tenant_has_no_dead_letters(world: &World) {
    let tenant = world.tenant("other").await;
    let id = world.dead().await;
    let before = world.letter(id).await;
    assert_eq!(world.store.dead_letter(tenant, id).await.expect(ANSWERS), None);
    assert!(pages(world, tenant, DeadLetterQuery::default(), 10).await.is_empty());
    for decision in [discard(), note("mine?", None), Review::Redrive(Box::new(replacement(world, &before)))] {
        let reviewed = world.store.review(tenant, id, decision, world.now()).await.expect(ANSWERS);
        assert_eq!(reviewed, None);
    }
    assert_eq!(world.letter(id).await, before);
    assert!(world.claim_all().await.is_empty(), "nothing was sent anew");
    let alive = world.accept_email().await;
    assert_eq!(review(world, alive, discard()).await, None, "it is no dead letter");
}

pub async fn a_note_leaves_it_open(world: &World) {
    let id = world.dead().await;
    let letter = decide(world, id, note("looking", Some(ReviewStatus::Reviewing))).await;
    assert_eq!((letter.review_status, letter.note.as_deref()), (ReviewStatus::Reviewing, Some("looking")));
    let letter = decide(world, id, note("still looking", None)).await;
    assert_eq!((letter.review_status, letter.note.as_deref()), (ReviewStatus::Reviewing, Some("still looking")));
    let letter = decide(world, id, Review::Note { note: None, status: Some(ReviewStatus::Pending) }).await;
    assert_eq!(letter.review_status, ReviewStatus::Pending);
    assert_eq!(world.letter(id).await, letter);
    assert_eq!(world.record(id).await.summary.state, State::Dead);
}

pub async fn a_discarded_dead_letter_is_closed(world: &World) {
    let id = dead_until(world, Some(world.now())).await;
    let before = world.record(id).await;
    world.tick();
    let letter = decide(world, id, Review::Discard { note: Some("spam".to_owned()) }).await;
    assert_eq!((letter.review_status, letter.note.as_deref()), (ReviewStatus::Discarded, Some("spam")));
    assert_eq!(letter.next_redrive_at, None);
    assert_eq!(world.letter(id).await, letter);
    let after = world.record(id).await;
    assert_eq!(after.summary, before.summary, "it stays as it ended");
    let last = after.journal.last().map(|entry| (entry.event, entry.at));
    assert_eq!(last, Some((Event::Discarded, world.now())));
    let redrive = Review::Redrive(Box::new(replacement(world, &letter)));
    for decision in [note("too late", Some(ReviewStatus::Pending)), discard(), redrive] {
        assert_eq!(review(world, id, decision).await, Some(Reviewed::Closed(ReviewStatus::Discarded)));
    }
    assert_eq!(world.letter(id).await, letter);
    assert_eq!(world.record(id).await, after);
    assert!(world.claim_all().await.is_empty());
}

pub async fn a_redrive_stores_the_new_notification_and_closes(world: &World) {
    let id = dead_until(world, Some(world.now())).await;
    let before = world.record(id).await;
    world.tick();
    let anew = replacement(world, &world.letter(id).await);
    let letter = decide(world, id, Review::Redrive(Box::new(anew.clone()))).await;
    assert_eq!((letter.review_status, letter.redriven_as), (ReviewStatus::Redriven, Some(anew.id)));
    assert_eq!(letter.next_redrive_at, None);
    let after = world.record(id).await;
    assert_eq!(after.summary, before.summary, "it stays as it ended");
    let last = after.journal.last().expect("it was accepted at least");
    assert_eq!((last.event, last.at), (Event::Redriven, world.now()));
    assert!(last.detail.as_ref().is_some_and(|detail| detail.contains(&anew.id.to_string())));
    assert_eq!(world.record(anew.id).await.summary.redrive_of, Some(id));
    let job = world.claim_one().await;
    assert_eq!(job.notification, anew);
    world.attempted(&job, Verdict::Reject).await;
    assert_eq!(world.letter(anew.id).await.redrives, 1, "the chain goes on");
    assert_eq!(review(world, id, discard()).await, Some(Reviewed::Closed(ReviewStatus::Redriven)));
}

pub async fn of_two_decisions_one_finds_it_closed(world: &World) {
    for _ in 0..20 {
        let id = world.dead().await;
        let letter = world.letter(id).await;
        let mut deciding = JoinSet::new();
        for number in 0..8 {
            let anew = replacement(world, &letter);
            let decision = if number % 2 == 0 { Review::Redrive(Box::new(anew)) } else { discard() };
            let (store, now) = (Arc::clone(&world.store), world.now());
            deciding.spawn(async move { store.review(TenantId::DEFAULT, id, decision, now).await.expect(ANSWERS) });
        }
        let answers = deciding.join_all().await;
        let done = answers.iter().filter(|answer| matches!(answer, Some(Reviewed::Done(_)))).count();
        let closed = answers.iter().filter(|answer| matches!(answer, Some(Reviewed::Closed(_)))).count();
        assert_eq!((done, closed), (1, 7));
        let redriven = world.letter(id).await.redriven_as;
        let jobs = world.claim_all().await;
        assert_eq!(jobs.iter().map(|job| job.lease.id).collect::<Vec<MessageId>>(), Vec::from_iter(redriven));
        for job in jobs {
            world.attempted(&job, Verdict::Delivered).await;
        }
    }
}

pub async fn each_filter_selects_dead_letters(world: &World) {
    let plain = world.dead().await;
    let plain_died_at = world.now();
    world.advance(Duration::from_secs(1));
    let other = NewNotification { user: Some(USER1), category: "otp".to_owned(), ..world.webhook("https://a:443") };
    let other = world.attempt(other, Verdict::Reject).await;
    let other_died_at = world.now();
    world.advance(Duration::from_secs(1));
    let own = world.attempt(sample::system(world.id(), world.now()), Verdict::Reject).await;
    decide(world, other, discard()).await;
    let any = DeadLetterQuery::default;
    for (query, expected) in [
        (any(), vec![plain, other, own]),
        (DeadLetterQuery { user: Some(TESTUSER), ..any() }, vec![plain]),
        (DeadLetterQuery { channel: Some("webhook".to_owned()), ..any() }, vec![other, own]),
        (DeadLetterQuery { category: Some("otp".to_owned()), ..any() }, vec![other]),
        (DeadLetterQuery { review_status: Some(ReviewStatus::Discarded), ..any() }, vec![other]),
        (DeadLetterQuery { review_status: Some(ReviewStatus::Pending), ..any() }, vec![plain, own]),
        (DeadLetterQuery { review_status: Some(ReviewStatus::Redriven), ..any() }, Vec::new()),
        (DeadLetterQuery { error_contains: Some("the prov".to_owned()), ..any() }, vec![plain, other, own]),
        (DeadLetterQuery { error_contains: Some("100%".to_owned()), ..any() }, Vec::new()),
        (DeadLetterQuery { error_contains: Some("%".to_owned()), ..any() }, Vec::new()),
        (DeadLetterQuery { from: Some(other_died_at), ..any() }, vec![other, own]),
        (DeadLetterQuery { until: Some(other_died_at), ..any() }, vec![plain]),
        (DeadLetterQuery { from: Some(plain_died_at), until: Some(other_died_at), ..any() }, vec![plain]),
        (DeadLetterQuery { before: Some(other), ..any() }, vec![plain]),
    ] {
        let found: BTreeSet<MessageId> =
            pages(world, TenantId::DEFAULT, query.clone(), 100).await.into_iter().collect();
        let expected: BTreeSet<MessageId> = expected.into_iter().collect();
        assert_eq!(found, expected, "{query:?}");
    }
}

pub async fn dead_letters_are_paged_from_new_to_old(world: &World) {
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.insert(0, world.dead().await);
    }
    for limit in [1, 3, 7, 8] {
        let found = pages(world, TenantId::DEFAULT, DeadLetterQuery::default(), limit).await;
        assert_eq!(found, expected, "by {limit}");
    }
}

pub async fn open_ones_are_due_to_be_redriven_in_their_order(world: &World) {
    let start = world.now();
    let in_seconds = |seconds| Some(start + Duration::from_secs(seconds));
    let third = dead_until(world, in_seconds(30)).await;
    let first = dead_until(world, in_seconds(10)).await;
    let second = dead_until(world, in_seconds(20)).await;
    let (discarded, redriven) = (dead_until(world, in_seconds(5)).await, dead_until(world, in_seconds(5)).await);
    dead_until(world, None).await;
    decide(world, discarded, discard()).await;
    let anew = replacement(world, &world.letter(redriven).await);
    decide(world, redriven, Review::Redrive(Box::new(anew))).await;
    decide(world, first, note("looking", Some(ReviewStatus::Reviewing))).await;
    let due = async |seconds: u64, limit: usize| -> Vec<MessageId> {
        let letters = world.store.due_redrives(start + Duration::from_secs(seconds), limit).await.expect(ANSWERS);
        letters.iter().map(|letter| letter.id).collect()
    };
    assert!(due(9, 10).await.is_empty());
    assert_eq!(due(10, 10).await, [first]);
    assert_eq!(due(60, 2).await, [first, second]);
    assert_eq!(due(60, 10).await, [first, second, third]);
    let whole = world.store.due_redrives(start + Duration::from_mins(1), 1).await.expect(ANSWERS);
    assert_eq!(whole, [world.letter(first).await]);
}
