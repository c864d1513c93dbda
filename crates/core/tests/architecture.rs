//! The house: which crate may know which. Data flows one way, and only the binary names concrete adapters.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on, tests aside. Everything points at `core`.
const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("faultpoints", &[]),
    ("store", &["core", "faultpoints"]),
    ("broker", &["core"]),
    ("channels", &["core"]),
    ("engine", &["core", "faultpoints"]),
    ("api", &["core", "faultpoints"]),
    ("catcher", &[]),
    ("testkit", &["core", "catcher"]),
    ("server", &["core", "faultpoints", "store", "broker", "channels", "engine", "api", "catcher"]),
];

/// What the domain must not know: runtimes, HTTP, databases.
const FOREIGN_TO_CORE: &[&str] = &["tokio", "axum", "hyper", "http", "reqwest", "rusqlite", "lettre", "tracing"];

fn crates_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names in the `[dependencies]` of a crate.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(crates_dir().join(name).join("Cargo.toml")).expect("a readable workspace");
    let section = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    section
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a readable folder").map(|entry| entry.expect("a readable entry")) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_crate_has_its_place_in_the_house() {
    let found: BTreeSet<String> =
        fs::read_dir(crates_dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let known: BTreeSet<String> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known);
}

#[test]
fn crates_know_only_what_they_may() {
    for (name, allowed) in EDGES {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| format!("tidings-{name}")).collect();
        let ours: BTreeSet<String> =
            dependencies(name).into_iter().filter(|name| name.starts_with("tidings")).collect();
        assert!(ours.is_subset(&allowed), "{name} depends on {:?}", ours.difference(&allowed));
    }
}

#[test]
fn the_domain_knows_no_runtime_no_http_and_no_database() {
    let dependencies = dependencies("core");
    for foreign in FOREIGN_TO_CORE {
        assert!(!dependencies.contains(*foreign), "core depends on {foreign}");
    }
}

#[test]
fn only_the_wiring_names_the_adapters() {
    let sources = crates_dir().join("server/src");
    for file in rust_files(&sources) {
        let is_wiring = file.ends_with("wiring.rs");
        let text = fs::read_to_string(&file).expect("a readable workspace");
        for adapter in ["SqliteStore", "LocalBroker"] {
            assert!(is_wiring || !text.contains(adapter), "{} names {adapter}", file.display());
        }
    }
}

#[test]
fn modules_are_files_with_names() {
    for file in rust_files(&crates_dir()) {
        assert_ne!(file.file_name().unwrap(), "mod.rs", "{}", file.display());
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for file in rust_files(&crates_dir()) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines: split it along its ideas", file.display());
    }
}
