//! `make bench`: what SPECIFICATION.md measures.
//!
//! Each figure stands beside a floor that is measured in the same run, turn by turn, as these machines are shared and
//! noisy: read medians and ratios. It needs root, as tasks are really isolated, and `target/debug/bourse`.

mod containers;
mod dev;
mod figures;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::dev::Dev;
use crate::figures::Figures;

/// Rounds of each pair.
const ROUNDS: usize = 15;

/// Containers of each runtime.
const LIVES: usize = 200;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, side, folder] = &arguments[..]
        && mark == "side"
    {
        return containers::serve(side, Path::new(folder));
    }
    let binary = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/debug/bourse".into()));
    if !binary.exists() {
        bail!("{} is not there; build it with: make build", binary.display());
    }
    println!("load {}", std::fs::read_to_string("/proc/loadavg")?.trim());

    let mut ready = Figures::new("bourse dev, from its start to ready (master, 3 agents, services)");
    let mut floor = Figures::new("  floor: starting the binary five times to say its version");
    for _ in 0..ROUNDS.min(5) {
        let begun = Instant::now();
        let dev = Dev::start(&binary)?;
        ready.add(begun.elapsed());
        drop(dev);
        floor.time(|| (0..5).try_for_each(|_| quiet(Command::new(&binary).arg("--version"))))?;
    }
    ready.print();
    floor.print();

    let dev = Dev::start(&binary)?;
    let mut run = Figures::new("bourse run -- true, from the command line to its exit status");
    let mut floor = Figures::new("  floor: unshare with the same namespaces -- true");
    for _ in 0..ROUNDS {
        run.time(|| quiet(dev.command().args(["run", "--", "true"])))?;
        let namespaces = ["--pid", "--fork", "--mount", "--uts", "--ipc", "true"];
        floor.time(|| quiet(Command::new("unshare").args(namespaces)))?;
    }
    run.print();
    floor.print();
    drop(dev);

    containers::compare(LIVES)
}

/// Runs a command to its end, which must be a good one.
fn quiet(command: &mut Command) -> anyhow::Result<()> {
    let begun = Instant::now();
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = ended.with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status} after {:?}", begun.elapsed());
    }
    Ok(())
}
