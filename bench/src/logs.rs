//! How fast a task can write its log, beside the same program that writes to a file and to a pipe.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, bail};

use crate::cluster::Cluster;
use crate::figures::{Figures, tell};
use crate::turns::{self, Work};

/// What each round writes: much beside the milliseconds of a task's start, little beside a disk.
const BYTES: u64 = 256 << 20;

/// Rounds of each side; a task's log stays until the end.
const ROUNDS: usize = 5;

/// Of the task: what it writes counts as its memory until it is on the disk, and shall not be held up by that.
const MEM_MIB: u64 = 1024;

/// What a reader takes at once: what a pipe holds.
const READ: usize = 64 << 10;

/// Measures and prints.
pub fn measure(binary: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::start(binary)?;
    let mut task = Figures::new("a task that writes 256 MiB to its log, TASK_RUNNING to TASK_FINISHED");
    let mut file = Figures::new("  floor: the same program to a file on the same disk");
    let mut pipe = Figures::new("  floor: the same program to a pipe and its reader");
    let bytes = BYTES.to_string();
    let argv: [&str; 4] = ["head", "-c", &bytes, "/dev/zero"];
    let plain = cluster.folder().join("plain");
    let floors = || {
        file.time(|| to_file(&argv, &plain))?;
        fs::remove_file(&plain).with_context(|| format!("removing {}", plain.display()))?;
        pipe.time(|| to_pipe(&argv))
    };
    let work = Work { argv: &argv, mem_mib: MEM_MIB };
    for turn in cluster.wait(turns::run(cluster.framework("logs")?, ROUNDS, work, floors))? {
        task.add(turn.finished - turn.running);
    }
    for figures in [task, file, pipe] {
        let speed = BYTES as f64 / 1e6 / figures.median().as_secs_f64();
        figures.print();
        tell("    by the median", format!("{speed:>7.0} MB/s"));
    }
    cluster.stop()
}

fn to_file(argv: &[&str], path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let status = Command::new(argv[0]).args(&argv[1..]).stdin(Stdio::null()).stdout(file).status();
    good(argv, status.with_context(|| format!("starting {argv:?}"))?)
}

fn to_pipe(argv: &[&str]) -> anyhow::Result<()> {
    let started = Command::new(argv[0]).args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut process = started.with_context(|| format!("starting {argv:?}"))?;
    let mut output = process.stdout.take().context("its standard output is a pipe")?;
    let mut buffer = vec![0; READ];
    while output.read(&mut buffer).context("reading the pipe")? > 0 {}
    good(argv, process.wait().context("waiting for a process of the bench")?)
}

fn good(argv: &[&str], status: ExitStatus) -> anyhow::Result<()> {
    match status.success() {
        true => Ok(()),
        false => bail!("{argv:?} ended with {status}; see whether the disk has room"),
    }
}
