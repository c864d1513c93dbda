//! Who sends notifications, calls them back, and decides about dead letters.

use std::time::Duration;

use tidings_core::id::{IdGen, MessageId};
use tidings_core::notification::{DEFAULT_CATEGORY, NewNotification, TraceContext};
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::ports::{Broker, Catalog, History, Intake};
use tidings_core::time::Clock;
use tidings_testkit::sample;

use super::{OTP, Task, World};
use crate::plan::{HOSTS, Order, Target};

/// How long a client waits before it repeats what it got no answer to.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a client asks before it gives up.
const MOST_TRIES: usize = 100;

/// A client and what it knows.
pub(crate) struct Client {
    pub(crate) order: Order,
    /// The ids under which it may have been stored.
    pub(crate) tried: Vec<MessageId>,
    /// What it was told.
    pub(crate) acknowledged: Option<MessageId>,
}

impl World {
    pub(super) async fn submit(&mut self, order: Order) {
        self.clients.push(Client { order, tried: Vec::new(), acknowledged: None });
        self.ask(self.clients.len() - 1).await;
    }

    /// A client asks, unless it has its answer. One that gave a key asks again when there is none.
    pub(super) async fn ask(&mut self, place: usize) {
        let client = &self.clients[place];
        if client.acknowledged.is_some() || client.tried.len() >= MOST_TRIES || !self.can_be_told(place).await {
            return;
        }
        if self.clients[place].order.keyed {
            let later = self.clock.elapsed() + PATIENCE;
            self.agenda.add(later, Task::Again(place));
        }
        self.request(place).await;
    }

    /// A client sends again what it has sent before.
    pub(super) async fn repeat(&mut self, number: usize) {
        let found = self.clients.iter().position(|client| client.order.number == number && client.order.keyed);
        if let Some(place) = found
            && self.can_be_told(place).await
        {
            self.request(place).await;
        }
    }

    /// The service that takes requests looks first: nobody is told anything who does not exist.
    async fn can_be_told(&self, place: usize) -> bool {
        let (tenant, user) = self.users[self.clients[place].order.user];
        matches!(self.store.user(tenant, user).await, Ok(Some(_)))
    }

    async fn request(&mut self, place: usize) {
        let order = self.clients[place].order.clone();
        let submission = self.submission(&order);
        self.clients[place].tried.push(submission.notification.id);
        let answers = self.faulty.accept(vec![submission]).await;
        self.trace.note(format_args!("client {} is told {answers:?}", order.number));
        let Ok(answers) = answers else {
            return;
        };
        self.broker.wake();
        match answers.as_slice() {
            [Acceptance::Accepted(id) | Acceptance::Replayed(id)] => {
                let before = self.clients[place].acknowledged.replace(*id);
                if before.is_some_and(|before| before != *id) {
                    self.trace.violation(format_args!("client {} has two answers: {before:?} and {id}", order.number));
                }
            }
            answers => self.trace.violation(format_args!("client {} was told {answers:?}", order.number)),
        }
    }

    fn submission(&self, order: &Order) -> Submission {
        let (tenant, user) = self.users[order.user];
        let now = self.clock.now();
        let id = self.ids.next(now);
        let sample = match order.target {
            Target::Inbox => sample::in_app(id, user, now),
            Target::Email => sample::email(id, now),
            Target::Sms => NewNotification {
                channel: "sms".to_owned(),
                destination: order.target.destination(),
                ..sample::email(id, now)
            },
            Target::Webhook(host) => sample::webhook(id, HOSTS[host % HOSTS.len()], now),
        };
        let notification = NewNotification {
            tenant,
            user: Some(user),
            category: if order.at_most_once { OTP } else { DEFAULT_CATEGORY }.to_owned(),
            priority: order.priority,
            context: TraceContext { correlation_id: order.correlation(), traceparent: None },
            due_at: now + order.delay,
            expires_at: order.ttl.map(|ttl| now + ttl),
            ..sample
        };
        if order.keyed {
            sample::keyed(notification, &order.correlation(), "the same every time")
        } else {
            sample::unkeyed(notification)
        }
    }

    pub(super) async fn cancel(&self, number: usize) {
        let Some(client) = self.clients.iter().find(|client| client.order.number == number) else {
            return;
        };
        if let Some(id) = client.acknowledged {
            let (tenant, _) = self.users[client.order.user];
            let answer = self.faulty.cancel(tenant, id, self.clock.now()).await;
            self.trace.note(format_args!("cancelled {id}: {answer:?}"));
        }
    }

    /// Somebody decides about a dead letter that is open.
    pub(super) async fn review(&self, nth: usize, redrive: bool) {
        let mut letters = self.store.everything().into_iter().filter_map(|kept| kept.letter);
        let Some(letter) = letters.nth(nth) else {
            return;
        };
        let reviewer = self.reviewer();
        let id = letter.id;
        let answer = if redrive {
            reviewer.redrive(letter.tenant, id, None).await
        } else {
            reviewer.discard(letter.tenant, id, None).await
        };
        let code = answer.map(|letter| letter.redriven_as).map_err(|problem| problem.code.code);
        self.trace.note(format_args!("reviewed {id}: {code:?}"));
    }
}
