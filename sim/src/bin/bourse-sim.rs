//! Runs the simulator: one seed, or many.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZero;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bourse_sim::{Coverage, Less, Options, Part, Plant, Report};
use clap::Parser;

/// The whole cluster in one thread and virtual time, by seed.
#[derive(Parser)]
struct Args {
    /// Runs this seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs these seeds, the second one not included.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..100")]
    seeds: Range<u64>,
    /// Runs so many at a time; as many as there are processors when it is left out, and one by one with --trace.
    #[arg(long, value_name = "N", conflicts_with = "trace")]
    jobs: Option<NonZero<usize>>,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
    /// Prints so many of the last lines before a failure.
    #[arg(long, default_value_t = 60)]
    tail: usize,
    /// Grows a bug, to see that it is caught.
    #[arg(long)]
    plant: Option<Plant>,
    /// Prints what was reached, and what was not.
    #[arg(long)]
    coverage: bool,
    /// Leaves the first seed that fails as it is, and does not look for what it can go without.
    #[arg(long)]
    no_shrink: bool,
    /// Goes without Weather, Operators, Vandal, Skew, or all faults of a kind.
    #[arg(long, value_name = "WHAT,..", value_delimiter = ',')]
    without: Vec<Part>,
    /// Goes without single faults, by their numbers.
    #[arg(long, value_name = "A..B,C", value_parser = bourse_sim::numbers)]
    without_strikes: Option<BTreeSet<u64>>,
    /// Goes without frameworks, by their numbers.
    #[arg(long, value_name = "A..B,C", value_parser = bourse_sim::numbers)]
    without_frameworks: Option<BTreeSet<u64>>,
    /// Ends act one after so long.
    #[arg(long, value_name = "SECONDS", value_parser = bourse_sim::seconds)]
    act_one: Option<Duration>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range of seeds; write it as 0..100");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    Ok(from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?)
}

/// What came of all seeds.
#[derive(Default)]
struct Sum {
    coverage: Coverage,
    count: u64,
    failed: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let less = Less {
        parts: args.without.into_iter().collect(),
        strikes: args.without_strikes.unwrap_or_default(),
        frameworks: args.without_frameworks.unwrap_or_default(),
        act_one: args.act_one,
    };
    let options = Options { trace: args.trace, plant: args.plant, less };
    let seeds = args.seed.map_or(args.seeds, |seed| seed..seed + 1);
    let jobs =
        if args.trace { NonZero::<usize>::MIN } else { args.jobs.unwrap_or_else(bourse_sim::processors) };
    let (sum, shrunk) = (Mutex::new(Sum::default()), AtomicBool::new(args.no_shrink));
    bourse_sim::each(seeds, jobs, |seed| {
        // Before the run: one that never ends could not be told from others by anything else.
        println!("replay: {}", options.replay(seed));
        let report = bourse_sim::run(seed, &options);
        let failed = !report.broken.is_empty();
        {
            let mut sum = sum.lock().expect("no thread panics with it");
            sum.coverage.add(&report.coverage);
            sum.count += 1;
            sum.failed += u64::from(failed);
        }
        // All at once, so that no other thread says something in the middle of it.
        println!("{}", told(&report, &options, args.tail));
        if failed && !shrunk.swap(true, Ordering::Relaxed) {
            println!("{}", told_shrunk(report, &options, args.tail));
        }
        true
    });
    let Sum { coverage, count, failed } = sum.into_inner().expect("no thread panics with it");
    if args.coverage {
        coverage.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
        println!("not reached: {:?}", coverage.missing());
    }
    println!("{count} seeds, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn told(report: &Report, options: &Options, tail: usize) -> String {
    let Report { seed, hash, lines, lasted, broken, .. } = report;
    let sum = format!("seed {seed}: {lines} lines, {lasted:?} of virtual time, hash {hash:016x}");
    if broken.is_empty() {
        return sum;
    }
    let mut text = format!("replay: {}\n{sum}", options.replay(*seed));
    let from = report.tail.len().saturating_sub(tail);
    for line in &report.tail[from..] {
        write!(text, "\n  {line}").expect("a string takes all that is written");
    }
    for what in broken {
        write!(text, "\nBROKEN {what}").expect("a string takes all that is written");
    }
    text
}

fn told_shrunk(failed: Report, options: &Options, tail: usize) -> String {
    let (seed, strikes) = (failed.seed, failed.strikes.len());
    let (less, report) = bourse_sim::shrink(failed, options);
    let left = report.strikes.len();
    let options = Options { trace: false, plant: options.plant, less };
    format!("seed {seed} fails alike with {left} of {strikes} faults:\n{}", told(&report, &options, tail))
}
