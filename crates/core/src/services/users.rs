//! Users and their contacts.

use std::sync::Arc;

use crate::access::Caller;
use crate::contact;
use crate::error::{ErrorCode, FieldError, Problem};
use crate::id::{TenantId, UserId};
use crate::ports::catalog::UserChange;
use crate::ports::{Catalog, Upkeep};
use crate::services::follow::MAX_PAGE;
use crate::time::Clock;
use crate::user::{Contacts, NewUser, User, UserConflict};

/// How many rows one step of an erasure touches.
const ERASURE_STEP: usize = 500;

/// Creates, changes and erases users on behalf of callers.
#[derive(Clone)]
pub struct Users {
    /// Who exists.
    pub catalog: Arc<dyn Catalog>,
    /// Who erases.
    pub upkeep: Arc<dyn Upkeep>,
    /// The present.
    pub clock: Arc<dyn Clock>,
}

/// A user as somebody asked for it. Not to be printed: it may have a password hash.
#[derive(Clone)]
pub struct UserDraft {
    /// The id.
    pub id: UserId,
    /// The user name.
    pub username: String,
    /// The contacts.
    pub contacts: Contacts,
    /// A password hash, for users that log in.
    pub password_hash: Option<String>,
}

impl Users {
    /// Creates a user.
    pub async fn create(&self, tenant: TenantId, draft: UserDraft) -> Result<User, Problem> {
        let mut errors = check_contacts(&draft.contacts);
        errors.extend(check_username(&draft.username));
        refuse(errors)?;
        let now = self.clock.now();
        let user = User {
            id: draft.id,
            tenant,
            username: draft.username,
            contacts: draft.contacts,
            created_at: now,
            updated_at: now,
        };
        match self.catalog.create_user(NewUser { user: user.clone(), password_hash: draft.password_hash }).await? {
            Ok(()) => Ok(user),
            Err(conflict) => Err(taken(conflict)),
        }
    }

    /// Changes a user: `change` gets the contacts and user name of now and makes them those of later.
    pub async fn update(
        &self,
        caller: &Caller,
        user: UserId,
        change: impl FnOnce(&mut UserChange) + Send,
    ) -> Result<User, Problem> {
        let current = self.read(caller, user).await?;
        if !caller.may_change(Some(user)) {
            return Err(not_yours());
        }
        let mut changed = UserChange { contacts: current.contacts, username: None };
        change(&mut changed);
        let mut errors = check_contacts(&changed.contacts);
        errors.extend(changed.username.as_deref().and_then(check_username));
        refuse(errors)?;
        match self.catalog.update_user(caller.tenant, user, changed, self.clock.now()).await? {
            Some(Ok(user)) => Ok(user),
            Some(Err(conflict)) => Err(taken(conflict)),
            None => Err(Problem::not_found()),
        }
    }

    /// A user.
    pub async fn read(&self, caller: &Caller, user: UserId) -> Result<User, Problem> {
        if !caller.may_read(Some(user)) {
            return Err(Problem::not_found());
        }
        self.catalog.user(caller.tenant, user).await?.ok_or_else(Problem::not_found)
    }

    /// A page of users.
    pub async fn list(&self, caller: &Caller, after: Option<UserId>, limit: usize) -> Result<Vec<User>, Problem> {
        if !caller.is_admin && !caller.reads_any {
            return Err(Problem::new(
                ErrorCode::FORBIDDEN,
                "Listing users needs a token with the scope `admin` or `read:any`",
            ));
        }
        Ok(self.catalog.list_users(caller.tenant, after, limit.clamp(1, MAX_PAGE)).await?)
    }

    /// Deletes a user and erases the content of what was theirs. Complete when it returns; should it be interrupted,
    /// upkeep completes it.
    pub async fn delete(&self, caller: &Caller, user: UserId) -> Result<(), Problem> {
        if !caller.may_change(Some(user)) {
            return Err(if caller.may_read(Some(user)) { not_yours() } else { Problem::not_found() });
        }
        if !self.catalog.delete_user(caller.tenant, user, self.clock.now()).await? {
            return Err(Problem::not_found());
        }
        while !self.upkeep.erase(caller.tenant, user, self.clock.now(), ERASURE_STEP).await? {}
        Ok(())
    }
}

fn check_username(username: &str) -> Option<FieldError> {
    let good = (1..=255).contains(&username.chars().count())
        && username.trim() == username
        && !username.chars().any(char::is_control);
    (!good).then(|| {
        FieldError::new(
            "username",
            "must have 1 to 255 characters, none of them a control character, and no space at either end",
        )
    })
}

/// Checks the syntax of contacts.
pub fn check_contacts(contacts: &Contacts) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |field: &str, value: &Option<String>, good: fn(&str) -> bool, message: &str| {
        if value.as_deref().is_some_and(|value| !good(value)) {
            errors.push(FieldError::new(field, message));
        }
    };
    check("email", &contacts.email, contact::is_email, "must be an e-mail address such as ada@example.com");
    check(
        "phone",
        &contacts.phone,
        contact::is_phone,
        "must be a telephone number in E.164 form such as +442071838750",
    );
    check("webhookUrl", &contacts.webhook_url, is_web_url, "must be an http or https URL of at most 2048 characters");
    check("locale", &contacts.locale, contact::is_locale, "must be a language tag such as pt-BR");
    check("timeZone", &contacts.time_zone, contact::is_time_zone, "must be an IANA time zone such as Europe/Lisbon");
    errors
}

/// A first look only: whether the address is one that we send to is judged for each notification.
fn is_web_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text.len() <= 2048
        && rest.is_some_and(|rest| !rest.is_empty())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn refuse(errors: Vec<FieldError>) -> Result<(), Problem> {
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(ErrorCode::INVALID_FIELD, errors)) }
}

fn taken(conflict: UserConflict) -> Problem {
    Problem::field(ErrorCode::USER_EXISTS, conflict.field(), "is taken")
}

fn not_yours() -> Problem {
    Problem::new(ErrorCode::FORBIDDEN, "Changing another user needs a token with the scope `admin`")
}
