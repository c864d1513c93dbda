//! Who asks. Extracted before anything else, so that nobody without a token costs more than a look at their headers.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use tidings_core::access::Caller;
use tidings_core::id::{TenantId, UserId};

use crate::api::Api;
use crate::context::single;
use crate::error::{Failure, unauthorized};
use crate::token::{SCOPE_ADMIN, SCOPE_READ_ANY, Verified};

/// Somebody with a valid token.
#[derive(Debug)]
pub(crate) struct Authenticated(pub(crate) Caller);

/// Somebody with the scope `admin`.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Caller);

impl FromRequestParts<Arc<Api>> for Authenticated {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        let token = bearer(&parts.headers).ok_or_else(unauthorized)?;
        let Verified { claims, is_of_account } = api
            .services
            .keys
            .read(token, api.services.token_clock.now())
            .map_err(|_whatever_is_wrong| unauthorized())?;
        let tenant = api.tenant(claims.tenant.as_deref()).await?.ok_or_else(unauthorized)?;
        let user = claims.user_id.map(UserId);
        if is_of_account {
            require_account(api, tenant, user).await?;
        }
        Ok(Self(Caller {
            tenant,
            user,
            reads_any: claims.has_scope(SCOPE_READ_ANY),
            is_admin: claims.has_scope(SCOPE_ADMIN),
        }))
    }
}

impl FromRequestParts<Arc<Api>> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, api).await?;
        caller.require_admin()?;
        Ok(Self(caller))
    }
}

/// Refuses the token of an account that was deleted since.
async fn require_account(api: &Api, tenant: TenantId, user: Option<UserId>) -> Result<(), Failure> {
    let user = user.ok_or_else(unauthorized)?;
    let account = api.services.catalog.user(tenant, user).await?;
    account.map(drop).ok_or_else(unauthorized)
}

/// The token of a single `Authorization: Bearer <token>`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = single(headers, AUTHORIZATION.as_str())?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token_of(values: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn a_bearer_token_is_found() {
        assert_eq!(token_of(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(token_of(&["bearer  abc"]).as_deref(), Some("abc"));
    }

    #[test]
    fn anything_else_is_no_token() {
        assert_eq!(token_of(&[]), None);
        for value in ["", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"] {
            assert_eq!(token_of(&[value]), None, "{value:?}");
        }
        assert_eq!(token_of(&["Bearer abc", "Bearer abc"]), None, "which of the two would count?");
    }
}
