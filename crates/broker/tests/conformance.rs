//! The broker within one process passes the suite that every broker has to pass.

use tidings_broker::LocalBroker;

tidings_testkit::conformance_broker!(LocalBroker::default());
