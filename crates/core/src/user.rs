//! Users: who can be told things, and how they are reached.

use serde::Serialize;

use crate::id::{TenantId, UserId};
use crate::time::Timestamp;

/// The ways to reach a user. Each is optional; a channel that lacks its contact refuses the notification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contacts {
    /// An e-mail address (RFC 5321 mailbox).
    pub email: Option<String>,
    /// A telephone number in E.164 form.
    pub phone: Option<String>,
    /// Where the webhook channel posts when the payload names no URL.
    pub webhook_url: Option<String>,
    /// A BCP 47 language tag, such as `pt-BR`.
    pub locale: Option<String>,
    /// An IANA time zone, such as `Europe/Lisbon`.
    pub time_zone: Option<String>,
}

/// A user as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Whose.
    pub tenant: TenantId,
    /// The name to log in with, unique in the tenant.
    pub username: String,
    /// How to reach them.
    pub contacts: Contacts,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
}

/// A user to be stored. Not to be printed: it has a password hash.
#[derive(Clone)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// A password hash in PHC string format, for users that log in.
    pub password_hash: Option<String>,
}

/// Why a user was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserConflict {
    /// The id is taken.
    Id,
    /// The user name is taken.
    Username,
    /// The e-mail address is taken.
    Email,
}

impl UserConflict {
    /// The field of the API that has to change.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Username => "username",
            Self::Email => "email",
        }
    }
}

/// What a login needs to know. Not to be printed.
#[derive(Clone)]
pub struct Credentials {
    /// Who logs in.
    pub user: UserId,
    /// Their user name as stored.
    pub username: String,
    /// The password hash in PHC string format (argon2id; bcrypt from an existing seed database).
    pub password_hash: String,
}
