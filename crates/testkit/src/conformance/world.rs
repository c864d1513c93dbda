//! The verbs that cases share.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{Event, Verdict};
use tidings_core::fairness::{Lane, QueueKey};
use tidings_core::id::{BootId, IdGen, MessageId, MonotonicIds, TenantId, UserId};
use tidings_core::notification::{NewNotification, Record};
use tidings_core::ports::Store;
use tidings_core::ports::dead_letters::DeadLetter;
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::ports::jobs::{Claim, Job, Settled, Settlement};
use tidings_core::ports::streams::{InboxPage, InboxRange};
use tidings_core::time::{Clock, Timestamp};
use uuid::Uuid;

use crate::clock::ManualClock;
use crate::sample::{self, TESTUSER};

/// How long a lease lasts in these cases.
pub(super) const LEASE: Duration = Duration::from_secs(40);

/// The process that claims unless a case says otherwise.
pub(super) const OWNER: BootId = BootId(Uuid::from_u128(1));
/// Another process.
pub(super) const RIVAL: BootId = BootId(Uuid::from_u128(2));

/// What is said when a store fails in a case in which it has no reason to.
pub(super) const ANSWERS: &str = "the store answers";

/// A store, a clock that stands still, and ids.
pub struct World {
    pub(super) store: Arc<dyn Store>,
    clock: ManualClock,
    ids: MonotonicIds,
}

impl World {
    /// The world around an empty store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, clock: ManualClock::default(), ids: MonotonicIds::default() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the present forward.
    pub(super) fn advance(&self, by: Duration) -> Timestamp {
        self.clock.advance(by)
    }

    /// Moves the present forward by a millisecond, so that what comes next is later than what came before.
    pub(super) fn tick(&self) -> Timestamp {
        self.advance(Duration::from_millis(1))
    }

    pub(super) fn id(&self) -> MessageId {
        self.ids.next(self.now())
    }

    /// An e-mail that is due now, not stored yet.
    pub(super) fn email(&self) -> NewNotification {
        sample::email(self.id(), self.now())
    }

    /// A webhook to a host that is due now, not stored yet.
    pub(super) fn webhook(&self, target: &str) -> NewNotification {
        sample::webhook(self.id(), target, self.now())
    }

    /// An inbox entry that is due now, not stored yet.
    pub(super) fn in_app(&self, user: UserId) -> NewNotification {
        sample::in_app(self.id(), user, self.now())
    }

    pub(super) async fn tenant(&self, name: &str) -> TenantId {
        self.store.tenant(name, self.now()).await.expect(ANSWERS)
    }

    /// Stores submissions.
    pub(super) async fn submit(&self, batch: Vec<Submission>) -> Vec<Acceptance> {
        self.store.accept(batch).await.expect(ANSWERS)
    }

    /// Stores a notification without a key.
    pub(super) async fn accept(&self, notification: NewNotification) -> MessageId {
        let id = notification.id;
        assert_eq!(self.submit(vec![sample::unkeyed(notification)]).await, [Acceptance::Accepted(id)]);
        id
    }

    /// Stores an e-mail that is due now.
    pub(super) async fn accept_email(&self) -> MessageId {
        self.accept(self.email()).await
    }

    pub(super) fn claim_of(&self, lanes: Vec<(Lane, usize)>) -> Claim {
        Claim { owner: OWNER, now: self.now(), lease: LEASE, lanes }
    }

    /// Claims up to `count` jobs of a lane.
    pub(super) async fn claim(&self, lane: Lane, count: usize) -> Vec<Job> {
        self.store.claim(self.claim_of(vec![(lane, count)])).await.expect(ANSWERS)
    }

    /// Claims everything that is due.
    pub(super) async fn claim_all(&self) -> Vec<Job> {
        let ready = self.store.ready(self.now(), 1_000, 1_000).await.expect(ANSWERS);
        self.store.claim(self.claim_of(ready.lanes)).await.expect(ANSWERS)
    }

    /// Claims everything that is due, which is one job.
    pub(super) async fn claim_one(&self) -> Job {
        only(self.claim_all().await)
    }

    pub(super) async fn settle(&self, settlement: Settlement) -> Settled {
        only(self.store.settle(vec![settlement]).await.expect(ANSWERS))
    }

    /// Settles a claim with what became of its attempt, under the default policy.
    pub(super) async fn attempted(&self, job: &Job, verdict: Verdict) -> Settled {
        let event = sample::attempted(job.delivery.attempts, verdict, self.now());
        self.happened(job, event).await
    }

    /// Settles a claim with something else that happened.
    pub(super) async fn happened(&self, job: &Job, event: Event) -> Settled {
        self.settle(sample::settlement(job, event, self.now())).await
    }

    /// Stores a notification, which must be the only one that is due, and takes it to the end of one attempt.
    pub(super) async fn attempt(&self, notification: NewNotification, verdict: Verdict) -> MessageId {
        let id = self.accept(notification).await;
        let job = self.claim_one().await;
        assert_eq!(job.lease.id, id);
        self.tick();
        assert_eq!(self.attempted(&job, verdict).await, Settled::Done);
        id
    }

    /// Takes an entry into the inbox of a user.
    pub(super) async fn told(&self, user: UserId) -> MessageId {
        self.attempt(self.in_app(user), Verdict::Delivered).await
    }

    /// Takes an e-mail to its end as a dead letter.
    pub(super) async fn dead(&self) -> MessageId {
        self.attempt(self.email(), Verdict::Reject).await
    }

    pub(super) async fn find(&self, tenant: TenantId, id: MessageId) -> Option<Record> {
        self.store.record(tenant, id).await.expect(ANSWERS)
    }

    /// A notification of the default tenant.
    pub(super) async fn record(&self, id: MessageId) -> Record {
        self.find(TenantId::DEFAULT, id).await.expect("the notification is stored")
    }

    pub(super) async fn find_letter(&self, id: MessageId) -> Option<DeadLetter> {
        self.store.dead_letter(TenantId::DEFAULT, id).await.expect(ANSWERS)
    }

    pub(super) async fn letter(&self, id: MessageId) -> DeadLetter {
        self.find_letter(id).await.expect("the dead letter exists")
    }

    /// The inbox of a user of the default tenant, from its beginning.
    pub(super) async fn inbox(&self, user: UserId) -> InboxPage {
        let all = InboxRange::After(0);
        self.store.read_inbox(TenantId::DEFAULT, user, all, 10_000).await.expect(ANSWERS)
    }

    /// Creates the users that notifications go to in these cases.
    pub(super) async fn create_users(&self) {
        for user in sample::seed_users(self.now()) {
            assert_eq!(self.store.create_user(user).await.expect(ANSWERS), Ok(()));
        }
    }

    /// Deletes the first user.
    pub(super) async fn delete_testuser(&self) {
        assert!(self.store.delete_user(TenantId::DEFAULT, TESTUSER, self.now()).await.expect(ANSWERS));
    }
}

/// The lane of a notification.
pub(super) fn lane(notification: &NewNotification) -> Lane {
    let queue = QueueKey { tenant: notification.tenant, destination: notification.destination.clone() };
    Lane { queue, priority: notification.priority }
}

/// The item of a list that has one.
pub(super) fn only<T>(items: Vec<T>) -> T {
    assert_eq!(items.len(), 1, "there is one");
    items.into_iter().next().expect("it was counted")
}

/// The ids of jobs.
pub(super) fn ids(jobs: &[Job]) -> Vec<MessageId> {
    jobs.iter().map(|job| job.lease.id).collect()
}
