//! Tenants and users.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tidings_core::error::StoreError;
use tidings_core::id::{TenantId, UserId};
use tidings_core::ports::Catalog;
use tidings_core::ports::catalog::UserChange;
use tidings_core::time::Timestamp;
use tidings_core::user::{Contacts, Credentials, NewUser, User, UserConflict};

use super::error::sort;
use super::open::SqliteStore;
use super::rows;
use super::writer::Tx;

#[async_trait]
impl Catalog for SqliteStore {
    async fn tenant(&self, name: &str, now: Timestamp) -> Result<TenantId, StoreError> {
        if let Some(tenant) = self.find_tenant(name).await? {
            return Ok(tenant);
        }
        let wanted = name.to_owned();
        self.inner.writer.write(1, move |tx| Ok(make_tenant(tx, &wanted, now)?)).await
    }

    async fn find_tenant(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let wanted = name.to_owned();
        self.read(move |connection| find_tenant(connection, &wanted).map_err(|error| sort(&error))).await
    }

    async fn create_user(&self, user: NewUser) -> Result<Result<(), UserConflict>, StoreError> {
        self.inner.writer.write(1, move |tx| Ok(create(tx, &user)?)).await
    }

    async fn update_user(
        &self,
        tenant: TenantId,
        user: UserId,
        change: UserChange,
        now: Timestamp,
    ) -> Result<Option<Result<User, UserConflict>>, StoreError> {
        self.inner.writer.write(1, move |tx| Ok(update(tx, tenant, user, &change, now)?)).await
    }

    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>, StoreError> {
        let mark = match self.inner.users.get(tenant, user) {
            Ok(user) => return Ok(Some(user)),
            Err(mark) => mark,
        };
        let found =
            self.read_urgently(move |connection| find(connection, tenant, user).map_err(|error| sort(&error))).await?;
        if let Some(user) = &found {
            self.inner.users.keep(user.clone(), mark);
        }
        Ok(found)
    }

    async fn list_users(&self, tenant: TenantId, after: Option<UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.read(move |connection| list(connection, tenant, after, limit).map_err(|error| sort(&error))).await
    }

    async fn credentials(&self, tenant: TenantId, username: &str) -> Result<Option<Credentials>, StoreError> {
        let username = username.to_owned();
        self.read(move |connection| credentials(connection, tenant, &username).map_err(|error| sort(&error))).await
    }

    async fn delete_user(&self, tenant: TenantId, user: UserId, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.writer.write(1, move |tx| Ok(delete(tx, tenant, user, now)?)).await
    }
}

const USER: &str = "id, tenant_id, username, email, phone, webhook_url, locale, time_zone, created_at, updated_at";

fn read_user(row: &Row<'_>) -> rusqlite::Result<User> {
    let id = rows::user_id(row, 0)?.ok_or_else(|| rows::unreadable(0, "a user has no id".to_owned()))?;
    Ok(User {
        id,
        tenant: TenantId::from_integer(row.get(1)?),
        username: row.get(2)?,
        contacts: Contacts {
            email: row.get(3)?,
            phone: row.get(4)?,
            webhook_url: row.get(5)?,
            locale: row.get(6)?,
            time_zone: row.get(7)?,
        },
        created_at: rows::instant(row, 8)?,
        updated_at: rows::instant(row, 9)?,
    })
}

fn find_tenant(connection: &Connection, name: &str) -> rusqlite::Result<Option<TenantId>> {
    let mut select = connection.prepare_cached("SELECT id FROM tenants WHERE name = ?1")?;
    select.query_row(params![name], |row| row.get(0).map(TenantId::from_integer)).optional()
}

fn make_tenant(tx: &Tx<'_>, name: &str, now: Timestamp) -> rusqlite::Result<TenantId> {
    let mut insert = tx.connection.prepare_cached("INSERT INTO tenants (name, created_at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id")?;
    insert.query_row(params![name, now.as_millis()], |row| row.get(0).map(TenantId::from_integer))
}

fn find(connection: &Connection, tenant: TenantId, user: UserId) -> rusqlite::Result<Option<User>> {
    let mut select =
        connection.prepare_cached(&format!("SELECT {USER} FROM users WHERE tenant_id = ?1 AND id = ?2"))?;
    select.query_row(params![tenant.as_integer(), *user.0.as_bytes()], read_user).optional()
}

fn create(tx: &mut Tx<'_>, new: &NewUser) -> rusqlite::Result<Result<(), UserConflict>> {
    let user = &new.user;
    if let Some(conflict) =
        conflict(tx.connection, user.tenant, user.id, &user.username, user.contacts.email.as_deref(), true)?
    {
        return Ok(Err(conflict));
    }
    let mut insert = tx.connection.prepare_cached(
        "INSERT INTO users (id, tenant_id, username, email, phone, webhook_url, locale, time_zone, created_at, updated_at, password_hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let contacts = &user.contacts;
    insert.execute(params![
        *user.id.0.as_bytes(),
        user.tenant.as_integer(),
        user.username,
        contacts.email,
        contacts.phone,
        contacts.webhook_url,
        contacts.locale,
        contacts.time_zone,
        user.created_at.as_millis(),
        user.updated_at.as_millis(),
        new.password_hash,
    ])?;
    tx.changes.user_changed(user.tenant, user.id);
    Ok(Ok(()))
}

fn update(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    id: UserId,
    change: &UserChange,
    now: Timestamp,
) -> rusqlite::Result<Option<Result<User, UserConflict>>> {
    let Some(mut user) = find(tx.connection, tenant, id)? else {
        return Ok(None);
    };
    user.contacts = change.contacts.clone();
    user.username = change.username.clone().unwrap_or(user.username);
    user.updated_at = now;
    if let Some(conflict) = conflict(tx.connection, tenant, id, &user.username, user.contacts.email.as_deref(), false)?
    {
        return Ok(Some(Err(conflict)));
    }
    let mut update = tx.connection.prepare_cached(
        "UPDATE users SET username = ?3, email = ?4, phone = ?5, webhook_url = ?6, locale = ?7, time_zone = ?8, updated_at = ?9
         WHERE tenant_id = ?1 AND id = ?2",
    )?;
    let contacts = &user.contacts;
    update.execute(params![
        tenant.as_integer(),
        *id.0.as_bytes(),
        user.username,
        contacts.email,
        contacts.phone,
        contacts.webhook_url,
        contacts.locale,
        contacts.time_zone,
        now.as_millis(),
    ])?;
    tx.changes.user_changed(tenant, id);
    Ok(Some(Ok(user)))
}

/// The first unique field that another user has. An id also counts as taken while its former user is being erased.
fn conflict(
    connection: &Connection,
    tenant: TenantId,
    id: UserId,
    username: &str,
    email: Option<&str>,
    is_new: bool,
) -> rusqlite::Result<Option<UserConflict>> {
    let bytes = *id.0.as_bytes();
    let exists = |sql: &str, value: &dyn rusqlite::ToSql| -> rusqlite::Result<bool> {
        connection.prepare_cached(sql)?.query_row(params![tenant.as_integer(), value, bytes], |row| row.get(0))
    };
    let by_id = "SELECT EXISTS (SELECT 1 FROM users WHERE tenant_id = ?1 AND id = ?2 AND ?3 NOTNULL)
                 OR EXISTS (SELECT 1 FROM erasures WHERE tenant_id = ?1 AND user_id = ?2)";
    if is_new && exists(by_id, &bytes)? {
        return Ok(Some(UserConflict::Id));
    }
    if exists("SELECT EXISTS (SELECT 1 FROM users WHERE tenant_id = ?1 AND username = ?2 AND id <> ?3)", &username)? {
        return Ok(Some(UserConflict::Username));
    }
    if exists("SELECT EXISTS (SELECT 1 FROM users WHERE tenant_id = ?1 AND email = ?2 AND id <> ?3)", &email)? {
        return Ok(Some(UserConflict::Email));
    }
    Ok(None)
}

fn list(connection: &Connection, tenant: TenantId, after: Option<UserId>, limit: usize) -> rusqlite::Result<Vec<User>> {
    let after = after.map(|user| *user.0.as_bytes());
    let mut select = connection.prepare_cached(&format!(
        "SELECT {USER} FROM users WHERE tenant_id = ?1
            AND row > coalesce((SELECT row FROM users WHERE tenant_id = ?1 AND id = ?2), -1) ORDER BY row LIMIT ?3"
    ))?;
    let users =
        select.query_map(params![tenant.as_integer(), after, i64::try_from(limit).unwrap_or(i64::MAX)], read_user)?;
    users.collect()
}

fn credentials(connection: &Connection, tenant: TenantId, username: &str) -> rusqlite::Result<Option<Credentials>> {
    let mut select = connection.prepare_cached("SELECT id, username, password_hash FROM users WHERE tenant_id = ?1 AND username = ?2 AND password_hash NOTNULL")?;
    select
        .query_row(params![tenant.as_integer(), username], |row| {
            let user = rows::user_id(row, 0)?.ok_or_else(|| rows::unreadable(0, "a user has no id".to_owned()))?;
            Ok(Credentials { user, username: row.get(1)?, password_hash: row.get(2)? })
        })
        .optional()
}

fn delete(tx: &mut Tx<'_>, tenant: TenantId, user: UserId, now: Timestamp) -> rusqlite::Result<bool> {
    let bytes = *user.0.as_bytes();
    let deleted = tx
        .connection
        .prepare_cached("DELETE FROM users WHERE tenant_id = ?1 AND id = ?2")?
        .execute(params![tenant.as_integer(), bytes])?;
    if deleted == 0 {
        return Ok(false);
    }
    let mut insert = tx.connection.prepare_cached(
        "INSERT INTO erasures (tenant_id, user_id, requested_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    insert.execute(params![tenant.as_integer(), bytes, now.as_millis()])?;
    tx.changes.user_changed(tenant, user);
    Ok(true)
}
