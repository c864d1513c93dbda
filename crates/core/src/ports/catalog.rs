//! Tenants and users.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::id::{TenantId, UserId};
use crate::time::Timestamp;
use crate::user::{Contacts, Credentials, NewUser, User, UserConflict};

/// What changes about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The new contacts, whole.
    pub contacts: Contacts,
    /// A new user name.
    pub username: Option<String>,
}

/// Who exists.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The tenant with this name, created when it is named for the first time.
    async fn tenant(&self, name: &str, now: Timestamp) -> Result<TenantId, StoreError>;

    /// The tenant with this name, if it exists. For callers who have not proved anything yet: it creates nothing.
    async fn find_tenant(&self, name: &str) -> Result<Option<TenantId>, StoreError>;

    /// Stores a user, or says which of its unique fields is taken.
    async fn create_user(&self, user: NewUser) -> Result<Result<(), UserConflict>, StoreError>;

    /// Changes a user. `None` when there is none.
    async fn update_user(
        &self,
        tenant: TenantId,
        user: UserId,
        change: UserChange,
        now: Timestamp,
    ) -> Result<Option<Result<User, UserConflict>>, StoreError>;

    /// A user. This is on the path of every accept and attempt: it MUST be cheap, and MUST see a change made through
    /// the same store at once.
    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>, StoreError>;

    /// Users in the order of their creation, after the one given.
    async fn list_users(&self, tenant: TenantId, after: Option<UserId>, limit: usize) -> Result<Vec<User>, StoreError>;

    /// What is needed to check a login. `None` when there is no such user or they have no password.
    async fn credentials(&self, tenant: TenantId, username: &str) -> Result<Option<Credentials>, StoreError>;

    /// Deletes a user and puts their erasure on record, durably; `false` when there is none. The erasure itself is done in steps by
    /// [`Upkeep::erase`](crate::ports::Upkeep::erase).
    async fn delete_user(&self, tenant: TenantId, user: UserId, now: Timestamp) -> Result<bool, StoreError>;
}
