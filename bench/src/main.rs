//! `make bench`: what SPECIFICATION.md measures.
//!
//! Each figure stands beside a peer or a floor that is measured in the same run, turn by turn, as these machines are
//! shared and noisy: read medians and ratios. It needs root, as tasks are really isolated, and `target/debug/bourse`.
//! A quick look at a part of it: `make bench ARGS="tasks --rounds 20 --tasks 100"`. `core` needs neither of the two:
//! `cargo run --release -p bourse-bench -- core --shape updates --agents 1000`.

mod figures;
mod ports;

mod commands;
mod dev;

mod containers;

mod cluster;
mod crowd;
mod turns;

mod logs;
mod memory;
mod recording;
mod sleepers;
mod tasks;
mod threads;

mod master_core;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum, value_parser};

use master_core::{Bounds, Shape};

/// Measures what SPECIFICATION.md tells, each beside a peer or a floor in the same run.
#[derive(Parser)]
#[command(name = "bourse-bench")]
struct Args {
    /// What to measure; everything if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,

    /// The binary under test
    #[arg(long, value_name = "FILE", default_value = "target/debug/bourse")]
    binary: PathBuf,

    /// How many containers each side of `containers` runs, and how many tasks `tasks` runs one by one
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,

    /// How many tasks `tasks`, `sleepers` and `recording` have at once, as many as one ACCEPT may launch at most
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = value_parser!(u32).range(1..=1000))]
    tasks: u32,

    /// What `core` measures; repeat it for several [default: everything]
    #[arg(long = "shape", value_name = "SHAPE", value_enum)]
    shapes: Vec<Shape>,

    /// So many agents at most in what `core` measures [default: up to 50,000]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    agents: Option<u32>,

    /// So many frameworks at most in what `core` measures [default: up to 3,000]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    frameworks: Option<u32>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// `bourse dev` and `bourse run`, from the command line
    Commands,
    /// A container's whole life beside crun, runc and two floors, and what each step of it takes of the kernel
    Containers,
    /// Tasks of one agent, one by one and all at once, as their framework sees them
    Tasks,
    /// What tasks of one agent that do nothing take, and what of the agent does, and how fast they are killed
    Sleepers,
    /// A task that writes its log flat out
    Logs,
    /// A master that records what it is told beside one that does not
    Recording,
    /// The master's core alone, up to 50,000 agents: passes, updates, placements, failover, memory
    Core,
}

impl Part {
    /// Whether it runs the binary under test.
    fn needs_the_binary(self) -> bool {
        match self {
            Part::Commands
            | Part::Containers
            | Part::Tasks
            | Part::Sleepers
            | Part::Logs
            | Part::Recording => true,
            Part::Core => false,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, side, folder] = &arguments[..]
        && mark == "side"
    {
        return containers::serve(side, Path::new(folder));
    }
    if let [mark, rest @ ..] = &arguments[..]
        && mark == master_core::memory::MARK
    {
        return master_core::memory::serve(rest);
    }
    let args = Args::parse();
    let parts = if args.parts.is_empty() { Part::value_variants() } else { &args.parts[..] };
    if parts.iter().any(|part| part.needs_the_binary()) && !args.binary.exists() {
        bail!("{} is not there; build it with: make build", args.binary.display());
    }
    let (rounds, tasks) = (args.rounds as usize, args.tasks as usize);
    let bounds = Bounds {
        agents: args.agents.map(|count| count as usize),
        frameworks: args.frameworks.map(|count| count as usize),
    };
    for part in parts {
        let load = std::fs::read_to_string("/proc/loadavg").context("reading the load; mount /proc")?;
        println!("load {}", load.trim());
        match part {
            Part::Commands => commands::measure(&args.binary)?,
            Part::Containers => containers::compare(rounds)?,
            Part::Tasks => tasks::measure(&args.binary, rounds, tasks)?,
            Part::Sleepers => sleepers::measure(&args.binary, tasks)?,
            Part::Logs => logs::measure(&args.binary)?,
            Part::Recording => recording::measure(&args.binary, tasks)?,
            Part::Core => master_core::measure(&args.shapes, bounds)?,
        }
    }
    Ok(())
}
