//! The seeds. A quarter each, so that a machine with several cores uses them.

use std::time::Duration;

use tidings_testkit::faults::tier;

use crate::explore::{explore, shrink, try_out};
use crate::mutant::Mutant;
use crate::plan::Plan;

/// How many seeds each quarter runs.
const SHORT: usize = 250;
const LONG: usize = 25_000;

/// When a quarter ends however many it has run. The short one never gets there unless something is wrong.
const SHORT_LIMIT: Duration = Duration::from_secs(150);
const LONG_LIMIT: Duration = Duration::from_mins(10);

/// Seeds by which every mutant is found out.
const FINDING: std::ops::Range<u64> = 0..300;

/// The variable that names one seed to be run again.
const VARIABLE: &str = "TIDINGS_SIM_SEED";

fn run_quarter(first: u64) {
    let count = u64::try_from(tier::repeat(SHORT, LONG)).unwrap();
    let explored = explore((0..count).map(|n| 4 * n + first), tier::lasting(SHORT_LIMIT, LONG_LIMIT));
    println!("quarter {first}: {} seeds in {:?}, nothing broke", explored.seeds, explored.took);
    assert!(explored.in_time || tier::is_long(), "only {explored:?}");
}

#[test]
fn the_first_quarter_of_the_seeds_breaks_nothing() {
    run_quarter(0);
}

#[test]
fn the_second_quarter_of_the_seeds_breaks_nothing() {
    run_quarter(1);
}

#[test]
fn the_third_quarter_of_the_seeds_breaks_nothing() {
    run_quarter(2);
}

#[test]
fn the_last_quarter_of_the_seeds_breaks_nothing() {
    run_quarter(3);
}

#[test]
fn a_seed_replays() {
    let told = seed_from_environment();
    for seed in told.map_or_else(|| (0..12).collect(), |seed| vec![seed]) {
        let plan = Plan::from_seed(seed);
        let (one, other) = (try_out(&plan, None), try_out(&plan, None));
        if told.is_some() {
            println!("{plan}\n{}\n{:#?}", one.trace.join("\n"), one.problems);
        }
        let differs = one.trace.iter().zip(&other.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed} does not do the same twice");
        assert_eq!(one.trace.len(), other.trace.len(), "seed {seed}");
        if told.is_some() {
            explore(std::iter::once(seed), LONG_LIMIT);
        }
    }
}

#[test]
fn a_store_that_breaks_its_contract_is_found_out() {
    for mutant in Mutant::ALL {
        let found = FINDING.map(Plan::from_seed).find(|plan| !try_out(plan, Some(mutant)).problems.is_empty());
        let plan = found.unwrap_or_else(|| panic!("no seed of {FINDING:?} finds out a store that {mutant:?}"));
        assert!(try_out(&plan, None).problems.is_empty(), "{mutant:?}: seed {} breaks without it as well", plan.seed);
        println!("{mutant:?} is found out by seed {}", plan.seed);
    }
}

#[test]
fn a_plan_that_breaks_something_is_made_smaller() {
    let mutant = Some(Mutant::LosesNotification);
    let found = FINDING.map(Plan::from_seed).find(|plan| !try_out(plan, mutant).problems.is_empty());
    let plan = found.unwrap();
    let smallest = shrink(&plan, mutant);
    assert!(!try_out(&smallest, mutant).problems.is_empty());
    // Every third acceptance is lost, so three of them are enough.
    assert!(smallest.steps.len() <= 5, "{smallest}");
}

#[expect(clippy::disallowed_methods, reason = "the seed to run again is not a setting of the product")]
fn seed_from_environment() -> Option<u64> {
    let text = std::env::var(VARIABLE).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{VARIABLE}={text} is not a seed: {error}")))
}
