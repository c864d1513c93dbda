//! The users of the seed, with contacts that lead into the catchers.

use serde::Serialize;
use tidings_core::access::Caller;
use tidings_core::id::{TenantId, UserId};
use tidings_core::services::users::Users;
use tracing::warn;

use crate::dev::catchers::{Catchers, WEBHOOK_PATH};
use crate::serve::SEED_USERS;

/// Numbers that are reserved for fiction.
const PHONES: [&str; 3] = ["+12025550101", "+12025550102", "+12025550103"];

/// How a test user is reached.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Contact {
    pub(crate) email: &'static str,
    pub(crate) phone: &'static str,
    pub(crate) webhook_url: String,
}

impl Contact {
    /// That of the test user with this index.
    pub(crate) fn of(index: usize, catchers: &Catchers) -> Self {
        let (_, username, email) = SEED_USERS.get(index).copied().unwrap_or(SEED_USERS[0]);
        let phone = PHONES.get(index).copied().unwrap_or(PHONES[0]);
        Self { email, phone, webhook_url: catchers.webhook_url(username) }
    }
}

/// Completes the contacts of the test users. What somebody has set stays, except for the address of a catcher that was
/// there before this one.
pub(crate) async fn complete(users: &Users, catchers: &Catchers) {
    let operator = Caller { tenant: TenantId::DEFAULT, user: None, reads_any: true, is_admin: true };
    for (index, (id, username, _)) in SEED_USERS.into_iter().enumerate() {
        let contact = Contact::of(index, catchers);
        let updated = users.update(&operator, UserId(id), |change| {
            let contacts = &mut change.contacts;
            contacts.phone.get_or_insert_with(|| contact.phone.to_owned());
            if contacts.webhook_url.as_deref().is_none_or(is_of_a_catcher) {
                contacts.webhook_url = Some(contact.webhook_url);
            }
        });
        if let Err(problem) = updated.await {
            warn!("The contacts of {username} could not be completed: {problem}");
        }
    }
}

fn is_of_a_catcher(url: &str) -> bool {
    url.starts_with("http://127.0.0.1:") && url.contains(WEBHOOK_PATH)
}
