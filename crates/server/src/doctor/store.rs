//! The store: its schema, and whether its file is whole. Both are only read.

use tidings_store::sqlite;

use crate::config::Config;
use crate::doctor::finding::Finding;
use crate::doctor::scene::Scene;

/// Whether this program knows the schema of the store.
pub(crate) async fn schema(config: &Config) -> Finding {
    const CHECK: &str = "schema";
    let data = config.data.clone();
    let version = tokio::task::spawn_blocking(move || sqlite::schema_version(&data)).await;
    let known = sqlite::SCHEMA_VERSION;
    match version.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(None) => Finding::ok(CHECK, "there is no store yet"),
        Ok(Some(found)) if found == known => Finding::ok(CHECK, format!("version {found}")),
        Ok(Some(found)) if found < known => Finding::warn(
            CHECK,
            format!("version {found}; this program works with {known}"),
            "make a backup; the next start, or `tidings migrate`, brings it up to date",
        ),
        Ok(Some(found)) => {
            let found = format!("version {found}, but this program knows only {known}");
            Finding::fail(CHECK, found, "use the newer Tidings that wrote it, or restore a backup from before")
        }
        Err(error) => Finding::fail(CHECK, format!("the store cannot be read: {error}"), restore()),
    }
}

/// Whether the file is whole. Reading all of it takes time that a running server needs itself.
pub(crate) async fn integrity(scene: &Scene<'_>, deep: bool) -> Finding {
    const CHECK: &str = "integrity";
    if scene.is_in_use() && !deep {
        return Finding::ok(CHECK, "not examined, because a process uses the store; --deep does it all the same");
    }
    let data = scene.config.data.clone();
    let checked = tokio::task::spawn_blocking(move || match sqlite::schema_version(&data) {
        Ok(Some(_)) => sqlite::check(&data).map(|()| true),
        Ok(None) => Ok(false),
        Err(damage) => Err(damage),
    });
    match checked.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(true) => Finding::ok(CHECK, "the store is whole"),
        Ok(false) => Finding::ok(CHECK, "nothing to examine"),
        Err(damage) => Finding::fail(CHECK, format!("the store is damaged: {damage}"), restore()),
    }
}

fn restore() -> &'static str {
    "keep a copy of the data directory, then restore a backup; look for disk errors in the system's log"
}
