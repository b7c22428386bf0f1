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

use super::bundle;
use super::ours::Ours;

/// Makes a container for each line of its input and tells wall and cpu time, in microseconds.
pub fn serve(side: &str, folder: &Path) -> anyhow::Result<()> {
    match side {
        "ours" => {
            let ours = Ours::open(folder)?;
            rounds(|number| ours.life(number))?;
            ours.close()
        }
        "crun" | "runc" => {
            without_second_hierarchy()?;
            let bundle = bundle::write(folder, side)?;
            rounds(|number| {
                let mut run = Command::new(side);
                run.arg("--root").arg(folder.join(format!("{side}-state")));
                run.arg("run").arg("--bundle").arg(&bundle).arg(format!("bench-{side}-{number}"));
                good(run.stdin(Stdio::null()), side)
            })
        }
        "floor" => rounds(|_| {
            let program = folder.join("true");
            // On a thread, as a process can make a pid namespace for its children only once.
            let life = std::thread::spawn(move || {
                let (pid, mount) = (CloneFlags::CLONE_NEWPID, CloneFlags::CLONE_NEWNS);
                unshare(pid | mount | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)
                    .context("making namespaces")?;
                good(&mut Command::new(program), "the static program")
            });
            life.join().unwrap_or_else(|_| bail!("the floor gave way"))
        }),
        _ => bail!("{side} is no side of the comparison"),
    }
}

fn good(command: &mut Command, what: &str) -> anyhow::Result<()> {
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

fn rounds(mut life: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for (number, line) in stdin().lock().lines().enumerate() {
        line?;
        let (begun, before) = (Instant::now(), cpu()?);
        life(number)?;
        let took = begun.elapsed();
        let used = cpu()?.saturating_sub(before);
        println_to_parent(took, used)?;
    }
    Ok(())
}

fn println_to_parent(took: Duration, used: Duration) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{} {}", took.as_micros(), used.as_micros())?;
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
