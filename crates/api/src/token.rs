//! Bearer tokens: JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256.
//!
//! Which algorithm a token is verified with is decided here and never by the token (RFC 8725). What a header says about
//! keys (`kid`, `jku`, `jwk`, `x5u`, `x5c`) is ignored, what it declares critical (`crit`) is refused, for nothing is
//! implemented. Time is passed in, so the checks of time are made here and those of the library are switched off.

use std::collections::HashSet;
use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use tidings_core::time::Timestamp;

/// How far the clocks of an issuer and of this machine may differ, in seconds.
pub const LEEWAY_SECONDS: i64 = 10;

/// The scope that allows to read what is not one's own.
pub const SCOPE_READ_ANY: &str = "read:any";

/// The scope that allows everything in a tenant.
pub const SCOPE_ADMIN: &str = "admin";

/// The `iss` that is taken, if a token has one.
const ISSUER: &str = "tidings";

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The last second that a time in a token may name: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// What a token says about its bearer. The names on the wire are those of the seed: `userId`, `username`, `iat`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Who bears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Uuid>,
    /// Their user name, for people to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The tenant; `default` when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Scopes, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// When it was issued, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// When it expires, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
}

impl Claims {
    /// Whether the bearer has a scope.
    pub fn has_scope(&self, wanted: &str) -> bool {
        let scopes = self.scope.as_deref().unwrap_or_default();
        scopes.split(' ').any(|scope| scope == wanted)
    }
}

/// What a token has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// What it says.
    pub(crate) claims: Claims,
    /// Whether it was given to an account of ours when somebody logged in, and so is worth no more than that account. Other
    /// tokens are made by operators, for whomever they like.
    pub(crate) is_of_account: bool,
}

/// What is signed for an account.
#[derive(Serialize)]
struct AccountClaims<'a> {
    #[serde(flatten)]
    claims: &'a Claims,
    iss: &'static str,
}

/// The token is not one of ours, or not valid now. Deliberately says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken;

/// A token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct IssueError(#[source] jsonwebtoken::errors::Error);

/// Signs and verifies tokens with one secret.
pub struct Keys {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    require_expiry: bool,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").field("require_expiry", &self.require_expiry).finish_non_exhaustive()
    }
}

/// The claims as they come: each is optional, but one of the wrong type spoils the token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClaims {
    user_id: Option<Uuid>,
    username: Option<String>,
    tenant: Option<String>,
    scope: Option<String>,
    iat: Option<i64>,
    exp: Option<i64>,
    nbf: Option<i64>,
    iss: Option<String>,
    aud: Option<IgnoredAny>,
}

impl Keys {
    /// Keys from a secret. `require_expiry` refuses tokens without `exp`; the seed's own have none.
    pub fn new(secret: &[u8], require_expiry: bool) -> Self {
        // The library panics at the first token unless a provider was chosen; a second choice is refused and changes nothing.
        if jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().is_err() {
            tracing::trace!("The provider of cryptography for tokens had been chosen before");
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims = HashSet::new();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Self {
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
            validation,
            require_expiry,
        }
    }

    /// A signed token with these claims.
    pub fn issue(&self, claims: &Claims) -> Result<String, IssueError> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing).map_err(IssueError)
    }

    /// A signed token with these claims for an account of ours.
    pub(crate) fn issue_to_account(&self, claims: &Claims) -> Result<String, IssueError> {
        let claims = AccountClaims { claims, iss: ISSUER };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing).map_err(IssueError)
    }

    /// The claims of a token that is valid at `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, InvalidToken> {
        self.read(token, now).map(|verified| verified.claims)
    }

    /// What a token that is valid at `now` has proved.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Result<Verified, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken);
        }
        let token = jsonwebtoken::decode::<RawClaims>(token, &self.verifying, &self.validation)
            .map_err(|_whatever_is_wrong| InvalidToken)?;
        if !is_plain(&token.header) || !self.is_for_us_now(&token.claims, now) {
            return Err(InvalidToken);
        }
        let claims = token.claims;
        Ok(Verified {
            is_of_account: claims.iss.is_some(),
            claims: Claims {
                user_id: claims.user_id,
                username: claims.username,
                tenant: claims.tenant,
                scope: claims.scope,
                iat: claims.iat,
                exp: claims.exp,
            },
        })
    }

    fn is_for_us_now(&self, claims: &RawClaims, now: Timestamp) -> bool {
        let now = now.as_seconds();
        let sane = |time: Option<i64>| time.is_none_or(|time| (0..=LAST_SECOND).contains(&time));
        let alive = match claims.exp {
            Some(exp) => now < exp.saturating_add(LEEWAY_SECONDS),
            None => !self.require_expiry,
        };
        let begun = claims.nbf.is_none_or(|nbf| now.saturating_add(LEEWAY_SECONDS) >= nbf);
        let for_us = claims.aud.is_none() && claims.iss.as_deref().is_none_or(|issuer| issuer == ISSUER);
        sane(claims.iat) && sane(claims.exp) && sane(claims.nbf) && alive && begun && for_us
    }
}

/// Whether a header declares nothing critical and is that of a token, not of some other signed thing.
fn is_plain(header: &Header) -> bool {
    let is_token = header.typ.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"));
    is_token && header.crit.is_none()
}

#[cfg(test)]
mod tests;
