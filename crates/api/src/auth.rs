//! Accounts: registering and logging in with a user name and a password.

pub(crate) mod limits;
pub(crate) mod password;

use std::future::{Future, ready};
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use tidings_core::draft::parse_object;
use tidings_core::error::{ErrorCode, Problem};
use tidings_core::id::{TenantId, UserId};
use tidings_core::services::users::UserDraft;
use tidings_core::time::Timestamp;
use tidings_core::user::{Contacts, Credentials};

use crate::api::{Api, DEFAULT_TENANT};
use crate::body::CredentialsText;
use crate::error::{Failure, forbidden, internal};
use crate::token::Claims;
use crate::users::UserView;
use limits::{MayLogIn, MayRegister, Name};

/// An account to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterRequest {
    /// The name to log in with.
    username: String,
    /// An e-mail address.
    email: String,
    /// 8 to 128 characters.
    password: String,
}

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    /// The user name.
    username: String,
    /// The password.
    password: String,
    /// The tenant; `default` unless given.
    tenant: Option<String>,
}

/// A token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    /// To be sent as `Authorization: Bearer <token>`.
    token: String,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A new account and a token for it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Registration {
    /// The user.
    user: UserView,
    #[serde(flatten)]
    session: Session,
}

/// Create an account. Only where the operator has switched registration on.
#[utoipa::path(
    post,
    path = "/api/auth/register",
    tag = "accounts",
    security(()),
    request_body(content = RegisterRequest, example = json!({"username": "ada", "email": "ada@example.com", "password": "correct horse battery staple"})),
    responses((status = 201, description = "The user and a token", body = Registration))
)]
pub(crate) async fn register(
    State(api): State<Arc<Api>>,
    Registering: Registering,
    MayRegister: MayRegister,
    CredentialsText(body): CredentialsText,
) -> Result<(StatusCode, Json<Registration>), Failure> {
    let request: RegisterRequest = parse_object(&body)?;
    let draft = UserDraft {
        id: UserId(Uuid::new_v4()),
        username: request.username,
        contacts: Contacts { email: Some(request.email), ..Contacts::default() },
        password_hash: Some(api.passwords.hash(request.password).await?),
    };
    let user = api.services.users.create(TenantId::DEFAULT, draft).await?;
    info!(userId = %user.id, "Registered user {}", user.id);
    let session = open_session(&api, user.id, &user.username, None)?;
    let user = UserView::from(user);
    Ok((StatusCode::CREATED, Json(Registration { user, session })))
}

/// Log in.
///
/// The answer to a user that does not exist is that to a wrong password.
#[utoipa::path(
    post,
    path = "/api/auth/login",
    tag = "accounts",
    security(()),
    request_body(content = LoginRequest, example = json!({"username": "ada", "password": "correct horse battery staple"})),
    responses((status = 200, description = "A token", body = Session))
)]
pub(crate) async fn log_in(
    State(api): State<Arc<Api>>,
    MayLogIn(from): MayLogIn,
    CredentialsText(body): CredentialsText,
) -> Result<Json<Session>, Failure> {
    let request: LoginRequest = parse_object(&body)?;
    let tenant_name = request.tenant.filter(|name| name != DEFAULT_TENANT);
    let name = Name { from, tenant: tenant_name.as_deref(), username: &request.username };
    api.limits.attempt(&name, api.services.token_clock.now())?;
    let known = find(&api, tenant_name.as_deref(), &request.username).await?;
    let hash = known.as_ref().map(|known| known.password_hash.clone());
    let matches = api.passwords.matches(request.password, hash).await?;
    match known {
        Some(known) if matches => {
            api.limits.clear(&name);
            Ok(Json(open_session(&api, known.user, &known.username, tenant_name)?))
        }
        _ => Err(Failure(Problem::new(ErrorCode::INVALID_CREDENTIALS, "The user name or the password is wrong"))),
    }
}

async fn find(api: &Api, tenant: Option<&str>, username: &str) -> Result<Option<Credentials>, Problem> {
    match api.find_tenant(tenant).await? {
        Some(tenant) => Ok(api.services.catalog.credentials(tenant, username).await?),
        None => Ok(None),
    }
}

fn open_session(api: &Api, user: UserId, username: &str, tenant: Option<String>) -> Result<Session, Problem> {
    let now = api.services.token_clock.now();
    let expires_at = now + api.config.token_ttl;
    let claims = Claims {
        user_id: Some(user.0),
        username: Some(username.to_owned()),
        tenant,
        scope: None,
        iat: Some(now.as_seconds()),
        exp: Some(expires_at.as_seconds()),
    };
    let token = api.services.keys.issue_to_account(&claims);
    let token = token.map_err(|error| internal("A token could not be issued", &error))?;
    Ok(Session { token, expires_at })
}

/// That registration is switched on; checked before the body is read.
pub(crate) struct Registering;

impl FromRequestParts<Arc<Api>> for Registering {
    type Rejection = Failure;

    fn from_request_parts(_parts: &mut Parts, api: &Arc<Api>) -> impl Future<Output = Result<Self, Failure>> + Send {
        ready(if api.config.registration {
            Ok(Self)
        } else {
            Err(forbidden("Registration is switched off in this installation"))
        })
    }
}
