//! What is stored.

use std::collections::{BTreeMap, HashMap};

use tidings_core::delivery::{Delivery, Event, Next, Refused, State, Transition, step};
use tidings_core::id::{BootId, MessageId, TenantId, UserId};
use tidings_core::idempotency::Fingerprint;
use tidings_core::journal::{Entry, Event as JournalEvent};
use tidings_core::notification::{Content, NewNotification, Record, Summary};
use tidings_core::ports::dead_letters::ReviewStatus;
use tidings_core::retry::Policies;
use tidings_core::time::Timestamp;
use tidings_core::user::NewUser;

/// Everything.
pub(super) struct Tables {
    pub(super) policies: Policies,
    /// The names of tenants; the first has the id 1.
    pub(super) tenants: Vec<String>,
    /// In the order of their creation.
    pub(super) users: Vec<NewUser>,
    /// In the order of their deletion.
    pub(super) erasures: Vec<Erasure>,
    pub(super) keys: HashMap<Fingerprint, Known>,
    pub(super) notifications: BTreeMap<MessageId, Row>,
    pub(super) inboxes: HashMap<(TenantId, UserId), Inbox>,
    pub(super) letters: BTreeMap<MessageId, Letter>,
}

/// What is known of an idempotency key.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) body: Fingerprint,
    pub(super) id: MessageId,
    pub(super) expires_at: Timestamp,
}

/// A deleted user of whom something may be left.
pub(super) struct Erasure {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    /// The last notification dealt with.
    pub(super) upto: Option<MessageId>,
}

/// A notification with its content, its job or lease, and its journal.
pub(super) struct Row {
    /// As accepted, but for `due_at`, which moves with retries. Its content is in `content`.
    pub(super) notification: NewNotification,
    pub(super) content: Option<Content>,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) lost_leases: u32,
    pub(super) fence: i64,
    /// Who works on it, while it is being sent.
    pub(super) holder: Option<Holder>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) read_at: Option<Timestamp>,
    pub(super) error: Option<String>,
    pub(super) journal: Vec<Entry>,
}

/// Who works on a notification, and how long.
pub(super) struct Holder {
    pub(super) owner: BootId,
    pub(super) until: Timestamp,
}

/// The inbox of a user.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) last: u64,
    pub(super) places: BTreeMap<u64, Place>,
}

/// A notification in an inbox.
pub(super) struct Place {
    pub(super) id: MessageId,
    pub(super) at: Timestamp,
    pub(super) delivered_at: Option<Timestamp>,
    pub(super) read_at: Option<Timestamp>,
}

/// What a dead letter has beside its notification.
pub(super) struct Letter {
    pub(super) died_at: Timestamp,
    pub(super) review_status: ReviewStatus,
    pub(super) note: Option<String>,
    pub(super) next_redrive_at: Option<Timestamp>,
    pub(super) redriven_as: Option<MessageId>,
}

impl Tables {
    pub(super) fn new(policies: Policies) -> Self {
        Self {
            policies,
            tenants: vec!["default".to_owned()],
            users: Vec::new(),
            erasures: Vec::new(),
            keys: HashMap::new(),
            notifications: BTreeMap::new(),
            inboxes: HashMap::new(),
            letters: BTreeMap::new(),
        }
    }

    /// Stores a notification with its job and the first entry of its journal.
    pub(super) fn insert(&mut self, notification: NewNotification) {
        self.notifications.insert(notification.id, Row::new(notification));
    }

    /// Delivers a stored notification to the inbox of its user.
    pub(super) fn deliver(&mut self, id: MessageId, transition: &Transition) {
        let Some(row) = self.notifications.get_mut(&id) else { return };
        row.apply(transition);
        let owner = row.notification.user.map(|user| (row.notification.tenant, user));
        let at = transition.entry.as_ref().map_or(Timestamp::EPOCH, |entry| entry.at);
        if let Some(owner) = owner {
            self.append(owner, id, at);
        }
    }

    /// Whether a user exists.
    pub(super) fn has_user(&self, (tenant, id): (TenantId, UserId)) -> bool {
        self.users.iter().any(|new| new.user.tenant == tenant && new.user.id == id)
    }

    /// A notification of a tenant.
    pub(super) fn row(&self, tenant: TenantId, id: MessageId) -> Option<&Row> {
        self.notifications.get(&id).filter(|row| row.notification.tenant == tenant)
    }

    pub(super) fn record(&self, tenant: TenantId, id: MessageId) -> Option<Record> {
        self.row(tenant, id).map(Row::record)
    }

    /// Lets an event happen to a notification that no worker settles. `None` when there is no such notification.
    pub(super) fn end(
        &mut self,
        tenant: TenantId,
        id: MessageId,
        event: Event,
        now: Timestamp,
    ) -> Option<Result<(), Refused>> {
        let row = self.notifications.get_mut(&id).filter(|row| row.notification.tenant == tenant)?;
        let policy = self.policies.of(&row.notification.routing_key());
        let decided = step(&row.delivery(), event, policy, now, 0.0);
        Some(decided.map(|transition| row.apply(&transition)))
    }
}

impl Row {
    fn new(mut notification: NewNotification) -> Self {
        let erased = Content { payload: "{}".to_owned(), metadata: None };
        let content = std::mem::replace(&mut notification.content, erased);
        Self {
            content: Some(content),
            state: State::Queued,
            attempts: 0,
            lost_leases: 0,
            fence: 0,
            holder: None,
            finished_at: None,
            read_at: None,
            error: None,
            journal: vec![Entry::new(notification.accepted_at, JournalEvent::Accepted)],
            notification,
        }
    }

    /// What the state machine has to know.
    pub(super) fn delivery(&self) -> Delivery {
        Delivery {
            state: self.state,
            attempts: self.attempts,
            lost_leases: self.lost_leases,
            expires_at: self.notification.expires_at,
        }
    }

    /// The notification with its content; an erased payload is `{}`.
    pub(super) fn whole(&self) -> NewNotification {
        let mut whole = self.notification.clone();
        if let Some(content) = &self.content {
            whole.content = content.clone();
        }
        whole
    }

    /// The payload; `{}` once erased.
    pub(super) fn payload(&self) -> String {
        let content = self.content.as_ref().unwrap_or(&self.notification.content);
        content.payload.clone()
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Queued && self.notification.due_at <= now
    }

    /// Brings the row in line with a decision. What is delivered has no error any more; otherwise the last one stays.
    pub(super) fn apply(&mut self, transition: &Transition) {
        self.holder = None;
        self.state = transition.next.state();
        self.attempts = transition.attempts;
        self.lost_leases = transition.lost_leases;
        match transition.next {
            Next::Queue { due_at } => self.notification.due_at = due_at,
            Next::End(_) => self.finished_at = transition.entry.as_ref().map(|entry| entry.at),
        }
        if self.state == State::Delivered {
            self.error = None;
        } else if transition.error.is_some() {
            self.error.clone_from(&transition.error);
        }
        self.journal.extend(transition.entry.clone());
    }

    pub(super) fn summary(&self) -> Summary {
        let notification = &self.notification;
        Summary {
            id: notification.id,
            request: notification.request,
            user: notification.user,
            channel: notification.channel.clone(),
            category: notification.category.clone(),
            priority: notification.priority,
            state: self.state,
            attempts: self.attempts,
            context: notification.context.clone(),
            accepted_at: notification.accepted_at,
            due_at: notification.due_at,
            expires_at: notification.expires_at,
            finished_at: self.finished_at,
            read_at: self.read_at,
            error: self.error.clone(),
            redrive_of: notification.redrive_of,
        }
    }

    fn record(&self) -> Record {
        Record { summary: self.summary(), content: self.content.clone(), journal: self.journal.clone() }
    }
}
