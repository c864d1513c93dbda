//! How users look on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use tidings_core::id::UserId;
use tidings_core::ports::catalog::UserChange;
use tidings_core::services::users::UserDraft;
use tidings_core::time::Timestamp;
use tidings_core::user::{Contacts, User};

use crate::wire::Change;

/// A user to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewUserRequest {
    /// Made unless given.
    #[schema(value_type = Option<String>, format = Uuid)]
    id: Option<Uuid>,
    /// The name to log in with: 1 to 255 characters, unique in the tenant.
    username: String,
    /// An e-mail address, unique in the tenant.
    email: Option<String>,
    /// A telephone number in E.164 form.
    phone: Option<String>,
    /// Where webhooks go whose payload names no URL.
    webhook_url: Option<String>,
    /// A language tag (BCP 47).
    locale: Option<String>,
    /// A time zone (IANA).
    time_zone: Option<String>,
    /// 8 to 128 characters.
    pub(super) password: Option<String>,
}

/// What is to change about a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UserChangeRequest {
    /// The name to log in with.
    username: Option<String>,
    /// An e-mail address, or null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Change,
    /// A telephone number in E.164 form, or null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    phone: Change,
    /// Where webhooks go whose payload names no URL, or null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    webhook_url: Change,
    /// A language tag (BCP 47), or null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    locale: Change,
    /// A time zone (IANA), or null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    time_zone: Change,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserView {
    #[schema(value_type = String, format = Uuid)]
    id: UserId,
    username: String,
    email: Option<String>,
    phone: Option<String>,
    webhook_url: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A page of users.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserList {
    items: Vec<UserView>,
    /// Pass it as `after` for the next page; null at the end.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<UserId>,
}

impl NewUserRequest {
    pub(super) fn into_draft(self, password_hash: Option<String>) -> UserDraft {
        UserDraft {
            id: UserId(self.id.unwrap_or_else(Uuid::new_v4)),
            username: self.username,
            contacts: Contacts {
                email: self.email,
                phone: self.phone,
                webhook_url: self.webhook_url,
                locale: self.locale,
                time_zone: self.time_zone,
            },
            password_hash,
        }
    }
}

impl UserChangeRequest {
    pub(super) fn apply(self, change: &mut UserChange) {
        change.username = self.username;
        self.email.apply(&mut change.contacts.email);
        self.phone.apply(&mut change.contacts.phone);
        self.webhook_url.apply(&mut change.contacts.webhook_url);
        self.locale.apply(&mut change.contacts.locale);
        self.time_zone.apply(&mut change.contacts.time_zone);
    }
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username,
            email: user.contacts.email,
            phone: user.contacts.phone,
            webhook_url: user.contacts.webhook_url,
            locale: user.contacts.locale,
            time_zone: user.contacts.time_zone,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

impl UserList {
    /// A page that was asked for with this limit. A full one may be the last: then the next is empty.
    pub(super) fn new(users: Vec<User>, limit: usize) -> Self {
        let last = users.last().map(|user| user.id);
        Self {
            next_cursor: last.filter(|_| users.len() >= limit),
            items: users.into_iter().map(UserView::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::draft::parse_object;
    use tidings_core::error::ErrorCode;

    use super::*;

    #[test]
    fn a_user_cannot_be_given_what_is_not_theirs_to_set() {
        for body in [
            r#"{"username":"a","tenantId":2}"#,
            r#"{"username":"a","role":"admin"}"#,
            r#"{"username":"a","passwordHash":"x"}"#,
            r#"{"username":"a","createdAt":"2026-01-01T00:00:00Z"}"#,
        ] {
            let problem = parse_object::<NewUserRequest>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code, ErrorCode::INVALID_FIELD, "{body}");
            assert!(parse_object::<UserChangeRequest>(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_change_touches_what_it_names() {
        let request: UserChangeRequest = parse_object(br#"{"phone":null,"locale":"pt-BR"}"#).unwrap();
        let mut change = UserChange {
            contacts: Contacts {
                email: Some("a@b.example".to_owned()),
                phone: Some("+442071838750".to_owned()),
                ..Contacts::default()
            },
            username: None,
        };
        request.apply(&mut change);
        assert_eq!(change.contacts.email.as_deref(), Some("a@b.example"));
        assert_eq!((change.contacts.phone, change.contacts.locale.as_deref()), (None, Some("pt-BR")));
        assert_eq!(change.username, None);
    }
}
