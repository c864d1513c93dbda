//! Users, notifications and decisions with sensible defaults. What a test is about it sets itself, with struct update
//! syntax: `NewNotification { priority: Priority::High, ..sample::email(id, now) }`.

use tidings_core::delivery::{Event, Verdict, step};
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::idempotency::{DEFAULT_TTL, Fingerprint, Idempotency, IdempotencyKey};
use tidings_core::journal::Attempt;
use tidings_core::notification::{
    Content, DEFAULT_CATEGORY, Destination, NewNotification, Priority, SYSTEM_CATEGORY, TraceContext,
};
use tidings_core::ports::intake::Submission;
use tidings_core::ports::jobs::{Job, Lost, Settlement};
use tidings_core::retry::Policy;
use tidings_core::time::Timestamp;
use tidings_core::user::{Contacts, NewUser, User};
use uuid::Uuid;

/// The first user that a new installation has for trying out.
pub const TESTUSER: UserId = UserId(Uuid::from_u128(0x9fc8_1fdd_fc9c_49e3_9df1_a36d_f7e1_ec5a));
/// The second.
pub const USER1: UserId = UserId(Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0001));
/// The third.
pub const USER2: UserId = UserId(Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0002));

/// A user of the default tenant with an e-mail address and no password.
pub fn user(id: UserId, username: &str, now: Timestamp) -> NewUser {
    let contacts = Contacts { email: Some(format!("{username}@example.com")), ..Contacts::default() };
    NewUser {
        user: User {
            id,
            tenant: TenantId::DEFAULT,
            username: username.to_owned(),
            contacts,
            created_at: now,
            updated_at: now,
        },
        password_hash: None,
    }
}

/// The three users that a new installation has for trying out.
pub fn seed_users(now: Timestamp) -> [NewUser; 3] {
    [user(TESTUSER, "testuser", now), user(USER1, "user1", now), user(USER2, "user2", now)]
}

/// An e-mail to the first user, due at once.
pub fn email(id: MessageId, now: Timestamp) -> NewNotification {
    NewNotification {
        id,
        request: id,
        tenant: TenantId::DEFAULT,
        user: Some(TESTUSER),
        channel: "email".to_owned(),
        category: DEFAULT_CATEGORY.to_owned(),
        priority: Priority::Normal,
        destination: Destination::new("email", "smtp"),
        content: Content { payload: r#"{"subject":"Hello","body":"You"}"#.to_owned(), metadata: None },
        context: TraceContext { correlation_id: format!("correlation-{id}"), traceparent: None },
        accepted_at: now,
        due_at: now,
        expires_at: None,
        redrive_of: None,
        redrives: 0,
    }
}

/// An entry for the inbox of a user, due at once.
pub fn in_app(id: MessageId, user: UserId, now: Timestamp) -> NewNotification {
    NewNotification {
        user: Some(user),
        channel: "in-app".to_owned(),
        destination: Destination::new("in-app", "inbox"),
        content: Content { payload: format!(r#"{{"title":"{id}"}}"#), metadata: None },
        ..email(id, now)
    }
}

/// A webhook of the first user to the host `target`, such as `https://example.com:443`, due at once.
pub fn webhook(id: MessageId, target: &str, now: Timestamp) -> NewNotification {
    NewNotification {
        channel: "webhook".to_owned(),
        destination: Destination::new("webhook", target),
        content: Content { payload: format!(r#"{{"url":"{target}"}}"#), metadata: None },
        ..email(id, now)
    }
}

/// What Tidings itself sends to its operators: for no user, in the category that callers cannot use.
pub fn system(id: MessageId, now: Timestamp) -> NewNotification {
    NewNotification {
        user: None,
        category: SYSTEM_CATEGORY.to_owned(),
        ..webhook(id, "https://ops.example.com:443", now)
    }
}

/// A submission without a key.
pub fn unkeyed(notification: NewNotification) -> Submission {
    Submission { notification, idempotency: None, at_once: None }
}

/// A submission under a key of its tenant, with a body that is told from others by `body`.
pub fn keyed(notification: NewNotification, key: &str, body: &str) -> Submission {
    let idempotency = idempotency(notification.tenant, key, body, notification.accepted_at);
    Submission { notification, idempotency: Some(idempotency), at_once: None }
}

/// What is remembered of a request with a key, kept as long as by default.
pub fn idempotency(tenant: TenantId, key: &str, body: &str, now: Timestamp) -> Idempotency {
    let key = IdempotencyKey::new(key).expect("samples use keys that are valid");
    Idempotency { key: key.fingerprint(tenant), body: Fingerprint::of(body.as_bytes()), expires_at: now + DEFAULT_TTL }
}

/// An attempt that just ended with a verdict.
pub fn attempted(number: u32, verdict: Verdict, now: Timestamp) -> Event {
    let said = (verdict != Verdict::Delivered).then(|| "said the provider".to_owned());
    let attempt = Attempt {
        number,
        provider: "fake".to_owned(),
        started_at: now,
        duration_ms: 1,
        outcome: verdict.outcome(),
        code: None,
        message: said,
        provider_id: None,
    };
    Event::Attempted { verdict, attempt }
}

/// The settlement of a claim after an event, decided under the default policy and without jitter. What was delivered
/// in-app goes to the inbox.
pub fn settlement(job: &Job, event: Event, now: Timestamp) -> Settlement {
    let to_inbox =
        job.notification.channel == "in-app" && matches!(event, Event::Attempted { verdict: Verdict::Delivered, .. });
    let transition =
        step(&job.delivery, event, &Policy::default(), now, 0.5).expect("a claimed job takes every event of a worker");
    Settlement { lease: job.lease, transition, to_inbox, redrive_at: None, follow_up: None }
}

/// The settlement of a lost lease, decided under the default policy.
pub fn loss(lost: &Lost, now: Timestamp) -> Settlement {
    let transition = step(&lost.delivery, Event::LeaseLost, &Policy::default(), now, 0.5)
        .expect("a delivery under a lease can lose it");
    Settlement { lease: lost.lease, transition, to_inbox: false, redrive_at: None, follow_up: None }
}
