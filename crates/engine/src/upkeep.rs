//! The chores that keep the store small and true: retention, idempotency keys, erasures, automatic redrives. Each goes
//! in small steps with pauses between them, so that accepting is never held up.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tidings_core::error::{ErrorCode, StoreError};
use tidings_core::id::{MessageId, TenantId, UserId};
use tidings_core::retention::{Agenda, Span};
use tidings_core::services::redrive::Reviewer;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::config::{Ports, Shared};
use crate::tasks::pause;

/// How often a chore looks whether its clock was moved.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// How many rows one step touches.
const STEP: usize = 500;

/// How many ranges of notifications retention remembers; some 200 KB.
const RANGES: usize = 4_096;

/// The pause between two steps.
const BETWEEN_STEPS: Duration = Duration::from_millis(25);

/// How often expired idempotency keys are forgotten.
const KEYS_EVERY: Duration = Duration::from_mins(1);

/// How often erasures that were interrupted are gone on with.
const ERASURES_EVERY: Duration = Duration::from_mins(1);

/// How many interrupted erasures are looked up at once.
const ERASURES: usize = 100;

/// How often dead letters are looked for that are due to be redriven.
const REDRIVES_EVERY: Duration = Duration::from_secs(5);

/// How many dead letters are redriven in one step.
const REDRIVES: usize = 100;

/// How long a dead letter that could not be redriven is left alone.
const REFUSED_FOR: Duration = Duration::from_hours(1);

/// Does the chores.
pub(crate) struct Upkeep {
    shared: Arc<Shared>,
    reviewer: Reviewer,
}

/// Dead letters that could not be redriven of late. They would be found again every time.
struct Refused {
    ids: HashSet<MessageId>,
    since: Instant,
}

impl Upkeep {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let Ports { dead_letters, catalog, sender, broker, clock, ids, .. } = shared.ports.clone();
        let reviewer = Reviewer { dead_letters, catalog, sender, broker, clock, ids };
        Self { shared, reviewer }
    }

    /// Waits until so much time has passed, by the runtime's clock or by the one that can be moved; `false` when it is
    /// time to stop instead. What becomes due by the latter must not wait for the former.
    async fn rest(&self, time: Duration) -> bool {
        let (began, ends) = (self.shared.now(), Instant::now() + time);
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.now().since(began) >= time {
                return !self.shared.stop.is_cancelled();
            }
            if !pause(&self.shared.stop, left.min(LOOK_AT_CLOCK)).await {
                return false;
            }
        }
    }

    /// Expires and deletes what has been kept long enough, until the stop. The first pass looks at everything, the others
    /// at what may be due by then.
    pub(crate) async fn run_retention(self: Arc<Self>) {
        let mut agenda = Agenda::new(self.shared.config.sweep_every, RANGES);
        while self.rest(self.shared.config.sweep_every).await {
            if let Err(error) = self.sweep(&mut agenda).await {
                warn!("The retention sweep was interrupted; the next one sees to the rest: {error}");
            }
        }
    }

    async fn sweep(&self, agenda: &mut Agenda) -> Result<(), StoreError> {
        let policy = &self.shared.config.retention;
        let mut spans = VecDeque::from(agenda.begin(self.shared.now()));
        let (mut deleted, mut expired) = (0, 0);
        while let Some(span) = spans.pop_front() {
            let now = self.shared.now();
            let swept = self.shared.ports.upkeep.sweep(policy, span, now, STEP).await?;
            tidings_faultpoints::point("engine.in-upkeep");
            deleted += swept.deleted;
            expired += swept.expired;
            let upto = swept.next.unwrap_or_else(|| span.last(policy, now));
            agenda.looked_at(span.after, upto, swept.due_at, now);
            if swept.next.is_some() {
                spans.push_front(Span { after: swept.next, ..span });
            }
            if !spans.is_empty() && !pause(&self.shared.stop, BETWEEN_STEPS).await {
                break;
            }
        }
        if deleted + expired > 0 {
            info!(deleted, expired, "Retention deleted {deleted} notifications and expired {expired}");
        }
        Ok(())
    }

    /// Forgets idempotency keys that have expired, until the stop.
    pub(crate) async fn run_keys(self: Arc<Self>) {
        while self.rest(KEYS_EVERY).await {
            if let Err(error) = self.forget_keys().await {
                warn!("Expired idempotency keys could not be forgotten: {error}");
            }
        }
    }

    async fn forget_keys(&self) -> Result<(), StoreError> {
        let mut forgotten = 0;
        loop {
            let step = self.shared.ports.upkeep.forget_keys(self.shared.now(), STEP).await?;
            forgotten += step;
            if step < STEP || !pause(&self.shared.stop, BETWEEN_STEPS).await {
                break;
            }
        }
        if forgotten > 0 {
            debug!(forgotten, "{forgotten} expired idempotency keys were forgotten");
        }
        Ok(())
    }

    /// Completes erasures that were interrupted, until the stop. The first look is at once: what interrupted them may
    /// have been the end of the process before.
    pub(crate) async fn run_erasures(self: Arc<Self>) {
        loop {
            if let Err(error) = self.erase_pending().await {
                warn!("Interrupted erasures could not be completed and are taken up again: {error}");
            }
            if !self.rest(ERASURES_EVERY).await {
                return;
            }
        }
    }

    async fn erase_pending(&self) -> Result<(), StoreError> {
        let pending = self.shared.ports.upkeep.pending_erasures(ERASURES).await?;
        tidings_faultpoints::point("engine.in-upkeep");
        for (tenant, user) in pending {
            if !self.erase(tenant, user).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `false` when it is time to stop.
    async fn erase(&self, tenant: TenantId, user: UserId) -> Result<bool, StoreError> {
        while !self.shared.ports.upkeep.erase(tenant, user, self.shared.now(), STEP).await? {
            if !pause(&self.shared.stop, BETWEEN_STEPS).await {
                return Ok(false);
            }
        }
        info!(userId = %user, "The erasure of user {user} is complete");
        Ok(true)
    }

    /// Redrives dead letters that are due for it, until the stop.
    pub(crate) async fn run_redrives(self: Arc<Self>) {
        let mut refused = Refused { ids: HashSet::new(), since: Instant::now() };
        while self.rest(REDRIVES_EVERY).await {
            if refused.since.elapsed() >= REFUSED_FOR {
                refused = Refused { ids: HashSet::new(), since: Instant::now() };
            }
            if let Err(error) = self.redrive_due(&mut refused.ids).await {
                warn!("Dead letters that are due to be redriven could not be looked up: {error}");
            }
        }
    }

    async fn redrive_due(&self, refused: &mut HashSet<MessageId>) -> Result<(), StoreError> {
        let limit = REDRIVES + refused.len();
        let due = self.shared.ports.dead_letters.due_redrives(self.shared.now(), limit).await?;
        for letter in due {
            let id = letter.id;
            if refused.contains(&id) {
                continue;
            }
            match self.reviewer.redrive_letter(letter, None).await {
                Ok(redriven) => {
                    let new = redriven.redriven_as.map(tracing::field::display);
                    info!(messageId = %id, redrivenAs = new, "{id} was redriven by itself");
                }
                Err(problem) if is_passing(problem.code) => {
                    warn!(messageId = %id, code = %problem.code, "{id} could not be redriven now: {}", problem.code);
                }
                Err(problem) => {
                    refused.insert(id);
                    warn!(messageId = %id, code = %problem.code, "{id} cannot be redriven by itself: {}", problem.code);
                }
            }
        }
        Ok(())
    }
}

/// Whether the same call may succeed in a moment.
fn is_passing(code: ErrorCode) -> bool {
    code.status >= 500
}
