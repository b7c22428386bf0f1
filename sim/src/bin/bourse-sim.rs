//! Runs the simulator: one seed, or many.

use std::ops::Range;
use std::process::ExitCode;

use bourse_sim::{Coverage, Options, Plant, Report};
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
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range of seeds; write it as 0..100");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    Ok(from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options { trace: args.trace, plant: args.plant };
    let seeds = args.seed.map_or(args.seeds, |seed| seed..seed + 1);
    let mut coverage = Coverage::default();
    let (mut failed, mut count) = (0, 0);
    for seed in seeds {
        // Before the run: an assertion inside a core fires before anybody can say which seed it was.
        println!("replay: bourse-sim --seed {seed}");
        let report = bourse_sim::run(seed, options);
        coverage.add(&report.coverage);
        count += 1;
        failed += u64::from(!report.broken.is_empty());
        tell(&report, args.tail);
    }
    if args.coverage {
        coverage.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
        println!("not reached: {:?}", coverage.missing());
    }
    println!("{count} seeds, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(report: &Report, tail: usize) {
    let Report { seed, hash, lines, lasted, broken, .. } = report;
    println!("seed {seed}: {lines} lines, {lasted:?} of virtual time, hash {hash:016x}");
    if broken.is_empty() {
        return;
    }
    let from = report.tail.len().saturating_sub(tail);
    report.tail[from..].iter().for_each(|line| println!("  {line}"));
    broken.iter().for_each(|what| println!("BROKEN {what}"));
}
