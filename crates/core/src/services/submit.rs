//! Accepting notifications.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{Transition, appended};
use crate::draft::{Draft, Expiry};
use crate::error::{ErrorCode, Problem};
use crate::id::{IdGen, MessageId, TenantId};
use crate::idempotency::{Idempotency, IdempotencyKey};
use crate::notification::{Content, NewNotification, TraceContext};
use crate::ports::intake::{Acceptance, Submission};
use crate::ports::sender::Reach;
use crate::ports::{Broker, Catalog, Intake, Sender, Witness};
use crate::time::{Clock, Timestamp};

/// How far ahead a notification can be scheduled.
pub const MAX_SCHEDULE: Duration = Duration::from_hours(366 * 24);

/// A durable notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: MessageId,
    /// Whether it was accepted earlier, under the same idempotency key.
    pub replayed: bool,
}

/// Accepts notifications.
#[derive(Clone)]
pub struct Submitter {
    /// The channels.
    pub sender: Arc<dyn Sender>,
    /// Who can be told.
    pub catalog: Arc<dyn Catalog>,
    /// Where notifications become durable.
    pub intake: Arc<dyn Intake>,
    /// Who is told that there is work.
    pub broker: Arc<dyn Broker>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The ids.
    pub ids: Arc<dyn IdGen>,
    /// How long idempotency keys are kept.
    pub key_ttl: Duration,
    /// Who is told of notifications that are delivered to an inbox with their acceptance. Without one all of them go through
    /// the queue.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Submitter {
    /// How long a notification given now would wait for the store; see [`overload`](crate::overload).
    pub fn accept_wait(&self) -> Duration {
        self.intake.accept_wait()
    }

    /// Accepts one draft. `header_key` is the key of the `Idempotency-Key` header, which wins over the one in the body.
    pub async fn submit(
        &self,
        tenant: TenantId,
        context: &TraceContext,
        draft: Draft,
        header_key: Option<IdempotencyKey>,
    ) -> Result<Receipt, Problem> {
        let draft = Draft { key: header_key.or(draft.key), ..draft };
        let mut verdicts = self.submit_batch(tenant, context, vec![Ok(draft)]).await?;
        verdicts.pop().unwrap_or_else(|| Err(Problem::plain(ErrorCode::INTERNAL)))
    }

    /// Accepts all good drafts in one durable commit; one verdict for each, in order.
    pub async fn submit_batch(
        &self,
        tenant: TenantId,
        context: &TraceContext,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Result<Vec<Result<Receipt, Problem>>, Problem> {
        let now = self.clock.now();
        let mut request = None;
        let mut verdicts: Vec<Option<Result<Receipt, Problem>>> = Vec::with_capacity(drafts.len());
        let mut submissions = Vec::with_capacity(drafts.len());
        for draft in drafts {
            match self.judge(tenant, context, draft, &mut request, now).await {
                Ok(Judged::New(submission)) => {
                    submissions.push(*submission);
                    verdicts.push(None);
                }
                Ok(Judged::Known(receipt)) => verdicts.push(Some(Ok(receipt))),
                Err(problem) => verdicts.push(Some(Err(problem))),
            }
        }
        let mut accepted = self.store(submissions).await?.into_iter();
        let settled = verdicts.into_iter().map(|verdict| {
            verdict.or_else(|| accepted.next()).unwrap_or_else(|| Err(Problem::plain(ErrorCode::INTERNAL)))
        });
        Ok(settled.collect())
    }

    async fn store(&self, submissions: Vec<Submission>) -> Result<Vec<Result<Receipt, Problem>>, Problem> {
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        let at_once: Vec<Option<Delivered>> = submissions.iter().map(Delivered::of).collect();
        let acceptances = self.intake.accept(submissions).await?;
        if acceptances.iter().any(|acceptance| matches!(acceptance, Acceptance::Accepted(_))) {
            // Also for what is scheduled: who waits has to learn of an earlier instant.
            self.broker.wake();
        }
        for (delivered, acceptance) in at_once.iter().zip(&acceptances) {
            if let (Some(witness), Some(delivered), Acceptance::Delivered(_)) = (&self.witness, delivered, acceptance) {
                witness.delivered(&delivered.channel, delivered.accepted_at, &delivered.transition);
            }
        }
        Ok(acceptances.into_iter().map(receipt).collect())
    }

    /// An inbox takes at once what is due at once: the transaction that accepts it can deliver it too.
    fn at_once(&self, notification: &NewNotification, now: Timestamp) -> Option<Transition> {
        let is_due = notification.due_at <= now && notification.user.is_some();
        let is_taken = self.witness.is_some() && is_due;
        (is_taken && self.sender.reach(&notification.channel) == Some(Reach::Inbox)).then(|| appended(now))
    }

    /// Judges a draft against the world. A repeated request gets its first answer even if the world has moved on since.
    async fn judge(
        &self,
        tenant: TenantId,
        context: &TraceContext,
        draft: Result<Draft, Problem>,
        request: &mut Option<MessageId>,
        now: Timestamp,
    ) -> Result<Judged, Problem> {
        let draft = draft?;
        let idempotency = draft.key.as_ref().map(|key| Idempotency {
            key: key.fingerprint(tenant),
            body: draft.fingerprint,
            expires_at: now + self.key_ttl,
        });
        match self.prepare(tenant, context, draft, request, now).await {
            Ok(notification) => {
                let at_once = self.at_once(&notification, now);
                Ok(Judged::New(Box::new(Submission { notification, idempotency, at_once })))
            }
            Err(problem) => {
                let Some(idempotency) = idempotency else {
                    return Err(problem);
                };
                match self.intake.replay(&idempotency, now).await? {
                    Some(Acceptance::Replayed(id)) => Ok(Judged::Known(Receipt { id, replayed: true })),
                    Some(Acceptance::Mismatched) => Err(mismatch()),
                    Some(Acceptance::Accepted(_) | Acceptance::Delivered(_)) | None => Err(problem),
                }
            }
        }
    }

    async fn prepare(
        &self,
        tenant: TenantId,
        context: &TraceContext,
        draft: Draft,
        request: &mut Option<MessageId>,
        now: Timestamp,
    ) -> Result<NewNotification, Problem> {
        let Some(user) = self.catalog.user(tenant, draft.target_user).await? else {
            return Err(Problem::field(
                ErrorCode::UNKNOWN_USER,
                "targetUserId",
                "names no user; create it with POST /api/users first",
            ));
        };
        let destination = self.sender.address(&draft.channel, &draft.payload, &user.contacts)?;
        let due_at = due_at(&draft, now)?;
        let expires_at = expires_at(&draft, due_at)?;
        let id = self.ids.next(now);
        Ok(NewNotification {
            id,
            request: *request.get_or_insert(id),
            tenant,
            user: Some(draft.target_user),
            channel: draft.channel,
            category: draft.category,
            priority: draft.priority,
            destination,
            content: Content { payload: draft.payload_text, metadata: draft.metadata },
            context: context.clone(),
            accepted_at: now,
            due_at,
            expires_at,
            redrive_of: None,
            redrives: 0,
        })
    }
}

/// What the witness is told of a notification that is delivered with its acceptance.
struct Delivered {
    channel: String,
    accepted_at: Timestamp,
    transition: Transition,
}

impl Delivered {
    fn of(submission: &Submission) -> Option<Self> {
        let (notification, transition) = (&submission.notification, submission.at_once.clone()?);
        Some(Self { channel: notification.channel.clone(), accepted_at: notification.accepted_at, transition })
    }
}

enum Judged {
    New(Box<Submission>),
    Known(Receipt),
}

fn receipt(acceptance: Acceptance) -> Result<Receipt, Problem> {
    match acceptance {
        Acceptance::Accepted(id) | Acceptance::Delivered(id) => Ok(Receipt { id, replayed: false }),
        Acceptance::Replayed(id) => Ok(Receipt { id, replayed: true }),
        Acceptance::Mismatched => Err(mismatch()),
    }
}

fn mismatch() -> Problem {
    Problem::new(
        ErrorCode::IDEMPOTENCY_MISMATCH,
        "This idempotency key was used before with another body; use a new key for a new notification",
    )
}

fn due_at(draft: &Draft, now: Timestamp) -> Result<Timestamp, Problem> {
    let due_at = draft.send_at.map_or(now, |send_at| send_at.max(now));
    if due_at > now + MAX_SCHEDULE {
        return Err(Problem::field(ErrorCode::SEND_AT_OUT_OF_RANGE, "sendAt", "lies more than 366 days ahead"));
    }
    Ok(due_at)
}

fn expires_at(draft: &Draft, due_at: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let expires_at = match draft.expiry {
        None => return Ok(None),
        Some(Expiry::After(ttl)) => return Ok(Some(due_at + ttl)),
        Some(Expiry::At(at)) => at,
    };
    if expires_at <= due_at {
        return Err(Problem::field(ErrorCode::EXPIRES_IN_PAST, "expiresAt", "is not after the time of sending"));
    }
    Ok(Some(expires_at))
}
