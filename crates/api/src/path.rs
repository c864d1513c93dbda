//! Ids in paths. One that nobody can have issued names nothing, and is answered like everything that is not there.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use uuid::Uuid;

use tidings_core::id::{MessageId, UserId};

use crate::api::Api;
use crate::error::{Failure, not_found};

/// The `{messageId}` of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessagePath(pub(crate) MessageId);

/// The `{userId}` of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserPath(pub(crate) UserId);

impl FromRequestParts<Arc<Api>> for MessagePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        let id = uuid_of(parts, api).await.and_then(MessageId::from_uuid);
        id.map(Self).ok_or_else(not_found)
    }
}

impl FromRequestParts<Arc<Api>> for UserPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        let id = uuid_of(parts, api).await.map(UserId);
        id.map(Self).ok_or_else(not_found)
    }
}

async fn uuid_of(parts: &mut Parts, api: &Arc<Api>) -> Option<Uuid> {
    let Path(text) = Path::<String>::from_request_parts(parts, api).await.ok()?;
    Uuid::try_parse(&text).ok()
}
