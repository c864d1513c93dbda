//! What every [`Catalog`](tidings_core::ports::Catalog) has to do.

use std::collections::HashSet;
use std::sync::Arc;

use tidings_core::id::{TenantId, UserId};
use tidings_core::ports::catalog::UserChange;
use tidings_core::user::{Contacts, NewUser, User, UserConflict};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::world::{ANSWERS, World};
use crate::sample::{self, TESTUSER, USER1, USER2};

async fn create(world: &World, user: NewUser) -> Result<(), UserConflict> {
    world.store.create_user(user).await.expect(ANSWERS)
}

async fn find(world: &World, tenant: TenantId, user: UserId) -> Option<User> {
    world.store.user(tenant, user).await.expect(ANSWERS)
}

async fn update(world: &World, user: UserId, change: UserChange) -> Option<Result<User, UserConflict>> {
    world.store.update_user(TenantId::DEFAULT, user, change, world.now()).await.expect(ANSWERS)
}

async fn page(world: &World, tenant: TenantId, after: Option<UserId>, limit: usize) -> Vec<UserId> {
    let users = world.store.list_users(tenant, after, limit).await.expect(ANSWERS);
    users.iter().map(|user| user.id).collect()
}

fn with_email(email: &str) -> Contacts {
    Contacts { email: Some(email.to_owned()), ..Contacts::default() }
}

/// The same user in another tenant.
fn moved(user: NewUser, tenant: TenantId) -> NewUser {
    NewUser { user: User { tenant, ..user.user }, ..user }
}

pub async fn the_default_tenant_is_there(world: &World) {
    assert_eq!(world.tenant("default").await, TenantId::DEFAULT);
}

pub async fn a_tenant_is_made_once(world: &World) {
    let first = world.tenant("first").await;
    let second = world.tenant("second").await;
    assert_eq!(HashSet::from([TenantId::DEFAULT, first, second]).len(), 3);
    world.tick();
    assert_eq!((world.tenant("first").await, world.tenant("second").await), (first, second));
    let mut naming = JoinSet::new();
    for _ in 0..50 {
        let (store, now) = (Arc::clone(&world.store), world.now());
        naming.spawn(async move { store.tenant("contested", now).await.expect(ANSWERS) });
    }
    let named: HashSet<TenantId> = naming.join_all().await.into_iter().collect();
    assert_eq!(named.len(), 1);
}

pub async fn looking_for_a_tenant_makes_none(world: &World) {
    assert_eq!(world.store.find_tenant("sought").await.expect(ANSWERS), None);
    assert_eq!(world.store.find_tenant("sought").await.expect(ANSWERS), None);
    let made = world.tenant("sought").await;
    assert_eq!(world.store.find_tenant("sought").await.expect(ANSWERS), Some(made));
    assert_eq!(world.store.find_tenant("default").await.expect(ANSWERS), Some(TenantId::DEFAULT));
}

pub async fn a_user_reads_back(world: &World) {
    assert_eq!(find(world, TenantId::DEFAULT, TESTUSER).await, None);
    let mut user = sample::user(TESTUSER, "Ädä", world.now());
    user.user.contacts = Contacts {
        email: Some("ada@example.com".to_owned()),
        phone: Some("+442071838750".to_owned()),
        webhook_url: Some("https://example.com/hook".to_owned()),
        locale: Some("pt-BR".to_owned()),
        time_zone: Some("Europe/Lisbon".to_owned()),
    };
    assert_eq!(create(world, user.clone()).await, Ok(()));
    assert_eq!(find(world, TenantId::DEFAULT, TESTUSER).await, Some(user.user));
}

pub async fn each_unique_field_is_guarded(world: &World) {
    let first = sample::user(TESTUSER, "first", world.now());
    assert_eq!(create(world, first.clone()).await, Ok(()));
    let same_id = sample::user(TESTUSER, "second", world.now());
    assert_eq!(create(world, same_id).await, Err(UserConflict::Id));
    let mut same_name = sample::user(USER1, "first", world.now());
    same_name.user.contacts = with_email("second@example.com");
    assert_eq!(create(world, same_name).await, Err(UserConflict::Username));
    let mut same_email = sample::user(USER1, "second", world.now());
    same_email.user.contacts = with_email("first@example.com");
    assert_eq!(create(world, same_email).await, Err(UserConflict::Email));
    assert_eq!(find(world, TenantId::DEFAULT, USER1).await, None, "nothing was stored");
    assert_eq!(find(world, TenantId::DEFAULT, TESTUSER).await, Some(first.user));
    for (id, name) in [(USER1, "nobody1"), (USER2, "nobody2")] {
        let mut unreachable = sample::user(id, name, world.now());
        unreachable.user.contacts = Contacts::default();
        assert_eq!(create(world, unreachable).await, Ok(()), "no address is like no other");
    }
}

pub async fn users_of_tenants_are_apart(world: &World) {
    let tenant = world.tenant("other").await;
    let user = sample::user(TESTUSER, "same", world.now());
    assert_eq!(create(world, user.clone()).await, Ok(()));
    assert_eq!(find(world, tenant, TESTUSER).await, None);
    let twin = moved(user, tenant);
    assert_eq!(create(world, twin.clone()).await, Ok(()));
    let change = UserChange { contacts: with_email("new@example.com"), username: None };
    update(world, TESTUSER, change).await;
    assert_eq!(find(world, tenant, TESTUSER).await, Some(twin.user));
    world.delete_testuser().await;
    assert_eq!(find(world, TenantId::DEFAULT, TESTUSER).await, None);
    assert_eq!(page(world, tenant, None, 10).await, [TESTUSER]);
    assert!(page(world, TenantId::DEFAULT, None, 10).await.is_empty());
}

pub async fn a_change_is_seen_at_once(world: &World) {
    let before = sample::user(TESTUSER, "before", world.now()).user;
    create(world, sample::user(TESTUSER, "before", world.now())).await.expect("nobody is there yet");
    for number in 0..50 {
        // A look before the change, so that a copy of what was could be kept somewhere.
        find(world, TenantId::DEFAULT, TESTUSER).await;
        let updated_at = world.tick();
        let contacts = Contacts { phone: Some(format!("+4420718387{number:02}")), ..before.contacts.clone() };
        let change = UserChange { contacts: contacts.clone(), username: Some(format!("name{number}")) };
        let expected = User { username: format!("name{number}"), contacts, updated_at, ..before.clone() };
        assert_eq!(update(world, TESTUSER, change).await, Some(Ok(expected.clone())));
        assert_eq!(find(world, TenantId::DEFAULT, TESTUSER).await, Some(expected));
    }
    let kept = UserChange { contacts: Contacts::default(), username: None };
    update(world, TESTUSER, kept).await;
    let after = find(world, TenantId::DEFAULT, TESTUSER).await.expect("the user is still there");
    assert_eq!((after.username.as_str(), after.contacts), ("name49", Contacts::default()));
    assert_eq!(update(world, USER1, UserChange::default()).await, None, "there is no such user");
}

pub async fn a_change_can_conflict_and_then_changes_nothing(world: &World) {
    world.create_users().await;
    let before = find(world, TenantId::DEFAULT, USER1).await.expect("it was created");
    let taken_name = UserChange { contacts: Contacts::default(), username: Some("user2".to_owned()) };
    assert_eq!(update(world, USER1, taken_name).await, Some(Err(UserConflict::Username)));
    let taken_email = UserChange { contacts: with_email("user2@example.com"), username: None };
    assert_eq!(update(world, USER1, taken_email).await, Some(Err(UserConflict::Email)));
    assert_eq!(find(world, TenantId::DEFAULT, USER1).await, Some(before.clone()));
    let own = UserChange { contacts: before.contacts.clone(), username: Some(before.username.clone()) };
    assert_eq!(update(world, USER1, own).await, Some(Ok(before)), "one's own values are no conflict");
}

pub async fn users_are_listed_in_the_order_of_their_creation(world: &World) {
    let mut created = Vec::new();
    for number in 0..10_u128 {
        // Ids that grow, fall, and jump.
        let id = UserId(Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_9e37_79b9_7f4a_7c15)));
        create(world, sample::user(id, &format!("user{number}"), world.now())).await.expect("all differ");
        created.push(id);
    }
    assert_eq!(page(world, TenantId::DEFAULT, None, 100).await, created);
    assert_eq!(page(world, TenantId::DEFAULT, None, 3).await, created[..3]);
    assert_eq!(page(world, TenantId::DEFAULT, Some(created[2]), 3).await, created[3..6]);
    assert_eq!(page(world, TenantId::DEFAULT, Some(created[7]), 3).await, created[8..]);
    assert!(page(world, TenantId::DEFAULT, Some(created[9]), 3).await.is_empty());
}

pub async fn credentials_are_there_for_those_with_a_password(world: &World) {
    let tenant = world.tenant("other").await;
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA";
    let with_password =
        NewUser { password_hash: Some(hash.to_owned()), ..sample::user(TESTUSER, "testuser", world.now()) };
    create(world, with_password).await.expect("nobody is there yet");
    create(world, sample::user(USER1, "user1", world.now())).await.expect("all differ");
    let credentials = world.store.credentials(TenantId::DEFAULT, "testuser").await.expect(ANSWERS);
    let credentials = credentials.expect("this user has a password");
    assert_eq!((credentials.user, credentials.username.as_str()), (TESTUSER, "testuser"));
    assert_eq!(credentials.password_hash, hash);
    for (tenant, username) in [(TenantId::DEFAULT, "user1"), (TenantId::DEFAULT, "nobody"), (tenant, "testuser")] {
        assert!(world.store.credentials(tenant, username).await.expect(ANSWERS).is_none(), "{username}");
    }
}

pub async fn a_deleted_user_is_gone_and_their_erasure_on_record(world: &World) {
    let user =
        NewUser { password_hash: Some("$argon2id$hash".to_owned()), ..sample::user(TESTUSER, "testuser", world.now()) };
    create(world, user).await.expect("nobody is there yet");
    assert!(find(world, TenantId::DEFAULT, TESTUSER).await.is_some());
    world.delete_testuser().await;
    assert_eq!(find(world, TenantId::DEFAULT, TESTUSER).await, None);
    assert!(world.store.credentials(TenantId::DEFAULT, "testuser").await.expect(ANSWERS).is_none());
    let pending = world.store.pending_erasures(10).await.expect(ANSWERS);
    assert_eq!(pending, [(TenantId::DEFAULT, TESTUSER)]);
    for user in [TESTUSER, USER1] {
        assert!(!world.store.delete_user(TenantId::DEFAULT, user, world.now()).await.expect(ANSWERS));
    }
    let name_again = sample::user(USER1, "testuser", world.now());
    assert_eq!(create(world, name_again).await, Ok(()), "the name and the address are free again");
}
