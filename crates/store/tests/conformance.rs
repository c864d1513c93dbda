//! The embedded store passes the suite that every store has to pass.

use tempfile::TempDir;
use tidings_core::retry::Policies;
use tidings_store::{Options, SqliteStore};
use tidings_testkit::conformance::Fixture;

fn fixture() -> Fixture {
    let dir = TempDir::new().expect("a temporary directory");
    let options = Options { data_dir: dir.path().to_owned(), min_free_bytes: 0, policies: Policies::default() };
    let store = SqliteStore::open(options).expect("an empty directory becomes a store");
    Fixture::guarded(store, dir)
}

tidings_testkit::conformance_store!(std::future::ready(fixture()));
