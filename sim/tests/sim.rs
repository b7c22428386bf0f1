//! Many seeds, each twice; bugs on purpose, each caught; everything reached.
//!
//! When one fails, its last lines say `replay: bourse-sim --seed N`: with that, `cargo run -p bourse-sim -- --seed N
//! --trace` shows everything that happened.

use std::cell::RefCell;
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bourse_sim::{Coverage, Options, Plant, Report, run};

/// Seeds that are run at every change; more by `make sim`. Every bug on purpose must be caught within them: one that is
/// not would not be seen if it were no purpose.
const SEEDS: u64 = 250;

/// Where the cores are. One that finds itself in an impossible state has caught a bug; the simulator that does has one.
const CORES: [&str; 5] =
    ["types/", "master/core/", "agent/core/", "framework-sdk/core/", "service-framework/"];

thread_local! {
    /// In which file this thread panicked last, and what it said.
    static PANICKED: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

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

/// Runs a seed with a bug, and answers with what caught it, if something did.
///
/// # Panics
/// When something else than a core does.
fn caught(seed: u64, plant: Plant) -> Option<String> {
    let options = Options { plant: Some(plant), ..Options::default() };
    match std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, options))) {
        Ok(report) => report.broken.first().map(|broken| format!("a check: {broken}")),
        Err(panic) => {
            let (file, text) = PANICKED.take().expect("the hook was there first");
            if !CORES.iter().any(|core| file.starts_with(core)) {
                println!("replay: bourse-sim --seed {seed} --plant {plant}");
                std::panic::resume_unwind(panic);
            }
            Some(format!("a core: {text}"))
        }
    }
}

/// From now on each panic leaves behind where it was.
fn note_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |place| place.file());
        PANICKED.set(Some((file.to_owned(), panic.to_string())));
        before(panic);
    }));
}

#[test]
fn every_bug_on_purpose_is_caught() {
    note_panics();
    for plant in Plant::ALL {
        let first = Mutex::new((u64::MAX, String::new()));
        each(SEEDS, |seed| {
            let Some(by) = caught(seed, plant) else { return true };
            let mut first = first.lock().expect("no thread panics with it");
            if seed < first.0 {
                *first = (seed, by);
            }
            false
        });
        let (seed, by) = first.into_inner().expect("no thread panics with it");
        assert!(seed < SEEDS, "{plant} was not caught within {SEEDS} seeds");
        println!("{plant} is caught at seed {seed} by {by}");
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
