//! What people wait for at their terminals: `bourse dev`, and `bourse run`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::dev::Dev;
use crate::figures::Figures;

/// Rounds of each pair.
const ROUNDS: usize = 15;

/// Measures and prints.
pub fn measure(binary: &Path) -> anyhow::Result<()> {
    let mut ready = Figures::new("bourse dev, from its start to ready (master, 3 agents, services)");
    let mut floor = Figures::new("  floor: starting the binary five times to say its version");
    for _ in 0..ROUNDS.min(5) {
        let begun = Instant::now();
        let dev = Dev::start(binary)?;
        ready.add(begun.elapsed());
        drop(dev);
        floor.time(|| (0..5).try_for_each(|_| quiet(Command::new(binary).arg("--version"))))?;
    }
    ready.print();
    floor.print();

    let dev = Dev::start(binary)?;
    let mut run = Figures::new("bourse run -- true, from the command line to its exit status");
    let mut floor = Figures::new("  floor: unshare with the same namespaces -- true");
    for _ in 0..ROUNDS {
        run.time(|| quiet(dev.command().args(["run", "--", "true"])))?;
        floor.time(unshare)?;
    }
    run.print();
    floor.print();
    Ok(())
}

/// The floor of a task: its namespaces and its processes, by the commands that every machine has.
pub fn unshare() -> anyhow::Result<()> {
    let namespaces = ["--pid", "--fork", "--mount", "--uts", "--ipc", "true"];
    quiet(Command::new("unshare").args(namespaces))
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
