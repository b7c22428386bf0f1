//! One side of the comparison, in a process of its own.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::bare::{self, Bare};
use super::bundle;
use super::ours::Ours;

/// The namespaces of a container.
pub const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWPID
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

/// Makes a container for each line of its input and tells wall and cpu time, and what the steps of it took where they are
/// known, in microseconds.
pub fn serve(side: &str, folder: &Path) -> anyhow::Result<()> {
    let plain = |life: anyhow::Result<()>| life.map(|()| Vec::new());
    match side {
        "ours" | "unfiltered" => {
            let ours = if side == "ours" { Ours::open(folder)? } else { Ours::unfiltered(folder)? };
            rounds(|number| plain(ours.life(&format!("{side}-{number}"))))?;
            ours.close()
        }
        "files" => rounds(|_| plain(bare::files(folder).context("making and removing files"))),
        "bare" => {
            let bare = Bare::open(folder)?;
            eprintln!("the same by plain calls: {}", bare.told());
            rounds(|_| bare.life())
        }
        "crun" | "runc" => {
            without_second_hierarchy()?;
            let bundle = bundle::write(folder, side)?;
            rounds(|number| {
                let mut run = Command::new(side);
                run.arg("--root").arg(folder.join(format!("{side}-state")));
                run.arg("run").arg("--bundle").arg(&bundle).arg(format!("bench-{side}-{number}"));
                plain(good(run.stdin(Stdio::null()), side))
            })
        }
        "floor" => rounds(|_| {
            let program = folder.join("true");
            // On a thread, as a process can make a pid namespace for its children only once.
            let life = std::thread::spawn(move || {
                unshare(NAMESPACES).context("making namespaces")?;
                good(&mut Command::new(program), "the static program")
            });
            plain(life.join().unwrap_or_else(|_| bail!("the floor gave way")))
        }),
        _ => bail!("{side} is no side of the comparison"),
    }
}

/// Runs a command to its end, which must be a good one.
pub fn good(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {what}"))?;
    match status.success() {
        true => Ok(()),
        false => bail!("{what} ended with {status}"),
    }
}

/// crun refuses a machine where a second hierarchy is mounted beside the first, so that it is not, for this process.
fn without_second_hierarchy() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace; run the bench as root")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let unified = Path::new("/sys/fs/cgroup/unified");
    match unified.exists() {
        true => umount2(unified, MntFlags::MNT_DETACH).context("leaving out the second hierarchy"),
        false => Ok(()),
    }
}

fn rounds(mut life: impl FnMut(usize) -> anyhow::Result<Vec<Duration>>) -> anyhow::Result<()> {
    for (number, line) in stdin().lock().lines().enumerate() {
        line?;
        let (begun, before) = (Instant::now(), cpu()?);
        let steps = life(number)?;
        let took = begun.elapsed();
        let used = cpu()?.saturating_sub(before);
        println_to_parent(&[&[took, used], &steps[..]].concat())?;
    }
    Ok(())
}

fn println_to_parent(times: &[Duration]) -> anyhow::Result<()> {
    let numbers: Vec<String> = times.iter().map(|time| time.as_micros().to_string()).collect();
    let mut out = stdout().lock();
    writeln!(out, "{}", numbers.join(" "))?;
    Ok(out.flush()?)
}

/// Of this process and of all that it has waited for.
fn cpu() -> anyhow::Result<Duration> {
    let mut sum = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        sum += usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    }
    Ok(Duration::from_micros(sum.unsigned_abs()))
}
