//! What every [`Jobs`](tidings_core::ports::Jobs) has to do before a claim is settled.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{Delivery, Event, State, Verdict};
use tidings_core::fairness::Lane;
use tidings_core::id::MessageId;
use tidings_core::journal::Event as JournalEvent;
use tidings_core::notification::{Content, NewNotification, Priority};
use tidings_core::ports::jobs::{Claim, Job, Lost, LostBy, Ready, Settled};
use tokio::task::JoinSet;

use super::world::{ANSWERS, LEASE, OWNER, RIVAL, World, ids, lane, only};
use crate::sample;

async fn ready(world: &World, limit: usize, depth: usize) -> Ready {
    world.store.ready(world.now(), limit, depth).await.expect(ANSWERS)
}

async fn lost(world: &World, by: LostBy) -> Vec<Lost> {
    world.store.lost(by, None, 1_000).await.expect(ANSWERS)
}

pub async fn what_is_stored_is_ready_at_once(world: &World) {
    assert_eq!(ready(world, 10, 10).await, Ready::default());
    let notification = world.email();
    let expected = Ready { lanes: vec![(lane(&notification), 1)], next_due: None };
    world.accept(notification).await;
    assert_eq!(ready(world, 10, 10).await, expected);
    world.claim_one().await;
    assert_eq!(ready(world, 10, 10).await, Ready::default(), "it is claimed");
}

pub async fn what_is_scheduled_is_announced_and_ready_in_time(world: &World) {
    let in_a_minute = world.now() + Duration::from_mins(1);
    let in_an_hour = world.now() + Duration::from_hours(1);
    let late = NewNotification { due_at: in_an_hour, ..world.webhook("https://late.example:443") };
    let soon = NewNotification { due_at: in_a_minute, ..world.email() };
    let soon_lane = lane(&soon);
    world.accept(late).await;
    world.accept(soon).await;
    assert_eq!(ready(world, 10, 10).await, Ready { lanes: Vec::new(), next_due: Some(in_a_minute) });
    world.advance(Duration::from_mins(1));
    assert_eq!(ready(world, 10, 10).await, Ready { lanes: vec![(soon_lane, 1)], next_due: Some(in_an_hour) });
}

pub async fn each_tenant_destination_and_priority_is_a_lane(world: &World) {
    let tenant = world.tenant("other").await;
    let mut expected = HashSet::new();
    for notification in [
        world.email(),
        NewNotification { tenant, ..world.email() },
        NewNotification { priority: Priority::Critical, ..world.email() },
        world.webhook("https://a.example:443"),
        world.webhook("https://b.example:443"),
    ] {
        expected.insert((lane(&notification), 2));
        world.accept(NewNotification { id: world.id(), ..notification.clone() }).await;
        world.accept(notification).await;
    }
    let found: HashSet<(Lane, usize)> = ready(world, 10, 10).await.lanes.into_iter().collect();
    assert_eq!(found, expected);
}

pub async fn the_longest_due_lanes_come_first_up_to_a_limit(world: &World) {
    let mut expected = Vec::new();
    for host in ["c", "a", "b"] {
        let notification = world.webhook(host);
        expected.push((lane(&notification), 1));
        world.accept(notification).await;
        world.tick();
    }
    assert_eq!(ready(world, 10, 10).await.lanes, expected);
    assert_eq!(ready(world, 2, 10).await.lanes, expected[..2]);
}

pub async fn no_tenant_channel_or_priority_is_hidden_by_many_lanes_of_another(world: &World) {
    for host in 0..20 {
        world.accept(world.webhook(&format!("host{host}"))).await;
        world.tick();
    }
    let tenant = world.tenant("other").await;
    let others = NewNotification { tenant, ..world.webhook("quiet") };
    let urgent = NewNotification { priority: Priority::Critical, ..world.webhook("urgent") };
    let mail = world.email();
    let expected = [lane(&others), lane(&urgent), lane(&mail)];
    for notification in [others, urgent, mail] {
        world.accept(notification).await;
    }
    let lanes: Vec<Lane> = ready(world, 4, 10).await.lanes.into_iter().map(|(lane, _)| lane).collect();
    assert_eq!(lanes.len(), 4);
    for lane in expected {
        assert!(lanes.contains(&lane), "{lane:?} is hidden in {lanes:?}");
    }
}

pub async fn counting_stops_at_the_depth(world: &World) {
    for _ in 0..5 {
        world.accept_email().await;
    }
    let counts = async |depth| only(ready(world, 10, depth).await.lanes).1;
    assert_eq!(counts(1).await, 1);
    assert_eq!(counts(3).await, 3);
    assert_eq!(counts(9).await, 5);
}

pub async fn the_longest_due_are_claimed_first_and_no_more_than_asked(world: &World) {
    let start = world.now();
    let due_in = |millis: u64| NewNotification { due_at: start + Duration::from_millis(millis), ..world.email() };
    let (third, first, second) = (due_in(3), due_in(1), due_in(2));
    let email = lane(&third);
    let expected = [first.id, second.id, third.id];
    for notification in [third, first, second] {
        world.accept(notification).await;
    }
    world.advance(Duration::from_millis(10));
    assert_eq!(ids(&world.claim(email.clone(), 2).await), expected[..2]);
    assert_eq!(ids(&world.claim(email.clone(), 2).await), expected[2..]);
    assert!(world.claim(email, 2).await.is_empty());
}

pub async fn a_claim_takes_from_all_its_lanes(world: &World) {
    let (email, webhook) = (world.email(), world.webhook("https://a.example:443"));
    let lanes = vec![(lane(&email), 1), (lane(&webhook), 1)];
    let expected = HashSet::from([email.id, webhook.id]);
    for notification in [email, webhook, world.email()] {
        world.accept(notification).await;
    }
    let jobs = world.store.claim(world.claim_of(lanes)).await.expect(ANSWERS);
    assert_eq!(ids(&jobs).into_iter().collect::<HashSet<MessageId>>(), expected);
}

pub async fn what_is_not_due_or_of_another_lane_is_not_claimed(world: &World) {
    let later = NewNotification { due_at: world.now() + Duration::from_secs(1), ..world.email() };
    let email = lane(&later);
    world.accept(later).await;
    assert!(world.claim(email.clone(), 10).await.is_empty(), "it is not due");
    world.advance(Duration::from_secs(1));
    let urgent = Lane { priority: Priority::Critical, ..email.clone() };
    let nowhere = lane(&world.webhook("https://nowhere.example:443"));
    for other in [urgent, nowhere] {
        assert!(world.claim(other, 10).await.is_empty(), "it is of another lane");
    }
    assert_eq!(world.claim(email, 10).await.len(), 1);
}

pub async fn a_claim_is_on_record_before_anything_is_sent(world: &World) {
    let id = world.accept_email().await;
    let job = world.claim_one().await;
    let record = world.record(id).await;
    assert_eq!((record.summary.state, record.summary.attempts), (State::Sending, 1));
    assert_eq!(record.journal.len(), 1, "an attempt is written down when it has ended");
    let expected = Delivery { state: State::Sending, attempts: 1, lost_leases: 0, expires_at: None };
    assert_eq!(job.delivery, expected);
    assert_eq!(job.lease.until, world.now() + LEASE);
    assert_eq!(lost(world, LostBy::OtherThan(RIVAL)).await.len(), 1, "crash recovery would find it");
}

pub async fn a_claimed_job_carries_its_notification_whole(world: &World) {
    let given = NewNotification {
        priority: Priority::High,
        content: Content { payload: r#"{"subject":"ä"}"#.to_owned(), metadata: Some(r#"{"order":17}"#.to_owned()) },
        expires_at: Some(world.now() + Duration::from_hours(1)),
        redrive_of: Some(world.id()),
        redrives: 2,
        ..world.email()
    };
    world.accept(given.clone()).await;
    let job = world.claim_one().await;
    assert_eq!(job.delivery.expires_at, given.expires_at);
    assert_eq!(job.notification, given);
}

pub async fn a_job_goes_to_one_of_many_claimers(world: &World) {
    let mut expected = HashSet::new();
    for _ in 0..200 {
        expected.insert(world.accept_email().await);
    }
    let email = lane(&world.email());
    let mut claimers = JoinSet::new();
    for _ in 0..20 {
        let store = Arc::clone(&world.store);
        let claim = world.claim_of(vec![(email.clone(), 7)]);
        claimers.spawn(async move {
            let mut claimed: Vec<MessageId> = Vec::new();
            loop {
                let jobs = store.claim(claim.clone()).await.expect(ANSWERS);
                if jobs.is_empty() {
                    return claimed;
                }
                claimed.extend(ids(&jobs));
            }
        });
    }
    let claimed: Vec<MessageId> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 200, "each is claimed once");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), expected);
}

pub async fn fences_grow_from_claim_to_claim(world: &World) {
    world.accept_email().await;
    let mut last = i64::MIN;
    for _ in 0..5 {
        let job = world.claim_one().await;
        assert!(job.lease.fence > last, "{} after {last}", job.lease.fence);
        last = job.lease.fence;
        assert_eq!(world.happened(&job, Event::Released).await, Settled::Done);
    }
}

pub async fn leases_are_lost_by_their_deadline(world: &World) {
    let notification = world.email();
    world.accept(notification.clone()).await;
    let job = world.claim_one().await;
    let before = job.lease.until - Duration::from_millis(1);
    assert!(lost(world, LostBy::Deadline(before)).await.is_empty());
    let lost = only(lost(world, LostBy::Deadline(job.lease.until)).await);
    assert_eq!((lost.lease, &lost.delivery), (job.lease, &job.delivery));
    let identity = |notification: &NewNotification| {
        (notification.id, notification.tenant, notification.user, notification.routing_key())
    };
    assert_eq!(identity(&lost.notification), identity(&notification));
    assert_ne!(lost.notification.content, notification.content, "content is not read for this");
}

pub async fn leases_are_lost_by_the_death_of_their_owner(world: &World) {
    let mine = world.accept_email().await;
    world.claim_one().await;
    let theirs = world.email();
    let their_claim = Claim { owner: RIVAL, ..world.claim_of(vec![(lane(&theirs), 1)]) };
    let their_id = world.accept(theirs).await;
    world.store.claim(their_claim).await.expect(ANSWERS);
    for (alive, expected) in [(OWNER, their_id), (RIVAL, mine)] {
        assert_eq!(only(lost(world, LostBy::OtherThan(alive)).await).lease.id, expected);
    }
}

pub async fn lost_leases_are_told_a_few_at_a_time(world: &World) {
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(world.accept_email().await);
    }
    world.claim_all().await;
    world.advance(LEASE);
    for by in [LostBy::OtherThan(RIVAL), LostBy::Deadline(world.now())] {
        let (mut told, mut after) = (Vec::new(), None);
        for page in [3, 2, 0] {
            let lost = world.store.lost(by, after, 3).await.expect(ANSWERS);
            assert_eq!(lost.len(), page);
            told.extend(lost.iter().map(|lost| lost.lease.id));
            after = told.last().copied();
        }
        assert_eq!(told, expected);
    }
}

pub async fn a_lost_lease_goes_to_another_claimer(world: &World) {
    let id = world.accept_email().await;
    let first: Job = world.claim_one().await;
    world.advance(LEASE);
    assert!(world.claim_all().await.is_empty(), "nobody has decided about the lost lease");
    let lost = only(lost(world, LostBy::Deadline(world.now())).await);
    assert_eq!(world.settle(sample::loss(&lost, world.now())).await, Settled::Done);
    let second = world.claim_one().await;
    assert!(second.lease.fence > first.lease.fence);
    assert_eq!((second.delivery.attempts, second.delivery.lost_leases), (2, 1));
    assert_eq!(world.attempted(&first, Verdict::Delivered).await, Settled::Stale);
    assert_eq!(world.attempted(&second, Verdict::Delivered).await, Settled::Done);
    let events: Vec<JournalEvent> = world.record(id).await.journal.iter().map(|entry| entry.event).collect();
    assert_eq!(events, [JournalEvent::Accepted, JournalEvent::LeaseLost, JournalEvent::Delivered]);
}
