//! A layer over a store in which single calls go wrong as they are told to.

mod ports;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidings_core::error::StoreError;
use tidings_core::ports::{Catalog, DeadLetters, History, Intake, Jobs, Store, Streams, Upkeep};
use tokio::time::sleep;

use super::Process;

/// A call that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `Intake::accept`.
    Accept,
    /// `Jobs::ready`.
    Ready,
    /// `Jobs::claim`.
    Claim,
    /// `Jobs::settle`.
    Settle,
    /// `Jobs::lost`.
    Lost,
    /// `Catalog::user`.
    User,
    /// `DeadLetters::review`.
    Review,
    /// `DeadLetters::due_redrives`.
    DueRedrives,
    /// `Upkeep::sweep`.
    Sweep,
    /// `Upkeep::erase`.
    Erase,
    /// Every other call.
    Other,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Accept,
        Self::Ready,
        Self::Claim,
        Self::Settle,
        Self::Lost,
        Self::User,
        Self::Review,
        Self::DueRedrives,
        Self::Sweep,
        Self::Erase,
        Self::Other,
    ];
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error, and nothing was done.
    ErrorBefore(StoreError),
    /// Everything was done durably, and still an error: the caller cannot know.
    ErrorAfter(StoreError),
    /// It takes this long until it is done.
    DelayBefore(Duration),
    /// It is done, and the answer takes this long.
    DelayAfter(Duration),
    /// The process ends before it is done.
    CrashBefore,
    /// It is done durably, and the process ends before it hears of it.
    CrashAfter,
}

/// The ports underneath. Each may be a layer of its own.
#[derive(Clone)]
pub struct Layers {
    /// Taking notifications in.
    pub intake: Arc<dyn Intake>,
    /// The queue.
    pub jobs: Arc<dyn Jobs>,
    /// Inboxes.
    pub streams: Arc<dyn Streams>,
    /// Tenants and users.
    pub catalog: Arc<dyn Catalog>,
    /// Following notifications.
    pub history: Arc<dyn History>,
    /// Dead letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Keeping it in order.
    pub upkeep: Arc<dyn Upkeep>,
}

impl Layers {
    /// The ports of one store.
    pub fn of<S: Store + 'static>(store: &Arc<S>) -> Self {
        Self {
            intake: store.clone(),
            jobs: store.clone(),
            streams: store.clone(),
            catalog: store.clone(),
            history: store.clone(),
            dead_letters: store.clone(),
            upkeep: store.clone(),
        }
    }
}

/// A store in which single calls go wrong.
pub struct FaultyStore {
    layers: Layers,
    process: Arc<Process>,
    faults: Mutex<BTreeMap<Call, VecDeque<Fault>>>,
}

impl FaultyStore {
    /// A layer of a process over these ports.
    pub fn over(layers: Layers, process: Arc<Process>) -> Self {
        Self { layers, process, faults: Mutex::default() }
    }

    /// The next such call goes wrong like this, after those that were told to before.
    pub fn arm(&self, call: Call, fault: Fault) {
        self.faults.lock().entry(call).or_default().push_back(fault);
    }

    /// From now on nothing goes wrong. Calls that wait go on waiting.
    pub fn calm(&self) {
        self.faults.lock().clear();
    }

    fn next_fault(&self, call: Call) -> Option<Fault> {
        self.faults.lock().get_mut(&call)?.pop_front()
    }

    /// Does the work, or what was asked for instead.
    async fn through<T: Send>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.process.go_on().await;
        let fault = self.next_fault(call);
        match &fault {
            Some(Fault::ErrorBefore(error)) => return Err(error.clone()),
            Some(Fault::DelayBefore(time)) => sleep(*time).await,
            Some(Fault::CrashBefore) => return self.process.end().await,
            Some(Fault::ErrorAfter(_) | Fault::DelayAfter(_) | Fault::CrashAfter) | None => {}
        }
        self.process.go_on().await;
        let answer = work.await;
        match fault {
            Some(Fault::ErrorAfter(error)) => return Err(error),
            Some(Fault::DelayAfter(time)) => sleep(time).await,
            Some(Fault::CrashAfter) => return self.process.end().await,
            Some(Fault::ErrorBefore(_) | Fault::DelayBefore(_) | Fault::CrashBefore) | None => {}
        }
        self.process.go_on().await;
        answer
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FaultyStore").finish_non_exhaustive()
    }
}
