//! Generated documentation is what the code says.

use std::path::Path;

fn checked_in(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}; run `cargo run -- docs`"))
}

#[test]
fn the_reference_is_up_to_date() {
    for (name, text) in tidings::cli::docs::generated() {
        assert!(checked_in(name) == text, "{name} is not what the code says; run `cargo run -- docs`");
    }
}
