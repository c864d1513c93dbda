//! What the routes of the dev page share.

use std::sync::{Arc, OnceLock};

use tidings_api::Services;
use tidings_api::token::{Claims, SCOPE_ADMIN};
use tidings_channels::webhook;
use tidings_core::time::SystemClock;
use tokio_util::sync::CancellationToken;

use crate::dev::catchers::Catchers;
use crate::serve::SEED_USERS;

/// The dev page's view of everything.
pub(crate) struct Stage {
    pub(crate) catchers: Catchers,
    pub(crate) clock: Arc<SystemClock>,
    /// Cancelled when the process ends: nothing waits any longer then.
    pub(crate) end: CancellationToken,
    product: OnceLock<Product>,
}

/// The running product. It is there once its own routes, which include those of this page, are served.
pub(crate) struct Product {
    pub(crate) services: Services,
    /// What webhooks are signed with.
    pub(crate) webhook_secret: webhook::Secret,
    /// How long tokens last, where they have to expire.
    pub(crate) token_seconds: Option<i64>,
}

impl Stage {
    pub(crate) fn new(catchers: Catchers, clock: Arc<SystemClock>) -> Self {
        Self { catchers, clock, end: CancellationToken::new(), product: OnceLock::new() }
    }

    /// Lets the page reach the product.
    pub(crate) fn open(&self, product: Product) {
        self.product.get_or_init(|| product);
    }

    /// The product; `None` in the moment before it is up.
    pub(crate) fn product(&self) -> Option<&Product> {
        self.product.get()
    }
}

impl Product {
    /// A token with the claims of the seed's own: it sends to anyone and reads what is the first test user's.
    pub(crate) fn user_token(&self) -> anyhow::Result<String> {
        self.token(None)
    }

    /// A token that may do everything, for the page.
    pub(crate) fn admin_token(&self) -> anyhow::Result<String> {
        self.token(Some(SCOPE_ADMIN.to_owned()))
    }

    fn token(&self, scope: Option<String>) -> anyhow::Result<String> {
        let (user, username, _) = SEED_USERS[0];
        let now = self.services.clock.now().as_seconds();
        let claims = Claims {
            user_id: Some(user),
            username: Some(username.to_owned()),
            scope,
            iat: Some(now),
            exp: self.token_seconds.map(|seconds| now.saturating_add(seconds)),
            ..Claims::default()
        };
        Ok(self.services.keys.issue(&claims)?)
    }
}
