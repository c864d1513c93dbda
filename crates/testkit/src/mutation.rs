//! Properties of what reads input from outside, tried on inputs that lie near known ones.
//!
//! Each crate that parses something has a module `fuzz` with one function for each kind of input, which panics when a
//! property does not hold. Two drivers call them: this one in every run of the tests, and libFuzzer (`fuzz/`), which
//! finds more and takes longer. Both start from the files in `fuzz/seeds/<name>`; an input that once broke something
//! belongs there.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::faults::tier;

/// The longest input that is made.
const MAX_BYTES: usize = 8 * 1024;

/// Pieces that mean something to one parser or another.
const PIECES: [&[u8]; 44] = [
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b"\t",
    b" ",
    b"\"",
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b":",
    b",",
    b";",
    b".",
    b"#",
    b"*",
    b"=",
    b"&",
    b"%",
    b"%00",
    b"%ff",
    b"@",
    b"<",
    b">",
    b"+",
    b"-",
    b"0",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"1e999",
    b"null",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xc3\xa9",
];

/// Tries a property on every seed, and on inputs made from them.
///
/// Panics with the input when the property does not hold. The inputs are the same in every short run, and others in each
/// long one.
pub fn hammer(name: &str, property: fn(&[u8])) {
    let seeds = seeds(name);
    for seed in &seeds {
        check(name, property, seed);
    }
    let first = if tier::is_long() { fastrand::u64(..) } else { 0 };
    let rounds = u64::try_from(tier::repeat(3_000, 50_000)).unwrap_or(u64::MAX);
    for round in 0..rounds {
        let mut rng = Rng::with_seed(first.wrapping_add(round));
        check(name, property, &near(&seeds, &mut rng));
    }
}

fn check(name: &str, property: fn(&[u8]), input: &[u8]) {
    let outcome = catch_unwind(|| property(input));
    let shown = input.escape_ascii();
    assert!(outcome.is_ok(), "`{name}` does not hold for b\"{shown}\"; keep it as a file in fuzz/seeds/{name}");
}

/// The folder of the seeds of all properties.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds")
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = folder().join(name);
    let entries = fs::read_dir(&folder).expect("each property has a folder of seeds");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a readable file")).collect();
    assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
    seeds
}

/// An input that differs from some seed in a few places.
fn near(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = pick(seeds, rng).clone();
    for _ in 0..=rng.usize(..6) {
        change(&mut input, seeds, rng);
        input.truncate(MAX_BYTES);
    }
    input
}

fn pick<'a, T>(items: &'a [T], rng: &mut Rng) -> &'a T {
    &items[rng.usize(..items.len())]
}

/// One change.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let (from, to) = part(input.len(), rng);
    match rng.u8(..9) {
        0 => drop(input.drain(from..to)),
        1 => input.insert(from, rng.u8(..)),
        2 => insert(input, from, pick::<&[u8]>(&PIECES, rng)),
        3 => {
            let (copy, at) = (input[from..to].to_vec(), rng.usize(..=input.len()));
            insert(input, at, &copy);
        }
        4 => {
            let other = pick(seeds, rng);
            let (start, end) = part(other.len(), rng);
            insert(input, from, &other[start..end]);
        }
        5 => {
            drop(input.drain(from..to));
            insert(input, from, pick::<&[u8]>(&PIECES, rng));
        }
        6 => input.truncate(from),
        7 => {
            let many = input[from..to].repeat(rng.usize(1..200));
            insert(input, to, &many);
        }
        _ => {
            if let Some(byte) = input.get_mut(from) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    drop(input.splice(at..at, bytes.iter().copied()));
}

/// A part of something of this length: mostly short.
fn part(length: usize, rng: &mut Rng) -> (usize, usize) {
    let from = rng.usize(..=length);
    let most = if rng.bool() { 8 } else { length };
    (from, length.min(from + rng.usize(..=most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "does not hold")]
    fn a_property_that_does_not_hold_is_found() {
        hammer("timestamp", |input| assert!(!input.contains(&0)));
    }

    #[test]
    fn inputs_stay_short_and_are_the_same_for_the_same_seed() {
        let seeds = [b"2026-01-31T09:30:00Z".to_vec(), Vec::new()];
        for seed in 0..2_000 {
            let input = near(&seeds, &mut Rng::with_seed(seed));
            assert!(input.len() <= MAX_BYTES);
            assert_eq!(input, near(&seeds, &mut Rng::with_seed(seed)));
        }
    }
}
