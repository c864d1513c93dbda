//! Runs seeds, makes plans that break something smaller, and says how to see it again.

use std::fmt::Write;
use std::panic;
use std::sync::Once;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::checks;
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::provider::ON_PURPOSE;
use crate::world;

/// More tries than this are not made to find a smaller plan.
const MOST_SHRINKS: usize = 300;

/// How much of a trace is shown.
const SHOWN: usize = 400;

/// A run that ended.
pub(crate) struct Outcome {
    pub(crate) trace: Vec<String>,
    pub(crate) problems: Vec<String>,
}

/// How many seeds held, and whether time ended it.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) seeds: u64,
    pub(crate) took: Duration,
    pub(crate) in_time: bool,
}

/// Runs a plan and judges it.
pub(crate) fn try_out(plan: &Plan, mutant: Option<Mutant>) -> Outcome {
    silence_panics_on_purpose();
    let world = world::run(plan, mutant);
    let looking = Builder::new_current_thread().build().unwrap();
    let problems = looking.block_on(checks::problems(&world));
    Outcome { trace: world.trace.lines(), problems }
}

/// Runs seeds until they are through or the time is up. Panics with all there is to know about the first that breaks
/// something.
pub(crate) fn explore(seeds: impl Iterator<Item = u64>, within: Duration) -> Explored {
    // Outside of a runtime this is real time.
    let began = Instant::now();
    let mut explored = Explored { seeds: 0, took: Duration::ZERO, in_time: true };
    for seed in seeds {
        explored.took = began.elapsed();
        if explored.took > within {
            explored.in_time = false;
            return explored;
        }
        let plan = Plan::from_seed(seed);
        let outcome = try_out(&plan, None);
        assert!(outcome.problems.is_empty(), "{}", report(&plan, &outcome));
        explored.seeds += 1;
    }
    explored.took = began.elapsed();
    explored
}

/// Leaves out steps as long as something still breaks: first large parts of the plan, then single steps.
pub(crate) fn shrink(plan: &Plan, mutant: Option<Mutant>) -> Plan {
    let mut smallest = plan.clone();
    let mut tries = 0;
    let mut count = smallest.steps.len().div_ceil(2);
    while count > 0 {
        let mut from = 0;
        let mut is_smaller = false;
        while from < smallest.steps.len() && tries < MOST_SHRINKS {
            tries += 1;
            let candidate = smallest.without(from, count);
            if try_out(&candidate, mutant).problems.is_empty() {
                from += count;
            } else {
                smallest = candidate;
                is_smaller = true;
            }
        }
        // Single steps are gone through until none of them can be spared.
        count = if count == 1 && is_smaller && tries < MOST_SHRINKS { 1 } else { count / 2 };
    }
    smallest
}

/// All that is needed to understand and to repeat a failure.
fn report(plan: &Plan, outcome: &Outcome) -> String {
    let smallest = shrink(plan, None);
    let shrunk = try_out(&smallest, None);
    let mut text = String::new();
    let mut say = |line: &str| writeln!(text, "{line}").unwrap();
    say(&format!("seed {} breaks:", plan.seed));
    outcome.problems.iter().for_each(|problem| say(problem));
    say(&format!("\nthe smallest plan that does ({} of {} steps):", smallest.steps.len(), plan.steps.len()));
    say(&smallest.to_string());
    say("what is wrong then:");
    shrunk.problems.iter().for_each(|problem| say(problem));
    say("\nwhat happened:");
    shrunk.trace.iter().take(SHOWN).for_each(|line| say(line));
    say("\nto see it again:");
    say(&format!(
        "TIDINGS_SIM_SEED={} cargo nextest run -p tidings-engine --test sim --no-capture a_seed_replays",
        plan.seed
    ));
    text
}

/// A provider module that panics on purpose need not be told about a thousand times.
fn silence_panics_on_purpose() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(ON_PURPOSE) {
                usual(info);
            }
        }));
    });
}
