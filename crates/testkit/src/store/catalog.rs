//! Tenants and users.

use async_trait::async_trait;
use tidings_core::error::StoreError;
use tidings_core::id::{TenantId, UserId};
use tidings_core::ports::Catalog;
use tidings_core::ports::catalog::UserChange;
use tidings_core::time::Timestamp;
use tidings_core::user::{Credentials, NewUser, User, UserConflict};

use super::FakeStore;
use super::rows::{Erasure, Tables};

#[async_trait]
impl Catalog for FakeStore {
    async fn tenant(&self, name: &str, _now: Timestamp) -> Result<TenantId, StoreError> {
        self.write(|tables| tables.tenant(name))
    }

    async fn find_tenant(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        self.read(|tables| tables.find_tenant(name))
    }

    async fn create_user(&self, user: NewUser) -> Result<Result<(), UserConflict>, StoreError> {
        self.write(|tables| {
            if let Some(conflict) = tables.conflict(&user.user, true) {
                return Err(conflict);
            }
            tables.users.push(user);
            Ok(())
        })
    }

    async fn update_user(
        &self,
        tenant: TenantId,
        user: UserId,
        change: UserChange,
        now: Timestamp,
    ) -> Result<Option<Result<User, UserConflict>>, StoreError> {
        self.write(|tables| tables.update_user(tenant, user, change, now))
    }

    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>, StoreError> {
        self.read(|tables| tables.position(tenant, user).map(|position| tables.users[position].user.clone()))
    }

    async fn list_users(&self, tenant: TenantId, after: Option<UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.read(|tables| {
            let start = after.and_then(|after| tables.position(tenant, after)).map_or(0, |position| position + 1);
            let users = tables.users.iter().skip(start).map(|new| &new.user);
            users.filter(|user| user.tenant == tenant).take(limit).cloned().collect()
        })
    }

    async fn credentials(&self, tenant: TenantId, username: &str) -> Result<Option<Credentials>, StoreError> {
        self.read(|tables| {
            let is_meant = |new: &&NewUser| new.user.tenant == tenant && new.user.username == username;
            let new = tables.users.iter().find(is_meant)?;
            let password_hash = new.password_hash.clone()?;
            Some(Credentials { user: new.user.id, username: new.user.username.clone(), password_hash })
        })
    }

    async fn delete_user(&self, tenant: TenantId, user: UserId, _now: Timestamp) -> Result<bool, StoreError> {
        self.write(|tables| {
            let Some(position) = tables.position(tenant, user) else {
                return false;
            };
            tables.users.remove(position);
            tables.erasures.push(Erasure { tenant, user, upto: None });
            true
        })
    }
}

impl Tables {
    fn tenant(&mut self, name: &str) -> TenantId {
        self.find_tenant(name).unwrap_or_else(|| {
            self.tenants.push(name.to_owned());
            tenant_at(self.tenants.len() - 1)
        })
    }

    fn find_tenant(&self, name: &str) -> Option<TenantId> {
        self.tenants.iter().position(|known| known == name).map(tenant_at)
    }

    fn position(&self, tenant: TenantId, user: UserId) -> Option<usize> {
        self.users.iter().position(|new| new.user.tenant == tenant && new.user.id == user)
    }

    fn update_user(
        &mut self,
        tenant: TenantId,
        user: UserId,
        change: UserChange,
        now: Timestamp,
    ) -> Option<Result<User, UserConflict>> {
        let position = self.position(tenant, user)?;
        let mut changed = self.users[position].user.clone();
        changed.contacts = change.contacts;
        changed.username = change.username.unwrap_or(changed.username);
        changed.updated_at = now;
        if let Some(conflict) = self.conflict(&changed, false) {
            return Some(Err(conflict));
        }
        self.users[position].user.clone_from(&changed);
        Some(Ok(changed))
    }

    /// The first unique field that another user of the tenant has. An id also counts as taken while its former user is
    /// being erased: what the new one would be told would go with it.
    fn conflict(&self, user: &User, is_new: bool) -> Option<UserConflict> {
        let being_erased = || self.erasures.iter().any(|gone| gone.tenant == user.tenant && gone.user == user.id);
        if is_new && (self.position(user.tenant, user.id).is_some() || being_erased()) {
            return Some(UserConflict::Id);
        }
        let others = || {
            let users = self.users.iter().map(|new| &new.user);
            users.filter(|other| other.tenant == user.tenant && other.id != user.id)
        };
        if others().any(|other| other.username == user.username) {
            return Some(UserConflict::Username);
        }
        let email = user.contacts.email.as_deref()?;
        let has_it = |other: &User| other.contacts.email.as_deref().is_some_and(|its| its.eq_ignore_ascii_case(email));
        others().any(has_it).then_some(UserConflict::Email)
    }
}

fn tenant_at(position: usize) -> TenantId {
    TenantId::from_integer(i64::try_from(position + 1).unwrap_or(i64::MAX))
}
