//! Many seeds, some of them twice; bugs on purpose, each caught; everything reached.
//!
//! When one fails, its words begin with `replay: bourse-sim --seed N`: with that, `cargo run -p bourse-sim -- --seed N
//! --trace` shows everything that happened. They end with what the run can go without and still fail alike, as the flags
//! of a shorter one.

use std::sync::Mutex;

use bourse_sim::{Coverage, Options, Plant, Report, each, processors, run, shrink};

/// Seeds that are run at every change; more by `make sim`.
const SEEDS: u64 = 1_000;

/// Of so many, one is run twice: that the same inputs have the same effects is seen by far fewer.
const TWICE: u64 = 4;

/// Every bug on purpose must be caught within so many: one that is not would not be seen if it were no purpose.
const CAUGHT: u64 = 300;

/// Seeds that found something, one a line, with what it was.
const FOUND: &str = include_str!("../seeds.txt");

/// The seed is said before the run: one that never ends could not be told from others by anything else.
fn sound(seed: u64) -> Report {
    let options = Options::default();
    let replay = options.replay(seed);
    println!("replay: {replay}");
    let report = run(seed, &options);
    if report.broken.is_empty() {
        return report;
    }
    let last = report.tail.len().saturating_sub(40);
    let (tail, broken) = (report.tail[last..].join("\n"), report.broken.clone());
    println!("replay: {replay}\n{tail}\nbroken: {broken:#?}");
    let (less, shrunk) = shrink(report, &options);
    let shorter = Options { less, ..options }.replay(seed);
    panic!(
        "replay: {replay}\nbroken: {broken:#?}\nfails alike: {shorter}\nfaults: {:?}\nbroken: {:#?}",
        shrunk.strikes, shrunk.broken
    );
}

#[test]
fn every_seed_keeps_every_promise_and_runs_the_same_twice_and_all_of_them_reach_everything() {
    let reached = Mutex::new(Coverage::default());
    each(0..SEEDS, processors(), |seed| {
        let report = sound(seed);
        if seed.is_multiple_of(TWICE) {
            let again = run(seed, &Options::default());
            let ran = |report: &Report| (report.hash, report.lines);
            assert_eq!(
                ran(&report),
                ran(&again),
                "replay: bourse-sim --seed {seed} ran differently the second time"
            );
        }
        reached.lock().expect("no thread panics with it").add(&report.coverage);
        true
    });
    let reached = reached.into_inner().expect("no thread panics with it");
    assert_eq!(reached.missing(), Vec::<&str>::new(), "no seed reached these");
}

/// With this bug, the first seed for whose run this holds, and that run.
fn first_failing(plant: Plant, wanted: impl Fn(&Report) -> bool + Sync) -> Option<Report> {
    let options = Options { plant: Some(plant), ..Options::default() };
    let first: Mutex<Option<Report>> = Mutex::new(None);
    each(0..CAUGHT, processors(), |seed| {
        let report = run(seed, &options);
        if report.broken.is_empty() || !wanted(&report) {
            return true;
        }
        let mut first = first.lock().expect("no thread panics with it");
        if first.as_ref().is_none_or(|first| seed < first.seed) {
            *first = Some(report);
        }
        false
    });
    first.into_inner().expect("no thread panics with it")
}

/// By the checker that is there for it: what others find of a bug is chance, and may be gone tomorrow.
#[test]
fn every_bug_on_purpose_is_caught_by_its_checker() {
    for plant in Plant::ALL {
        let first = first_failing(plant, |report| report.broken[0].contains(plant.by()));
        let first = first.unwrap_or_else(|| {
            panic!("no run with {plant} within {CAUGHT} seeds was told to be {:?}", plant.by())
        });
        println!("{plant} is caught at seed {} by {}", first.seed, first.broken[0]);
    }
}

/// Bugs that show late or by a fault only, so that much of a run is beside the point.
#[test]
fn a_run_that_fails_is_made_shorter_and_still_fails_alike() {
    for plant in [Plant::AcknowledgementSwallowed, Plant::CheckpointForgotten, Plant::StaleEpoch] {
        let whole = first_failing(plant, |report| report.strikes.len() >= 4);
        let whole = whole.unwrap_or_else(|| panic!("{plant} was not caught after four faults"));
        let (seed, strikes) = (whole.seed, whole.strikes.len());
        let options = Options { plant: Some(plant), ..Options::default() };
        let (less, shrunk) = shrink(whole, &options);
        let shorter = Options { less, ..options };
        println!("{plant}, {strikes} faults: {}, {} faults", shorter.replay(seed), shrunk.strikes.len());
        assert!(shrunk.strikes.len() < strikes, "{} has as many faults", shorter.replay(seed));
        let again = run(seed, &shorter);
        assert!(!again.broken.is_empty(), "{} does not fail", shorter.replay(seed));
        assert_eq!((again.hash, &again.broken), (shrunk.hash, &shrunk.broken));
    }
}

#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    let lines: Vec<&str> =
        FOUND.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).collect();
    assert!(!lines.is_empty());
    for line in lines {
        let (seed, what) = line.split_once(' ').expect("a seed and what it found");
        assert!(!what.trim().is_empty(), "{line:?} says nothing");
        sound(seed.parse().expect("a seed"));
    }
}
