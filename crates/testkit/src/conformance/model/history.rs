//! One long history of two stores.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::delivery::{Event, Verdict, appended};
use tidings_core::id::{BootId, IdGen, MessageId, MonotonicIds, TenantId, UserId};
use tidings_core::idempotency::Idempotency;
use tidings_core::notification::{NewNotification, Priority};
use tidings_core::ports::Store;
use tidings_core::ports::dead_letters::{DeadLetterQuery, Review, ReviewStatus};
use tidings_core::ports::history::Query;
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::ports::jobs::{Claim, Job, LostBy, Settlement};
use tidings_core::ports::streams::{InboxRange, Receipt, ReceiptFor};
use tidings_core::retention::{Policy, Span};
use tidings_core::time::{Clock, Timestamp};

use super::random::Random;
use super::sight;
use crate::clock::ManualClock;
use crate::conformance::world::{ANSWERS, LEASE, OWNER, RIVAL};
use crate::sample::{self, TESTUSER, USER1, USER2};
use crate::store::FakeStore;

const TENANT: TenantId = TenantId::DEFAULT;
const USERS: [UserId; 3] = [TESTUSER, USER1, USER2];
/// Short, so that keys expire within a chapter.
const KEY_TTL: Duration = Duration::from_secs(20);
/// Longer than everything is kept.
const PAUSE: Duration = Duration::from_hours(100 * 24);

/// Asks both stores the same, and gives both answers.
macro_rules! both {
    ($history:ident, $store:ident => $question:expr) => {{
        let $store = &$history.real;
        let real = $question.await.expect(ANSWERS);
        let $store = &$history.fake;
        let fake = $question.await.expect(ANSWERS);
        (real, fake)
    }};
}

/// One claim as both stores gave it. They differ in the fence.
#[derive(Clone)]
struct Claimed {
    real: Job,
    fake: Job,
}

pub(super) struct History {
    real: Arc<dyn Store>,
    fake: Arc<dyn Store>,
    clock: ManualClock,
    ids: MonotonicIds,
    random: Random,
    known: Vec<MessageId>,
    claimed: Vec<Claimed>,
    settled: Vec<Claimed>,
    seed: u64,
    steps: usize,
}

impl History {
    pub(super) async fn begin(real: Arc<dyn Store>) -> Self {
        let history = Self {
            real,
            fake: Arc::new(FakeStore::default()),
            clock: ManualClock::default(),
            ids: MonotonicIds::default(),
            random: Random::new(0),
            known: Vec::new(),
            claimed: Vec::new(),
            settled: Vec::new(),
            seed: 0,
            steps: 0,
        };
        for user in USERS {
            history.create(user).await;
        }
        history
    }

    pub(super) fn open_chapter(&mut self, seed: u64) {
        self.random = Random::new(seed);
        (self.seed, self.steps) = (seed, 0);
    }

    pub(super) async fn step(&mut self) {
        self.steps += 1;
        self.clock.advance(Duration::from_millis(1));
        match self.random.below(100) {
            0..28 => self.accept().await,
            28..50 => self.claim().await,
            50..70 => self.settle().await,
            70..74 => self.settle_again().await,
            74..79 => self.cancel().await,
            79..86 => self.acknowledge().await,
            86..91 => self.review().await,
            91..94 => self.lose().await,
            94..96 => self.erase().await,
            _ => {
                let pause = self.random.seconds(90);
                self.clock.advance(pause);
            }
        }
    }

    /// A long pause, after which almost everything is swept.
    pub(super) async fn close_chapter(&mut self) {
        self.clock.advance(PAUSE);
        let now = self.now();
        let mut swept = Vec::new();
        for store in [&self.real, &self.fake] {
            let (mut span, mut deleted, mut expired) = (Span::ALL, 0, 0);
            loop {
                let step = store.sweep(&Policy::default(), span, now, 20).await.expect(ANSWERS);
                (span.after, deleted, expired) = (step.next, deleted + step.deleted, expired + step.expired);
                if span.after.is_none() {
                    break;
                }
            }
            swept.push((deleted, expired));
            while store.forget_keys(now, 20).await.expect(ANSWERS) > 0 {}
        }
        assert_eq!(swept.first(), swept.last(), "{}", self.whereabouts());
        let mut left = Vec::new();
        for id in &self.known {
            if self.fake.record(TENANT, *id).await.expect(ANSWERS).is_some() {
                left.push(*id);
            }
        }
        // Those that were swept are asked for once more before they are forgotten.
        self.look_at_everything().await;
        self.known = left;
    }

    pub(super) async fn look_at_everything(&self) {
        let now = self.now();
        for id in &self.known {
            let (real, fake) = both!(self, store => store.record(TENANT, *id));
            self.same(&sight::record(real), &sight::record(fake));
        }
        for user in USERS {
            let all = InboxRange::After(0);
            let (real, fake) = both!(self, store => store.read_inbox(TENANT, user, all, 10_000));
            self.same(&real, &fake);
        }
        let mut query = Query { limit: 1_000, ..Query::default() };
        for user in [None, Some(TESTUSER)] {
            query.user = user;
            let (real, fake) = both!(self, store => store.list(TENANT, query.clone()));
            let [real, fake] = [real, fake].map(|page| page.items.into_iter().map(sight::summary).collect::<Vec<_>>());
            self.same(&real, &fake);
        }
        let query = DeadLetterQuery { limit: 1_000, ..DeadLetterQuery::default() };
        let (real, fake) = both!(self, store => store.list_dead_letters(TENANT, query.clone()));
        let [real, fake] = [real, fake].map(|page| page.items.into_iter().map(sight::letter).collect::<Vec<_>>());
        self.same(&real, &fake);
        let (real, fake) = both!(self, store => store.due_redrives(now, 1_000));
        let [real, fake] = [real, fake].map(|due| {
            let mut ids: Vec<MessageId> = due.iter().map(|letter| letter.id).collect();
            ids.sort_unstable();
            ids
        });
        self.same(&real, &fake);
        let (real, fake) = both!(self, store => store.stats());
        self.same(&sight::stats(real, now), &sight::stats(fake, now));
    }

    async fn accept(&mut self) {
        let count = 1 + self.random.below(3);
        let batch: Vec<Submission> = (0..count).map(|_| self.draw_submission()).collect();
        let (real, fake) = both!(self, store => store.accept(batch.clone()));
        self.same(&real, &fake);
        self.known.extend(real.into_iter().filter_map(|answer| match answer {
            Acceptance::Accepted(id) | Acceptance::Delivered(id) => Some(id),
            Acceptance::Replayed(_) | Acceptance::Mismatched => None,
        }));
    }

    fn draw_submission(&mut self) -> Submission {
        let now = self.now();
        let user = self.random.pick(&USERS);
        let (id, draw) = (self.ids.next(now), self.random.below(4));
        let drawn = match draw {
            0 => sample::email(id, now),
            1 => sample::in_app(id, TESTUSER, now),
            2 => sample::webhook(id, "https://a.example:443", now),
            _ => sample::in_app(id, USER1, now),
        };
        let priority = self.random.pick(&Priority::ALL).unwrap_or_default();
        let due_at = if self.random.chance(25) { now + self.random.seconds(20) } else { now };
        let ttl = self.random.seconds(30) + Duration::from_millis(1);
        let expires_at = self.random.chance(15).then(|| due_at + ttl);
        let idempotency = self.random.chance(40).then(|| self.draw_key(now));
        let is_at_once = drawn.channel == "in-app" && due_at == now && self.random.chance(50);
        Submission {
            notification: NewNotification { user, priority, due_at, expires_at, ..drawn },
            idempotency,
            at_once: is_at_once.then(|| appended(now)),
        }
    }

    fn draw_key(&mut self, now: Timestamp) -> Idempotency {
        let (key, body) = (self.random.below(6), self.random.below(2));
        let drawn = sample::idempotency(TENANT, &format!("key {key}"), &format!("body {body}"), now);
        Idempotency { expires_at: now + KEY_TTL, ..drawn }
    }

    async fn claim(&mut self) {
        let now = self.now();
        let (real, fake) = both!(self, store => store.ready(now, 1_000, 5));
        self.same(&sight::ready(&real), &sight::ready(&fake));
        let Some((lane, _)) = self.random.pick(&fake.lanes) else {
            return;
        };
        let owner: BootId = if self.random.chance(50) { OWNER } else { RIVAL };
        let count = 1 + usize::from(self.random.chance(60)) + usize::from(self.random.chance(30));
        let claim = Claim { owner, now, lease: LEASE, lanes: vec![(lane, count)] };
        let (real, fake) = both!(self, store => store.claim(claim.clone()));
        let [seen_real, seen_fake] = [&real, &fake].map(|jobs| jobs.iter().map(sight::job).collect::<Vec<_>>());
        self.same(&seen_real, &seen_fake);
        self.claimed.extend(real.into_iter().zip(fake).map(|(real, fake)| Claimed { real, fake }));
    }

    async fn settle(&mut self) {
        let Some(place) = self.random.place(self.claimed.len()) else {
            return;
        };
        let claimed = self.claimed.swap_remove(place);
        self.settle_claim(&claimed).await;
        self.settled.push(claimed);
    }

    /// Settles what was settled before, or was taken away since.
    async fn settle_again(&mut self) {
        if let Some(claimed) = self.random.pick(&self.settled) {
            self.settle_claim(&claimed).await;
        }
    }

    async fn settle_claim(&mut self, claimed: &Claimed) {
        let now = self.now();
        let event = self.draw_event(claimed.fake.delivery.attempts, now);
        let redrive_at = self.random.chance(30).then(|| now + self.random.seconds(60));
        let follow_up = self.random.chance(10).then(|| Box::new(sample::system(self.ids.next(now), now)));
        self.known.extend(follow_up.as_ref().map(|follow_up| follow_up.id));
        let [real, fake] = [&claimed.real, &claimed.fake].map(|job| Settlement {
            redrive_at,
            follow_up: follow_up.clone(),
            ..sample::settlement(job, event.clone(), now)
        });
        let real = self.real.settle(vec![real]).await.expect(ANSWERS);
        let fake = self.fake.settle(vec![fake]).await.expect(ANSWERS);
        self.same(&real, &fake);
    }

    fn draw_event(&mut self, number: u32, now: Timestamp) -> Event {
        let verdict = match self.random.below(10) {
            0..4 => Verdict::Delivered,
            4..6 => Verdict::Retry { after: self.random.chance(20).then(|| self.random.seconds(100)) },
            6 => Verdict::Unknown,
            7 => Verdict::Reject,
            8 => return Event::Released,
            _ => return Event::Expired,
        };
        sample::attempted(number, verdict, now)
    }

    async fn cancel(&mut self) {
        let now = self.now();
        if let Some(id) = self.random.pick(&self.known) {
            let (real, fake) = both!(self, store => store.cancel(TENANT, id, now));
            self.same(&real, &fake);
        }
    }

    async fn acknowledge(&mut self) {
        let (now, user) = (self.now(), self.draw_user());
        let receipt = if self.random.chance(60) { Receipt::Read } else { Receipt::Delivered };
        let number = self.random.below(30);
        let of = match self.random.below(3) {
            0 => ReceiptFor::UpTo(number),
            1 => ReceiptFor::Numbers(vec![number]),
            _ => ReceiptFor::Numbers(vec![number, number / 2, number]),
        };
        let (real, fake) = both!(self, store => store.acknowledge(TENANT, user, receipt, of.clone(), now));
        self.same(&real, &fake);
    }

    async fn review(&mut self) {
        let now = self.now();
        let query = DeadLetterQuery { limit: 1_000, ..DeadLetterQuery::default() };
        let letters = self.fake.list_dead_letters(TENANT, query).await.expect(ANSWERS).items;
        let Some(letter) = self.random.pick(&letters) else {
            return;
        };
        let review = match self.random.below(3) {
            0 => Review::Note { note: Some(format!("note {now}")), status: Some(ReviewStatus::Reviewing) },
            1 => Review::Discard { note: None },
            _ => {
                let id = self.ids.next(now);
                self.known.push(id);
                let anew = sample::webhook(id, "https://b.example:443", now);
                Review::Redrive(Box::new(NewNotification {
                    user: letter.user,
                    redrive_of: Some(letter.id),
                    redrives: letter.redrives + 1,
                    ..anew
                }))
            }
        };
        let (real, fake) = both!(self, store => store.review(TENANT, letter.id, review.clone(), now));
        self.same(&real, &fake);
    }

    /// Looks for lost leases and decides about most of them.
    async fn lose(&mut self) {
        let now = self.now();
        let by = if self.random.chance(70) { LostBy::Deadline(now) } else { LostBy::OtherThan(OWNER) };
        let (mut real, mut fake) = both!(self, store => store.lost(by, None, 1_000));
        for lost in [&mut real, &mut fake] {
            lost.sort_by_key(|lost| lost.lease.id);
        }
        let [seen_real, seen_fake] = [&real, &fake].map(|lost| lost.iter().map(sight::lost).collect::<Vec<_>>());
        self.same(&seen_real, &seen_fake);
        for (real, fake) in real.iter().zip(&fake) {
            if self.random.chance(70) {
                let real = self.real.settle(vec![sample::loss(real, now)]).await.expect(ANSWERS);
                let fake = self.fake.settle(vec![sample::loss(fake, now)]).await.expect(ANSWERS);
                self.same(&real, &fake);
            }
        }
    }

    /// Deletes a user, erases what was theirs, and creates them anew.
    async fn erase(&mut self) {
        let (now, user) = (self.now(), self.draw_user());
        let (real, fake) = both!(self, store => store.delete_user(TENANT, user, now));
        self.same(&real, &fake);
        for store in [&self.real, &self.fake] {
            while !store.erase(TENANT, user, now, 3).await.expect(ANSWERS) {}
        }
        self.create(user).await;
    }

    async fn create(&self, user: UserId) {
        let new = sample::user(user, &format!("user-{user}"), self.now());
        let (real, fake) = both!(self, store => store.create_user(new.clone()));
        self.same(&real, &Ok(()));
        self.same(&fake, &Ok(()));
    }

    fn draw_user(&mut self) -> UserId {
        self.random.pick(&USERS).unwrap_or(TESTUSER)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, real: &T, fake: &T) {
        assert_eq!(real, fake, "{}", self.whereabouts());
    }

    fn whereabouts(&self) -> String {
        format!("the store and the fake differ after step {} of chapter {}", self.steps, self.seed)
    }
}
