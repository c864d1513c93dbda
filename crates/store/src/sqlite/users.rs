//! Users in memory: every accept and every attempt asks for one.

use std::collections::HashMap;

use parking_lot::Mutex;
use tidings_core::id::{TenantId, UserId};
use tidings_core::user::User;

/// More than this, and the cache starts anew: simpler than an order of use, and as good when reads are cheap.
const CAPACITY: usize = 20_000;

/// Users read lately. Never tells of a user as they were before a change that has been answered.
#[derive(Default)]
pub(crate) struct UserCache {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    users: HashMap<(TenantId, UserId), User>,
    /// Counts changes, so that a read that began before one is not kept after it.
    changes: u64,
}

/// A point in the sequence of changes.
#[derive(Clone, Copy)]
pub(crate) struct ReadMark(u64);

impl UserCache {
    pub(crate) fn get(&self, tenant: TenantId, user: UserId) -> Result<User, ReadMark> {
        let state = self.state.lock();
        state.users.get(&(tenant, user)).cloned().ok_or(ReadMark(state.changes))
    }

    /// Keeps what was read since `mark`, unless something has changed in the meantime.
    pub(crate) fn keep(&self, user: User, mark: ReadMark) {
        let mut state = self.state.lock();
        if state.changes != mark.0 {
            return;
        }
        if state.users.len() >= CAPACITY {
            state.users.clear();
        }
        state.users.insert((user.tenant, user.id), user);
    }

    /// Forgets everybody, when it is not known who has changed.
    pub(crate) fn forget_all(&self) {
        let mut state = self.state.lock();
        state.changes += 1;
        state.users.clear();
    }

    /// Forgets a user who has changed.
    pub(crate) fn forget(&self, tenant: TenantId, user: UserId) {
        let mut state = self.state.lock();
        state.changes += 1;
        state.users.remove(&(tenant, user));
    }
}
