//! Who asks, and what they may see.

use crate::error::{ErrorCode, Problem};
use crate::id::{TenantId, UserId};

/// The authenticated caller of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The tenant that the credential belongs to. Nothing of another tenant exists for this caller.
    pub tenant: TenantId,
    /// The user that the credential names, if it names one.
    pub user: Option<UserId>,
    /// May read what is not their own.
    pub reads_any: bool,
    /// May do everything in the tenant.
    pub is_admin: bool,
}

impl Caller {
    /// Whether what belongs to `owner` may be read.
    pub fn may_read(&self, owner: Option<UserId>) -> bool {
        self.is_admin || self.reads_any || self.is(owner)
    }

    /// Whether what belongs to `owner` may be changed.
    pub fn may_change(&self, owner: Option<UserId>) -> bool {
        self.is_admin || self.is(owner)
    }

    /// Refuses who is not an administrator.
    pub fn require_admin(&self) -> Result<(), Problem> {
        if self.is_admin {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::FORBIDDEN, "This needs a token with the scope `admin`"))
    }

    fn is(&self, owner: Option<UserId>) -> bool {
        owner.is_some() && owner == self.user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_caller_has_only_what_is_theirs() {
        let me = UserId(uuid::Uuid::from_u128(1));
        let other = UserId(uuid::Uuid::from_u128(2));
        let caller = Caller { tenant: TenantId::DEFAULT, user: Some(me), reads_any: false, is_admin: false };
        assert!(caller.may_read(Some(me)) && caller.may_change(Some(me)));
        assert!(!caller.may_read(Some(other)) && !caller.may_read(None));
        let nobody = Caller { user: None, ..caller };
        assert!(!nobody.may_read(None));
        let reader = Caller { user: Some(me), reads_any: true, ..nobody };
        assert!(reader.may_read(Some(other)) && !reader.may_change(Some(other)));
    }
}
