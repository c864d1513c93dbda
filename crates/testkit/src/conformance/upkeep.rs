//! What every [`Upkeep`](tidings_core::ports::Upkeep) has to do for health and for those who have left.

use std::time::Duration;

use tidings_core::delivery::{State, Verdict};
use tidings_core::id::{TenantId, UserId};
use tidings_core::journal::Event;
use tidings_core::notification::{Content, NewNotification, Record};
use tidings_core::ports::dead_letters::{Review, ReviewStatus};
use tidings_core::ports::jobs::{Settled, Settlement};
use tidings_core::ports::streams::InboxPage;
use tidings_core::ports::upkeep::Stats;

use super::world::{ANSWERS, World};
use crate::sample::{self, TESTUSER, USER1};

async fn stats(world: &World) -> Stats {
    let stats = world.store.stats().await.expect(ANSWERS);
    Stats { size_bytes: 0, waiting_writes: 0, ..stats }
}

async fn erase(world: &World, user: UserId, batch: usize) -> bool {
    world.store.erase(TenantId::DEFAULT, user, world.now(), batch).await.expect(ANSWERS)
}

/// Deletes the first user and erases what was theirs.
async fn forget_testuser(world: &World) {
    world.delete_testuser().await;
    assert!(erase(world, TESTUSER, 1_000).await);
    assert!(world.store.pending_erasures(10).await.expect(ANSWERS).is_empty());
}

/// Asserts that nothing is left of what was told and of what providers said.
fn assert_erased(record: &Record) {
    let id = record.summary.id;
    assert_eq!(record.content, None, "the content of {id}");
    let said = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("said the provider"));
    assert!(!said(&record.summary.error), "the error of {id}");
    for entry in &record.journal {
        let message = entry.attempt.as_ref().and_then(|attempt| attempt.message.as_ref());
        assert_eq!(message, None, "an attempt of {id}");
        assert!(!said(&entry.detail), "an entry of {id}");
    }
    assert_eq!(record.journal.last().map(|entry| entry.event), Some(Event::Erased));
}

pub async fn a_store_that_lives_answers_a_ping(world: &World) {
    world.store.ping().await.expect(ANSWERS);
}

pub async fn stats_count_what_is_there(world: &World) {
    assert_eq!(stats(world).await, Stats::default());
    let first_due = world.now();
    for _ in 0..3 {
        world.accept_email().await;
        world.tick();
    }
    let expected = Stats { queued: 3, oldest_due: Some(first_due), ..Stats::default() };
    assert_eq!(stats(world).await, expected);
    let jobs = world.claim_all().await;
    assert_eq!(stats(world).await, Stats { leased: 3, ..Stats::default() });
    world.attempted(&jobs[0], Verdict::Delivered).await;
    let first_died = world.tick();
    world.attempted(&jobs[1], Verdict::Reject).await;
    let second_died = world.tick();
    world.attempted(&jobs[2], Verdict::Reject).await;
    let letters =
        |pending, oldest| Stats { dead_letters_pending: pending, oldest_dead_letter: oldest, ..Stats::default() };
    assert_eq!(stats(world).await, letters(2, Some(first_died)));
    for (job, left) in [(&jobs[1], letters(1, Some(second_died))), (&jobs[2], letters(0, None))] {
        let discard = Review::Discard { note: None };
        world.store.review(TenantId::DEFAULT, job.lease.id, discard, world.now()).await.expect(ANSWERS);
        assert_eq!(stats(world).await, left);
    }
}

pub async fn stats_count_the_dead_letters_that_nobody_has_decided_about(world: &World) {
    let pending = async || stats(world).await.dead_letters_pending;
    let id = world.dead().await;
    let (reviewing, back) = (ReviewStatus::Reviewing, ReviewStatus::Pending);
    for (status, expected) in [(None, 1), (Some(reviewing), 0), (Some(reviewing), 0), (Some(back), 1), (Some(back), 1)]
    {
        let note = Review::Note { note: Some("seen".to_owned()), status };
        world.store.review(TenantId::DEFAULT, id, note, world.now()).await.expect(ANSWERS);
        assert_eq!(pending().await, expected, "{status:?}");
    }
    let anew = NewNotification { redrive_of: Some(id), redrives: 1, ..world.email() };
    let redrive = Review::Redrive(Box::new(anew));
    world.store.review(TenantId::DEFAULT, id, redrive, world.now()).await.expect(ANSWERS);
    assert_eq!(pending().await, 0);
}

pub async fn an_erasure_takes_content_inbox_and_what_providers_said(world: &World) {
    world.create_users().await;
    let content = Content { payload: r#"{"a":1}"#.to_owned(), metadata: Some(r#"{"b":2}"#.to_owned()) };
    let delivered = world.attempt(NewNotification { content, ..world.email() }, Verdict::Delivered).await;
    let told = world.told(TESTUSER).await;
    let dead = world.dead().await;
    world.tick();
    forget_testuser(world).await;
    for (id, state) in [(delivered, State::Delivered), (told, State::Delivered), (dead, State::Dead)] {
        let record = world.record(id).await;
        assert_eq!(record.summary.state, state, "what happened stays");
        assert_erased(&record);
    }
    assert_eq!(world.inbox(TESTUSER).await, InboxPage::default());
}

pub async fn an_erasure_ends_what_waits_and_what_is_being_sent(world: &World) {
    world.create_users().await;
    let sending = world.accept(world.in_app(TESTUSER)).await;
    let job = world.claim_one().await;
    let waiting = world.accept_email().await;
    let scheduled =
        world.accept(NewNotification { due_at: world.now() + Duration::from_hours(1), ..world.email() }).await;
    forget_testuser(world).await;
    for id in [sending, waiting, scheduled] {
        let record = world.record(id).await;
        assert_eq!((record.summary.state, record.summary.finished_at), (State::Cancelled, Some(world.now())));
        assert_erased(&record);
    }
    let before = world.record(sending).await;
    let event = sample::attempted(1, Verdict::Delivered, world.now());
    let late = sample::settlement(&job, event, world.now());
    assert_eq!(world.settle(Settlement { to_inbox: true, ..late }).await, Settled::Stale);
    assert_eq!(world.record(sending).await, before);
    assert_eq!(world.inbox(TESTUSER).await, InboxPage::default());
    world.advance(Duration::from_hours(2));
    assert!(world.claim_all().await.is_empty());
    assert_eq!(stats(world).await, Stats::default());
}

pub async fn an_erased_dead_letter_is_not_redriven_by_itself(world: &World) {
    world.create_users().await;
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    let event = sample::attempted(1, Verdict::Reject, world.now());
    let settlement = sample::settlement(&job, event, world.now());
    world.settle(Settlement { redrive_at: Some(world.now()), ..settlement }).await;
    assert_eq!(world.store.due_redrives(world.now(), 10).await.expect(ANSWERS).len(), 1);
    forget_testuser(world).await;
    assert!(world.store.due_redrives(world.now(), 10).await.expect(ANSWERS).is_empty());
    let letter = world.letter(id).await;
    assert_eq!((letter.content, letter.next_redrive_at), (None, None));
    assert!(!letter.error.contains("said the provider"));
}

pub async fn an_erasure_goes_on_where_it_was_interrupted(world: &World) {
    world.create_users().await;
    let mut theirs = Vec::new();
    for _ in 0..10 {
        theirs.push(world.accept_email().await);
    }
    world.delete_testuser().await;
    assert!(!erase(world, TESTUSER, 4).await);
    let pending = world.store.pending_erasures(10).await.expect(ANSWERS);
    assert_eq!(pending, [(TenantId::DEFAULT, TESTUSER)], "somebody else can go on");
    let mut steps = 1;
    while !erase(world, TESTUSER, 4).await {
        steps += 1;
        assert!(steps < 100, "an erasure comes to its end");
    }
    assert!(world.store.pending_erasures(10).await.expect(ANSWERS).is_empty());
    for id in theirs {
        let record = world.record(id).await;
        assert_erased(&record);
        let erased = record.journal.iter().filter(|entry| entry.event == Event::Erased).count();
        assert_eq!(erased, 1, "no step was done twice");
    }
}

pub async fn an_erasure_leaves_others_alone(world: &World) {
    world.create_users().await;
    let tenant = world.tenant("other").await;
    let other_user = world.told(USER1).await;
    let other_tenant = world.accept(NewNotification { tenant, ..world.email() }).await;
    let own = world.accept(sample::system(world.id(), world.now())).await;
    let before = [
        world.find(TenantId::DEFAULT, other_user).await,
        world.find(tenant, other_tenant).await,
        world.find(TenantId::DEFAULT, own).await,
    ];
    let inbox = world.inbox(USER1).await;
    forget_testuser(world).await;
    let after = [
        world.find(TenantId::DEFAULT, other_user).await,
        world.find(tenant, other_tenant).await,
        world.find(TenantId::DEFAULT, own).await,
    ];
    assert_eq!(after, before);
    assert_eq!(world.inbox(USER1).await, inbox);
    assert_eq!(world.claim_all().await.len(), 2);
}

pub async fn there_is_nothing_to_erase_of_who_was_not_deleted(world: &World) {
    world.create_users().await;
    let id = world.accept_email().await;
    let before = world.record(id).await;
    assert!(erase(world, TESTUSER, 10).await);
    assert_eq!(world.record(id).await, before);
}
