//! A container's whole life, beside the same life by other runtimes and beside what the kernel alone takes.
//!
//! Each side makes the same thing: new pid, mount, uts and ipc namespaces, control groups with a share and a quota of cpu,
//! a memory and a pids limit, a root of its own with the machine's programs read-only, the same masks, the same filter of
//! system calls, no new privileges, and a static program that ends at once; then it waits and removes all of it. Turn by
//! turn, in processes that are there before, so that starting them is not measured.
//!
//! There are two floors: the namespaces and the program alone, and those with the same mounts and as many control groups, which
//! is what no runtime with this isolation gets around. Of the second the steps are told, and beside them what else there is in
//! a life: the files that are written down, and the filter of system calls.

mod bare;
mod bundle;
mod ours;
mod seen;
mod side;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::figures::{Figures, short, tell};

pub use side::serve;

/// One of those that take turns.
struct Kind {
    /// What it is called on the command line of [`serve`].
    name: &'static str,
    what: &'static str,
    part: Part,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// What is measured.
    Subject,
    /// It is compared with this one.
    Peer,
    /// It is a part of the subject, or the subject without a part.
    Step,
}

const KINDS: [Kind; 7] = [
    Kind { name: "ours", what: "container: launch, wait, destroy by the containerizer", part: Part::Subject },
    Kind { name: "crun", what: "  peer: crun run", part: Part::Peer },
    Kind { name: "runc", what: "  peer: runc run", part: Part::Peer },
    Kind {
        name: "bare",
        what: "  floor: the same mounts, control groups and namespaces, by plain calls",
        part: Part::Peer,
    },
    Kind {
        name: "floor",
        what: "  floor: unshare of the same namespaces, spawn of the same program",
        part: Part::Peer,
    },
    Kind { name: "unfiltered", what: "  the same without a filter of system calls", part: Part::Step },
    Kind { name: "files", what: "  as many files in as many folders, made and removed", part: Part::Step },
];

/// What one of them took, round for round.
struct Measured {
    kind: &'static Kind,
    side: Side,
    wall: Figures,
    cpu: Figures,
    steps: Vec<Figures>,
}

impl Measured {
    fn start(kind: &'static Kind, folder: &Path) -> anyhow::Result<Measured> {
        let steps = match kind.name {
            "bare" => bare::STEPS.iter().map(|step| Figures::new(format!("  {step}"))).collect(),
            _ => Vec::new(),
        };
        let (wall, cpu) = (Figures::new(kind.what), Figures::new("    cpu"));
        Ok(Measured { kind, side: Side::start(kind.name, folder)?, wall, cpu, steps })
    }

    fn round(&mut self) -> anyhow::Result<()> {
        let times = self.side.round()?;
        let [took, used, steps @ ..] = &times[..] else {
            bail!("a side of the comparison ended; it said why above");
        };
        self.wall.add(*took);
        self.cpu.add(*used);
        self.steps.iter_mut().zip(steps).for_each(|(figures, took)| figures.add(*took));
        Ok(())
    }
}

/// In turns; those that are not installed are left out.
pub fn compare(rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let folder = folder.path().canonicalize()?;
    program(&folder)?;
    let mut all = Vec::new();
    for kind in &KINDS {
        let installed = !["crun", "runc"].contains(&kind.name) || quiet_version(kind.name);
        match installed {
            true => all.push(Measured::start(kind, &folder)?),
            false => println!("{}: {} is not installed", kind.what, kind.name),
        }
    }
    // The first of each finds nothing in the machine's caches.
    for measured in &mut all {
        measured.side.round()?;
    }
    for _ in 0..rounds {
        all.iter_mut().try_for_each(Measured::round)?;
    }
    tell_of(all);
    Ok(())
}

fn tell_of(all: Vec<Measured>) {
    let find = |name: &str| all.iter().find(|measured| measured.kind.name == name);
    let median = |name: &str| find(name).map(|found| found.wall.median()).unwrap_or_default();
    let ours = find("ours").map(|ours| (ours.wall.median(), ours.cpu.median())).unwrap_or_default();
    let filter = ours.0.saturating_sub(median("unfiltered"));
    let files = median("files");
    let mut steps = Vec::new();
    for Measured { kind, wall, cpu, steps: its, .. } in all {
        let (took, used) = (wall.median(), cpu.median());
        if kind.part != Part::Step {
            wall.print();
            cpu.print();
        }
        if kind.part == Part::Peer {
            let of = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
            let name = kind.what.trim();
            println!(
                "    ours takes {:.2} of {name}, and {:.2} of its cpu",
                of(ours.0, took),
                of(ours.1, used)
            );
        }
        steps.extend(its);
    }
    println!("the steps of a life, by plain calls, medians");
    for step in steps {
        tell(step.what(), short(step.median()));
    }
    tell("  the files that are written down for it, made and removed", short(files));
    tell("  the filter of system calls: ours less the same without one", short(filter));
}

/// A static program that ends at once: what it takes is what is around it.
fn program(folder: &Path) -> anyhow::Result<()> {
    let (source, program) = (folder.join("true.c"), folder.join("true"));
    std::fs::write(&source, "int main(void) { return 0; }\n")?;
    let built = Command::new("cc").args(["-static", "-Os", "-o"]).arg(&program).arg(&source).status();
    match built.context("starting cc")?.success() {
        true => Ok(()),
        false => bail!("cc could not build a static program; install build-essential"),
    }
}

fn quiet_version(side: &str) -> bool {
    let ran = Command::new(side).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

/// A process of this program that makes one container for each line that it reads.
struct Side {
    process: Child,
    orders: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Side {
    fn start(side: &str, folder: &Path) -> anyhow::Result<Side> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["side", side])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process of the bench")?;
        let orders = process.stdin.take().context("its standard input is a pipe")?;
        let told = BufReader::new(process.stdout.take().context("its standard output is a pipe")?);
        Ok(Side { process, orders, told })
    }

    /// One container: how long it took, how much cpu, and what its steps took if they are known.
    fn round(&mut self) -> anyhow::Result<Vec<Duration>> {
        self.orders.write_all(b"\n")?;
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        let numbers = line.split_whitespace().filter_map(|text| text.parse().ok());
        Ok(numbers.map(Duration::from_micros).collect())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Its own child, which ends with its input.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
