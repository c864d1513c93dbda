//! The program crashes between each pair of its steps, by way of its fault points.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tidings_testkit::faults::ledger::Totals;
use tidings_testkit::faults::tier;
use tidings_testkit::faults::verdict::Verdict;

use crate::load::Load;
use crate::program::Program;
use crate::scene::{Scene, until};

/// Requests each second.
const RATE: f64 = 120.0;
/// What ends a process that aborts.
const SIGABRT: i32 = 6;
/// How long a point may take to be passed often enough.
const PASSED_WITHIN: Duration = Duration::from_secs(30);
/// How often a start is tried whose port somebody else took.
const STARTS: usize = 3;

/// A point, and the latest passage at which the program crashes.
type Point = (&'static str, u64);

const ACCEPTING: [Point; 3] = [("api.before-intake", 30), ("api.after-intake", 30), ("engine.in-upkeep", 1)];
const STORING: [Point; 5] = [
    ("store.before-write", 40),
    ("store.before-commit", 40),
    ("store.after-commit", 40),
    ("store.after-answers", 40),
    ("store.in-inbox-append", 20),
];
const DELIVERING: [Point; 6] = [
    ("engine.after-claim", 15),
    ("engine.before-send", 20),
    ("engine.after-send", 20),
    ("engine.before-append", 10),
    ("engine.after-settle", 15),
    ("engine.in-rescue", 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_accepting_and_answering_loses_nothing() {
    crash_at_each(&ACCEPTING, "crash around the acceptance").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_or_after_a_commit_loses_nothing() {
    crash_at_each(&STORING, "crash around the commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_claim_send_and_settlement_loses_nothing() {
    crash_at_each(&DELIVERING, "crash around the delivery").await;
}

#[test]
fn every_fault_point_has_its_crash() {
    let mut crashed: Vec<&str> =
        [&ACCEPTING[..], &STORING[..], &DELIVERING[..]].concat().iter().map(|(name, _)| *name).collect();
    let mut known = tidings_faultpoints::NAMES.to_vec();
    crashed.sort_unstable();
    known.sort_unstable();
    assert_eq!(crashed, known);
}

async fn crash_at_each(points: &[Point], fault: &'static str) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let runs = tier::repeat(2, 20);
    let mut totals = Totals::default();
    for point in points {
        println!("{}", point.0);
        totals.include(crash_at(*point, runs, &mut chance).await);
    }
    let names: Vec<&str> = points.iter().map(|(name, _)| *name).collect();
    Verdict::of("F4", fault, format!("{runs} aborts at each of {}", names.join(", "))).totals(&totals).publish();
}

/// Crashes the program at one point, at some passage, again and again under load.
async fn crash_at((point, latest): Point, runs: usize, chance: &mut fastrand::Rng) -> Totals {
    let mut scene = Scene::begin().await;
    let load = scene.load(RATE);
    for run in 1..=runs {
        // Work in flight, for the next start to find.
        let wanted = scene.ledger.requests() + 30;
        until("the load goes on", || scene.ledger.requests() >= wanted).await;
        scene.program.kill().await;
        let arming = format!("{point}=abort@{}", chance.u64(1..=latest));
        let (program, status) = crash(&scene, &load, &arming).await;
        let said = program.stderr();
        assert_eq!(status.signal(), Some(SIGABRT), "{arming}: {status}: {said}");
        assert!(said.contains(&format!("Aborting at the fault point {point}")), "{arming}: {said}");
        scene.program = scene.builder().start().await;
        load.aim_at(scene.program.url());
        println!("{point}: run {run} of {runs}, {arming}");
    }
    load.stop().await;
    scene.settle().await
}

/// Starts the program with an armed point under load, and waits until it has crashed.
async fn crash(scene: &Scene, load: &Load, arming: &str) -> (Program, ExitStatus) {
    for _ in 0..STARTS {
        let mut builder = scene.builder().env("FAULTPOINTS", arming);
        if arming.starts_with("engine.before-append") {
            // With operational events it is the engine that writes inboxes, and not the acceptance.
            builder = builder.env("EVENTS_URL", "http://127.0.0.1:9/events");
        }
        let mut program = builder.spawn().await;
        load.aim_at(program.url());
        let ended = program.wait(PASSED_WITHIN).await;
        let status = ended.unwrap_or_else(|| panic!("{arming}: it was not passed so often\n{}", program.stderr()));
        if !program.stderr().contains("another program uses the port") {
            return (program, status);
        }
    }
    panic!("no port was free");
}
