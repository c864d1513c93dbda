//! Looking names up, and refusing those that lead where nobody should be sent.

use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::outbound::{Demand, Guard};

/// The longest look-up. The runtime does not wait for it: the system's resolver runs on a thread of its own.
const PATIENCE: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A look-up that took too long.
#[derive(Debug, thiserror::Error)]
#[error("the look-up took too long")]
struct TooSlow;

/// Resolves names to addresses that passed. The client connects to these and to no others.
pub(super) struct VettingResolver {
    guard: Arc<Guard>,
    demand: Demand,
}

impl VettingResolver {
    /// A resolver whose answers satisfy `demand`.
    pub(super) fn new(guard: Arc<Guard>, demand: Demand) -> Self {
        Self { guard, demand }
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(look_up(Arc::clone(&self.guard), self.demand, name.as_str().to_owned()))
    }
}

async fn look_up(guard: Arc<Guard>, demand: Demand, host: String) -> Result<Addrs, BoxError> {
    // The port is filled in by the client.
    let answers = timeout(PATIENCE, lookup_host((host, 0))).await.map_err(|_elapsed| TooSlow)??;
    let vetted = guard.vet(answers, demand)?;
    Ok(Box::new(vetted.into_iter()))
}
