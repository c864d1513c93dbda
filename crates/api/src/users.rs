//! Users and their contacts.

mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{StatusCode, Uri};
use tracing::info;

use tidings_core::draft::parse_object;

use crate::api::Api;
use crate::body::JsonText;
use crate::caller::{Admin, Authenticated};
use crate::error::Failure;
use crate::path::UserPath;
use crate::query::Params;

pub(crate) use view::UserView;
use view::{NewUserRequest, UserChangeRequest, UserList};

/// Create a user. Needs the scope `admin`.
///
/// The id is made unless given. With a password the user can log in.
#[utoipa::path(
    post,
    path = "/api/users",
    tag = "users",
    request_body(content = NewUserRequest, example = json!({"username": "ada", "email": "ada@example.com", "locale": "en-GB"})),
    responses((status = 201, description = "The user", body = UserView, headers(("Location" = String, description = "Where the user is"))))
)]
pub(crate) async fn create_user(
    State(api): State<Arc<Api>>,
    Admin(caller): Admin,
    JsonText(body): JsonText,
) -> Result<Response, Failure> {
    let mut request: NewUserRequest = parse_object(&body)?;
    let password_hash = match request.password.take() {
        Some(password) => Some(api.passwords.hash(password).await?),
        None => None,
    };
    let user = api.services.users.create(caller.tenant, request.into_draft(password_hash)).await?;
    info!(userId = %user.id, "Created user {}", user.id);
    let location = format!("/api/users/{}", user.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(UserView::from(user))).into_response())
}

/// List users, in the order of their creation. Needs the scope `admin` or `read:any`.
#[utoipa::path(
    get,
    path = "/api/users",
    tag = "users",
    params(
        ("after" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 200 users; 50 unless given")
    ),
    responses((status = 200, description = "A page", body = UserList))
)]
pub(crate) async fn list_users(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    uri: Uri,
) -> Result<Json<UserList>, Failure> {
    let mut params = Params::read(&uri, &["after", "limit"]);
    let (after, limit) = (params.user("after"), params.limit());
    params.finish()?;
    let users = api.services.users.list(&caller, after, limit).await?;
    Ok(Json(UserList::new(users, limit)))
}

/// One user: oneself, or any with the scope `admin` or `read:any`.
#[utoipa::path(
    get,
    path = "/api/users/{userId}",
    tag = "users",
    params(("userId" = String, Path, description = "The id of the user")),
    responses((status = 200, description = "The user", body = UserView))
)]
pub(crate) async fn show_user(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    UserPath(user): UserPath,
) -> Result<Json<UserView>, Failure> {
    let user = api.services.users.read(&caller, user).await?;
    Ok(Json(UserView::from(user)))
}

/// Change a user: oneself, or any with the scope `admin`.
///
/// A field that is absent stays, one that is null is taken away.
#[utoipa::path(
    patch,
    path = "/api/users/{userId}",
    tag = "users",
    params(("userId" = String, Path, description = "The id of the user")),
    request_body(content = UserChangeRequest, example = json!({"phone": "+442071838750", "email": null})),
    responses((status = 200, description = "The user afterwards", body = UserView))
)]
pub(crate) async fn update_user(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    UserPath(user): UserPath,
    JsonText(body): JsonText,
) -> Result<Json<UserView>, Failure> {
    let request: UserChangeRequest = parse_object(&body)?;
    let users = &api.services.users;
    let user = users.update(&caller, user, |change| request.apply(change)).await?;
    Ok(Json(UserView::from(user)))
}

/// Delete a user and erase the content of what was theirs: oneself, or any with the scope `admin`.
#[utoipa::path(
    delete,
    path = "/api/users/{userId}",
    tag = "users",
    params(("userId" = String, Path, description = "The id of the user")),
    responses((status = 204, description = "The user is gone"))
)]
pub(crate) async fn delete_user(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    UserPath(user): UserPath,
) -> Result<StatusCode, Failure> {
    api.services.users.delete(&caller, user).await?;
    info!(userId = %user, "Deleted user {user}");
    Ok(StatusCode::NO_CONTENT)
}
