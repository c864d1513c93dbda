//! Reviewing dead letters.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{ErrorCode, Problem};
use crate::id::{IdGen, MessageId, TenantId};
use crate::notification::{Content, NewNotification};
use crate::ports::dead_letters::{DeadLetter, DeadLetterPage, DeadLetterQuery, Review, ReviewStatus, Reviewed};
use crate::ports::{Broker, Catalog, DeadLetters, Sender};
use crate::services::follow::MAX_PAGE;
use crate::time::Clock;
use crate::user::Contacts;

/// The most dead letters that one bulk call takes on.
pub const MAX_BULK: usize = 1000;

/// Decides about dead letters on behalf of operators.
#[derive(Clone)]
pub struct Reviewer {
    /// The dead letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Who can be told.
    pub catalog: Arc<dyn Catalog>,
    /// The channels.
    pub sender: Arc<dyn Sender>,
    /// Who is told that there is work.
    pub broker: Arc<dyn Broker>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The ids.
    pub ids: Arc<dyn IdGen>,
}

/// What a bulk redrive did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// The new notifications.
    pub redriven: Vec<MessageId>,
    /// Dead letters that could not be redriven, and why.
    pub skipped: Vec<(MessageId, Problem)>,
    /// Where a further call goes on, if more match.
    pub next: Option<MessageId>,
}

impl Reviewer {
    /// One dead letter.
    pub async fn dead_letter(&self, tenant: TenantId, id: MessageId) -> Result<DeadLetter, Problem> {
        self.dead_letters.dead_letter(tenant, id).await?.ok_or_else(Problem::not_found)
    }

    /// A page of dead letters.
    pub async fn list(&self, tenant: TenantId, mut query: DeadLetterQuery) -> Result<DeadLetterPage, Problem> {
        query.limit = query.limit.clamp(1, MAX_PAGE);
        Ok(self.dead_letters.list_dead_letters(tenant, query).await?)
    }

    /// Writes a note, and whether somebody is looking into it.
    pub async fn annotate(
        &self,
        tenant: TenantId,
        id: MessageId,
        note: Option<String>,
        status: Option<ReviewStatus>,
    ) -> Result<DeadLetter, Problem> {
        if status.is_some_and(|status| !status.is_open()) {
            return Err(Problem::field(
                ErrorCode::INVALID_FIELD,
                "reviewStatus",
                "must be pending or reviewing; redrive and discard have calls of their own",
            ));
        }
        self.review(tenant, id, Review::Note { note, status }).await
    }

    /// Puts a dead letter aside for good.
    pub async fn discard(&self, tenant: TenantId, id: MessageId, note: Option<String>) -> Result<DeadLetter, Problem> {
        self.review(tenant, id, Review::Discard { note }).await
    }

    /// Sends a dead letter anew, with another payload if one is given. The old notification stays as it ended.
    pub async fn redrive(
        &self,
        tenant: TenantId,
        id: MessageId,
        payload: Option<Map<String, Value>>,
    ) -> Result<DeadLetter, Problem> {
        let letter = self.dead_letter(tenant, id).await?;
        self.redrive_letter(letter, payload).await
    }

    /// Sends anew what matches, newest first, up to [`MAX_BULK`].
    pub async fn redrive_matching(&self, tenant: TenantId, mut query: DeadLetterQuery) -> Result<Bulk, Problem> {
        let mut bulk = Bulk::default();
        let mut seen = 0;
        query.limit = query.limit.clamp(1, MAX_BULK);
        let most = query.limit;
        loop {
            query.limit = (most - seen).min(MAX_PAGE);
            let page = self.dead_letters.list_dead_letters(tenant, query.clone()).await?;
            seen += page.items.len();
            for letter in page.items {
                let id = letter.id;
                match self.redrive_letter(letter, None).await {
                    Ok(letter) => bulk.redriven.extend(letter.redriven_as),
                    Err(problem) => bulk.skipped.push((id, problem)),
                }
            }
            bulk.next = page.next;
            query.before = page.next;
            if page.next.is_none() || seen >= most {
                return Ok(bulk);
            }
        }
    }

    /// Sends one dead letter anew.
    pub async fn redrive_letter(
        &self,
        letter: DeadLetter,
        payload: Option<Map<String, Value>>,
    ) -> Result<DeadLetter, Problem> {
        let (tenant, id) = (letter.tenant, letter.id);
        let replacement = self.replacement(letter, payload).await?;
        let reviewed = self.review(tenant, id, Review::Redrive(Box::new(replacement))).await?;
        self.broker.wake();
        Ok(reviewed)
    }

    async fn replacement(
        &self,
        letter: DeadLetter,
        payload: Option<Map<String, Value>>,
    ) -> Result<NewNotification, Problem> {
        if !letter.review_status.is_open() {
            return Err(closed(letter.review_status));
        }
        let content = letter.content.ok_or_else(erased)?;
        let contacts = match letter.user {
            None => Contacts::default(),
            Some(user) => match self.catalog.user(letter.tenant, user).await? {
                Some(user) => user.contacts,
                None => {
                    return Err(Problem::new(ErrorCode::DEAD_LETTER_CLOSED, "The user of the dead letter was deleted"));
                }
            },
        };
        let (payload, text) = match payload {
            Some(edited) => {
                let text = Value::Object(edited.clone()).to_string();
                (edited, text)
            }
            None => (serde_json::from_str(&content.payload).unwrap_or_default(), content.payload),
        };
        let destination = self.sender.address(&letter.channel, &payload, &contacts)?;
        let now = self.clock.now();
        let new_id = self.ids.next(now);
        Ok(NewNotification {
            id: new_id,
            request: new_id,
            tenant: letter.tenant,
            user: letter.user,
            channel: letter.channel,
            category: letter.category,
            priority: letter.priority,
            destination,
            content: Content { payload: text, metadata: content.metadata },
            context: letter.context,
            accepted_at: now,
            due_at: now,
            expires_at: None,
            redrive_of: Some(letter.id),
            redrives: letter.redrives + 1,
        })
    }

    async fn review(&self, tenant: TenantId, id: MessageId, review: Review) -> Result<DeadLetter, Problem> {
        match self.dead_letters.review(tenant, id, review, self.clock.now()).await? {
            Some(Reviewed::Done(letter)) => Ok(*letter),
            Some(Reviewed::Closed(status)) if status.is_open() => Err(erased()),
            Some(Reviewed::Closed(status)) => Err(closed(status)),
            None => Err(Problem::not_found()),
        }
    }
}

fn erased() -> Problem {
    Problem::new(ErrorCode::DEAD_LETTER_CLOSED, "The content of the dead letter was erased")
}

fn closed(status: ReviewStatus) -> Problem {
    Problem::new(ErrorCode::DEAD_LETTER_CLOSED, format!("The dead letter is already {}", status.as_str()))
}
