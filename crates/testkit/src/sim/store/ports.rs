//! Every port, handed on to the layer underneath.

use async_trait::async_trait;
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::idempotency::Idempotency;
use tidings_core::notification::Record;
use tidings_core::ports::catalog::UserChange;
use tidings_core::ports::dead_letters::{DeadLetter, DeadLetterPage, DeadLetterQuery, Review, Reviewed};
use tidings_core::ports::history::{Cancellation, Page, Query};
use tidings_core::ports::intake::{Acceptance, Submission};
use tidings_core::ports::jobs::{Claim, Job, Lost, LostBy, Ready, Settled, Settlement};
use tidings_core::ports::streams::{InboxHead, InboxPage, InboxRange, Receipt, ReceiptFor};
use tidings_core::ports::upkeep::{Stats, Swept};
use tidings_core::ports::{Catalog, DeadLetters, History, Intake, Jobs, Streams, Upkeep};
use tidings_core::retention::{Policy, Span};
use tidings_core::time::Timestamp;
use tidings_core::user::{Credentials, NewUser, User, UserConflict};

use super::{Call, FaultyStore};

#[async_trait]
impl Intake for FaultyStore {
    async fn accept(&self, batch: Vec<Submission>) -> Result<Vec<Acceptance>, StoreError> {
        self.through(Call::Accept, self.layers.intake.accept(batch)).await
    }

    async fn replay(&self, key: &Idempotency, now: Timestamp) -> Result<Option<Acceptance>, StoreError> {
        self.through(Call::Other, self.layers.intake.replay(key, now)).await
    }
}

#[async_trait]
impl Jobs for FaultyStore {
    async fn ready(&self, now: Timestamp, limit: usize, depth: usize) -> Result<Ready, StoreError> {
        self.through(Call::Ready, self.layers.jobs.ready(now, limit, depth)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Job>, StoreError> {
        self.through(Call::Claim, self.layers.jobs.claim(claim)).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        self.through(Call::Settle, self.layers.jobs.settle(settlements)).await
    }

    async fn lost(&self, by: LostBy, after: Option<MessageId>, limit: usize) -> Result<Vec<Lost>, StoreError> {
        self.through(Call::Lost, self.layers.jobs.lost(by, after, limit)).await
    }
}

#[async_trait]
impl Streams for FaultyStore {
    async fn read_inbox(
        &self,
        tenant: TenantId,
        user: UserId,
        range: InboxRange,
        limit: usize,
    ) -> Result<InboxPage, StoreError> {
        self.through(Call::Other, self.layers.streams.read_inbox(tenant, user, range, limit)).await
    }

    async fn acknowledge(
        &self,
        tenant: TenantId,
        user: UserId,
        receipt: Receipt,
        of: ReceiptFor,
        now: Timestamp,
    ) -> Result<InboxHead, StoreError> {
        self.through(Call::Other, self.layers.streams.acknowledge(tenant, user, receipt, of, now)).await
    }
}

#[async_trait]
impl Catalog for FaultyStore {
    async fn tenant(&self, name: &str, now: Timestamp) -> Result<TenantId, StoreError> {
        self.through(Call::Other, self.layers.catalog.tenant(name, now)).await
    }

    async fn find_tenant(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        self.through(Call::Other, self.layers.catalog.find_tenant(name)).await
    }

    async fn create_user(&self, user: NewUser) -> Result<Result<(), UserConflict>, StoreError> {
        self.through(Call::Other, self.layers.catalog.create_user(user)).await
    }

    async fn update_user(
        &self,
        tenant: TenantId,
        user: UserId,
        change: UserChange,
        now: Timestamp,
    ) -> Result<Option<Result<User, UserConflict>>, StoreError> {
        self.through(Call::Other, self.layers.catalog.update_user(tenant, user, change, now)).await
    }

    async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>, StoreError> {
        self.through(Call::User, self.layers.catalog.user(tenant, user)).await
    }

    async fn list_users(&self, tenant: TenantId, after: Option<UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.through(Call::Other, self.layers.catalog.list_users(tenant, after, limit)).await
    }

    async fn credentials(&self, tenant: TenantId, username: &str) -> Result<Option<Credentials>, StoreError> {
        self.through(Call::Other, self.layers.catalog.credentials(tenant, username)).await
    }

    async fn delete_user(&self, tenant: TenantId, user: UserId, now: Timestamp) -> Result<bool, StoreError> {
        self.through(Call::Other, self.layers.catalog.delete_user(tenant, user, now)).await
    }
}

#[async_trait]
impl History for FaultyStore {
    async fn record(&self, tenant: TenantId, id: MessageId) -> Result<Option<Record>, StoreError> {
        self.through(Call::Other, self.layers.history.record(tenant, id)).await
    }

    async fn list(&self, tenant: TenantId, query: Query) -> Result<Page, StoreError> {
        self.through(Call::Other, self.layers.history.list(tenant, query)).await
    }

    async fn cancel(
        &self,
        tenant: TenantId,
        id: MessageId,
        now: Timestamp,
    ) -> Result<Option<Cancellation>, StoreError> {
        self.through(Call::Other, self.layers.history.cancel(tenant, id, now)).await
    }
}

#[async_trait]
impl DeadLetters for FaultyStore {
    async fn dead_letter(&self, tenant: TenantId, id: MessageId) -> Result<Option<DeadLetter>, StoreError> {
        self.through(Call::Other, self.layers.dead_letters.dead_letter(tenant, id)).await
    }

    async fn list_dead_letters(&self, tenant: TenantId, query: DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        self.through(Call::Other, self.layers.dead_letters.list_dead_letters(tenant, query)).await
    }

    async fn review(
        &self,
        tenant: TenantId,
        id: MessageId,
        review: Review,
        now: Timestamp,
    ) -> Result<Option<Reviewed>, StoreError> {
        self.through(Call::Review, self.layers.dead_letters.review(tenant, id, review, now)).await
    }

    async fn due_redrives(&self, now: Timestamp, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.through(Call::DueRedrives, self.layers.dead_letters.due_redrives(now, limit)).await
    }
}

#[async_trait]
impl Upkeep for FaultyStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.through(Call::Other, self.layers.upkeep.ping()).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.through(Call::Other, self.layers.upkeep.stats()).await
    }

    async fn sweep(&self, policy: &Policy, span: Span, now: Timestamp, batch: usize) -> Result<Swept, StoreError> {
        self.through(Call::Sweep, self.layers.upkeep.sweep(policy, span, now, batch)).await
    }

    async fn forget_keys(&self, now: Timestamp, batch: usize) -> Result<usize, StoreError> {
        self.through(Call::Other, self.layers.upkeep.forget_keys(now, batch)).await
    }

    async fn pending_erasures(&self, limit: usize) -> Result<Vec<(TenantId, UserId)>, StoreError> {
        self.through(Call::Other, self.layers.upkeep.pending_erasures(limit)).await
    }

    async fn erase(&self, tenant: TenantId, user: UserId, now: Timestamp, batch: usize) -> Result<bool, StoreError> {
        self.through(Call::Erase, self.layers.upkeep.erase(tenant, user, now, batch)).await
    }
}
