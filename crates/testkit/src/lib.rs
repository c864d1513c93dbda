//! What tests of this workspace share: a clock to move, fakes of every port, samples, and the conformance suites that
//! each implementation of a port has to pass. What it takes to break the product on purpose is in [`faults`].
//!
//! The catchers that stand in for mail servers and web services are in `tidings-catcher`, re-exported here.

pub mod clock;
pub mod sample;

pub mod broker;
pub mod sender;
pub mod store;

pub mod conformance;
pub mod mutation;

pub mod faults;
pub mod sim;

pub use broker::FakeBroker;
pub use clock::ManualClock;
pub use sender::FakeSender;
pub use store::FakeStore;

pub use tidings_catcher as catcher;
