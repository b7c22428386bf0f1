//! Many seeds, each twice; bugs on purpose, each caught; everything reached.
//!
//! When one fails, its last lines say `replay: bourse-sim --seed N`: with that, `cargo run -p bourse-sim -- --seed N
//! --trace` shows everything that happened.

use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bourse_sim::{Coverage, Options, Plant, Report, run};

/// Seeds that are run at every change; more by `make sim`.
const SEEDS: u64 = 200;

/// Every bug on purpose must be caught within so many.
const CAUGHT_WITHIN: u64 = 300;

/// Seeds that found something, one a line, with what it was.
const FOUND: &str = include_str!("../seeds.txt");

/// Runs each number below `end` on one of as many threads as there are processors, until one says that it is enough.
fn each(end: u64, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end || !work(number) {
                        next.fetch_max(end, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
}

/// The seed is said before the run: an assertion inside a core fires before anything else could be said.
fn sound(seed: u64) -> Report {
    println!("replay: bourse-sim --seed {seed}");
    let report = run(seed, Options::default());
    let last = report.tail.len().saturating_sub(40);
    assert!(
        report.broken.is_empty(),
        "replay: bourse-sim --seed {seed}\n{}\nbroken: {:#?}",
        report.tail[last..].join("\n"),
        report.broken
    );
    report
}

#[test]
fn every_seed_keeps_every_promise_and_runs_the_same_twice_and_all_of_them_reach_everything() {
    let reached = Mutex::new(Coverage::default());
    each(SEEDS, |seed| {
        let report = sound(seed);
        let again = run(seed, Options::default());
        let ran = |report: &Report| (report.hash, report.lines);
        assert_eq!(
            ran(&report),
            ran(&again),
            "replay: bourse-sim --seed {seed} ran differently the second time"
        );
        reached.lock().expect("no thread panics with it").add(&report.coverage);
        true
    });
    let reached = reached.into_inner().expect("no thread panics with it");
    assert_eq!(reached.missing(), Vec::<&str>::new(), "no seed reached these");
}

#[test]
fn every_bug_on_purpose_is_caught() {
    for plant in Plant::ALL {
        let caught = AtomicU64::new(u64::MAX);
        each(CAUGHT_WITHIN, |seed| {
            let options = Options { plant: Some(plant), ..Options::default() };
            // A core that finds itself in an impossible state has caught it too.
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, options)));
            let sound = ran.is_ok_and(|report| report.broken.is_empty());
            if !sound {
                caught.fetch_min(seed, Ordering::Relaxed);
            }
            sound
        });
        let caught = caught.into_inner();
        assert!(caught < CAUGHT_WITHIN, "{plant} was not caught within {CAUGHT_WITHIN} seeds");
        println!("{plant} is caught by seed {caught}");
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
