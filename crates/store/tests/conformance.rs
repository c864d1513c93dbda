//! The embedded store passes the suite that every store has to pass.

use tempfile::TempDir;
use tidings_store::{Options, SqliteStore};
use tidings_testkit::conformance::Fixture;

fn fixture() -> Fixture {
    let dir = TempDir::new().expect("a temporary directory");
    let options = Options::plain(dir.path());
    let store = SqliteStore::open(options).expect("an empty directory becomes a store");
    Fixture::guarded(store, dir)
}

tidings_testkit::conformance_store!(std::future::ready(fixture()));
