//! A container's whole life, beside the same life by other runtimes and beside what the kernel alone takes.
//!
//! Each side makes the same thing: new pid, mount, uts and ipc namespaces, control groups with a share and a quota of cpu,
//! a memory and a pids limit, a root of its own with the machine's programs read-only, the same masks, the same filter of
//! system calls, no new privileges, and a static program that ends at once; then it waits and removes all of it. Turn by
//! turn, in processes that are there before, so that starting them is not measured.

mod bundle;
mod ours;
mod side;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::figures::Figures;

pub use side::serve;

/// Those that are compared, each with what it is called on the command line of [`serve`].
const SIDES: [(&str, &str); 4] = [
    ("ours", "container: launch, wait, destroy by the containerizer"),
    ("crun", "  peer: crun run"),
    ("runc", "  peer: runc run"),
    ("floor", "  floor: unshare of the same namespaces, spawn of the same program"),
];

/// In turns; those that are not installed are left out.
pub fn compare(rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let folder = folder.path().canonicalize()?;
    program(&folder)?;
    let mut sides = Vec::new();
    for (side, what) in SIDES {
        let installed = ["ours", "floor"].contains(&side) || quiet_version(side);
        match installed {
            true => {
                sides.push((what, Side::start(side, &folder)?, Figures::new(what), Figures::new("    cpu")))
            }
            false => println!("{what}: {side} is not installed"),
        }
    }
    // The first of each finds nothing in the machine's caches.
    for (_, side, ..) in &mut sides {
        side.round()?;
    }
    for _ in 0..rounds {
        for (_, side, wall, cpu) in &mut sides {
            let (took, used) = side.round()?;
            wall.add(took);
            cpu.add(used);
        }
    }
    let ours = sides.first().map(|(_, _, wall, cpu)| (wall.median(), cpu.median())).unwrap_or_default();
    for (what, _, wall, cpu) in sides {
        let (took, used) = (wall.median(), cpu.median());
        wall.print();
        cpu.print();
        if took != ours.0 {
            let of = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
            let name = what.trim();
            println!(
                "    ours takes {:.2} of {name}, and {:.2} of its cpu",
                of(ours.0, took),
                of(ours.1, used)
            );
        }
    }
    Ok(())
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

    /// One container: how long it took, and how much cpu.
    fn round(&mut self) -> anyhow::Result<(Duration, Duration)> {
        self.orders.write_all(b"\n")?;
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        match numbers[..] {
            [wall, cpu] => Ok((Duration::from_micros(wall), Duration::from_micros(cpu))),
            _ => bail!("a side of the comparison ended; it said why above"),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Its own child, which ends with its input.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
