//! Following notifications, as far as the caller may. What the caller may not see does not exist.

use std::sync::Arc;

use crate::access::Caller;
use crate::error::{ErrorCode, Problem};
use crate::id::MessageId;
use crate::notification::Record;
use crate::ports::History;
use crate::ports::history::{Cancellation, Page, Query};
use crate::time::Clock;

/// The most that one page holds.
pub const MAX_PAGE: usize = 200;

/// Reads and cancels notifications on behalf of callers.
#[derive(Clone)]
pub struct Follower {
    /// What happened.
    pub history: Arc<dyn History>,
    /// The present.
    pub clock: Arc<dyn Clock>,
}

impl Follower {
    /// One notification.
    pub async fn record(&self, caller: &Caller, id: MessageId) -> Result<Record, Problem> {
        let record = self.history.record(caller.tenant, id).await?;
        record.filter(|record| caller.may_read(record.summary.user)).ok_or_else(Problem::not_found)
    }

    /// A page of notifications; of the caller's own, unless they may read any.
    pub async fn list(&self, caller: &Caller, mut query: Query) -> Result<Page, Problem> {
        if !caller.reads_any && !caller.is_admin {
            let Some(user) = caller.user else {
                return Ok(Page::default());
            };
            if query.user.is_some_and(|asked| asked != user) {
                return Ok(Page::default());
            }
            query.user = Some(user);
        }
        query.limit = query.limit.clamp(1, MAX_PAGE);
        Ok(self.history.list(caller.tenant, query).await?)
    }

    /// Takes a waiting notification back.
    pub async fn cancel(&self, caller: &Caller, id: MessageId) -> Result<Record, Problem> {
        let record = self.record(caller, id).await?;
        if !caller.may_change(record.summary.user) {
            return Err(Problem::new(
                ErrorCode::FORBIDDEN,
                "Cancelling what is not your own needs a token with the scope `admin`",
            ));
        }
        match self.history.cancel(caller.tenant, id, self.clock.now()).await? {
            Some(Cancellation::Cancelled) => self.record(caller, id).await,
            Some(Cancellation::Refused(state)) => {
                let message = format!("The notification cannot be cancelled any more: it is {}", state.as_str());
                Err(Problem::new(ErrorCode::NOT_CANCELLABLE, message))
            }
            None => Err(Problem::not_found()),
        }
    }
}
