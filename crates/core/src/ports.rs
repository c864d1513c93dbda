//! The ports: what the domain asks of the outside, as units of work.
//!
//! Each has at least two implementations (one of them in memory, in the testkit) and one conformance suite that all of
//! them pass. Absence is `Ok(None)`, never an error. The contract of a method is its doc comment.

pub mod broker;
pub mod catalog;
pub mod dead_letters;
pub mod history;
pub mod intake;
pub mod jobs;
pub mod sender;
pub mod streams;
pub mod upkeep;
pub mod witness;

pub use broker::Broker;
pub use catalog::Catalog;
pub use dead_letters::DeadLetters;
pub use history::History;
pub use intake::Intake;
pub use jobs::Jobs;
pub use sender::Sender;
pub use streams::Streams;
pub use upkeep::Upkeep;
pub use witness::Witness;

/// Everything a store does. One connection to one store implements it whole.
pub trait Store: Intake + Jobs + Streams + Catalog + History + DeadLetters + Upkeep {}

impl<T: Intake + Jobs + Streams + Catalog + History + DeadLetters + Upkeep> Store for T {}
