//! The fakes pass the suites that everything else has to pass.

use std::future::{Ready, ready};

use tidings_testkit::FakeStore;
use tidings_testkit::conformance::Fixture;

fn fixture() -> Ready<Fixture> {
    ready(Fixture::new(FakeStore::default()))
}

tidings_testkit::conformance_store!(fixture());

mod broker {
    use tidings_testkit::FakeBroker;

    tidings_testkit::conformance_broker!(FakeBroker::default());
}
