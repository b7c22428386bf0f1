//! What tasks that do nothing take: memory each, the agent's cpu, and how fast they are killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, PATIENCE};
use crate::crowd::{Crowd, Took};
use crate::figures::tell;
use crate::threads::{self, Look};
use crate::turns::{self, Work};
use crate::{commands, memory};

const SLEEP: [&str; 2] = ["sleep", "1000000"];

/// By then what the launches set in motion is over: the first measurement of the tasks' use, acknowledgements.
const SETTLED: Duration = Duration::from_secs(6);

/// For how long the agent's cpu time is looked at: some measurements of the tasks' use and one of their sandboxes are
/// in it.
const IDLE: Duration = Duration::from_secs(20);

/// How long processes of no container may take until they do nothing.
const BARE_SETTLED: Duration = Duration::from_secs(1);

/// Who holds memory, as [`held`] tells it.
const HOLDERS: [&str; 4] =
    ["  its processes", "  growth of the agent", "  growth of the master", "  growth of the kernel"];

/// KiB of each holder.
type Held = [u64; 4];

/// What was seen while all of them slept.
struct Seen {
    before: Held,
    after: Held,
    /// Without tasks and with them.
    alone: Idle,
    busy: Idle,
}

/// What an agent did while it had nothing to do.
struct Idle {
    /// Of one cpu.
    share: f64,
    looks: [Look; 2],
}

/// Measures and prints, with so many tasks at once.
pub fn measure(binary: &Path, tasks: usize) -> anyhow::Result<()> {
    let bare = Bare::start(tasks)?;
    let (bare_processes, bare_kernel) = bare.held()?;
    let bare_end = bare.kill()?;
    let cluster = Cluster::start(binary)?;
    let (took, seen) = cluster.wait(watch(&cluster, tasks))?;
    cluster.stop()?;

    // What is not the tasks' own may shrink, too: others use the machine.
    let each = |kibibytes: i64| format!("{:>7.3} MB", kibibytes as f64 * 1024.0 / 1e6 / tasks as f64);
    let grown = |holder: usize| seen.after[holder].cast_signed() - seen.before[holder].cast_signed();
    tell(&format!("{tasks} tasks that sleep, memory of each"), each((0..HOLDERS.len()).map(grown).sum()));
    for (holder, what) in HOLDERS.iter().enumerate() {
        tell(what, each(grown(holder)));
    }
    tell("  floor: as many processes that sleep, in no container", each(bare_processes + bare_kernel));
    tell("    its process", each(bare_processes));
    tell("    growth of the kernel", each(bare_kernel));
    tell("the agent's cpu while they sleep, of one cpu", format!("{:>7.2} %", seen.busy.share * 100.0));
    let [before, after] = &seen.busy.looks;
    threads::print(before, after);
    tell("  floor: of the same agent without tasks", format!("{:>7.2} %", seen.alone.share * 100.0));
    let a_second = |took: Duration| format!("{:>7.1} a second", tasks as f64 / took.as_secs_f64());
    tell("launched by one accept, to the last TASK_RUNNING", a_second(took.to_run));
    if let Some(to_die) = took.to_die {
        tell("killed at once, to the last TASK_KILLED", a_second(to_die));
    }
    tell("  floor: SIGKILL for as many processes in no container, and waiting", a_second(bare_end));
    Ok(())
}

async fn watch(cluster: &Cluster, tasks: usize) -> anyhow::Result<(Took, Seen)> {
    // The agent is compared with one that has run a task, and is there.
    let work = Work { argv: &["true"], mem_mib: 32 };
    turns::run(cluster.framework("first")?, 1, work, commands::unshare).await?;
    let alone = idle(cluster.agent()).await?;
    let before = held(cluster)?;
    let (crowd, all_run) = Crowd::new(tasks, &SLEEP);
    let (handle, running) = cluster.framework("sleepers")?.start(crowd);
    let looking = async {
        if all_run.await.is_err() {
            return anyhow::Ok(None); // The crowd knows why.
        }
        let busy = idle(cluster.agent()).await?;
        let after = held(cluster)?;
        handle.send(()).await;
        Ok(Some(Seen { before, after, alone, busy }))
    };
    let both = async { tokio::try_join!(async { anyhow::Ok(running.await?) }, looking) };
    let ended = timeout(PATIENCE, both).await;
    let (crowd, seen) = ended.with_context(|| format!("{tasks} tasks took longer than {PATIENCE:?}"))??;
    Ok((crowd.took()?, seen.context("the framework ended before all tasks ran")?))
}

/// What the agent does once it has nothing to do.
async fn idle(agent: u32) -> anyhow::Result<Idle> {
    sleep(SETTLED).await;
    let first = Look::at(agent)?;
    let (begun, before) = (Instant::now(), memory::cpu_time(agent)?);
    sleep(IDLE).await;
    let used = memory::cpu_time(agent)?.saturating_sub(before);
    let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok(Idle { share, looks: [first, Look::at(agent)?] })
}

fn held(cluster: &Cluster) -> anyhow::Result<Held> {
    // The kernel first, as looking at many processes makes it hold more.
    let kernel = memory::of_kernel()?;
    let part = |pid| memory::of_process(pid).with_context(|| format!("process {pid} of the cluster is gone"));
    // One that has just gone holds nothing.
    let tasks: u64 = memory::below(cluster.agent())?.into_iter().filter_map(memory::of_process).sum();
    Ok([tasks, part(cluster.agent())?, part(cluster.master())?, kernel])
}

/// The floor: processes that sleep, in no container.
struct Bare {
    /// Of the kernel, before there were any. KiB.
    kernel: u64,
    processes: Vec<Child>,
}

impl Bare {
    fn start(count: usize) -> anyhow::Result<Bare> {
        let mut bare = Bare { kernel: memory::of_kernel()?, processes: Vec::new() };
        let [program, time] = SLEEP;
        for _ in 0..count {
            let process = Command::new(program).arg(time).stdin(Stdio::null()).spawn();
            bare.processes.push(process.with_context(|| format!("starting {program}"))?);
        }
        thread::sleep(BARE_SETTLED);
        Ok(bare)
    }

    /// What the processes hold, and what the kernel holds for them. KiB.
    fn held(&self) -> anyhow::Result<(i64, i64)> {
        let kernel = memory::of_kernel()?.cast_signed() - self.kernel.cast_signed();
        let processes: u64 =
            self.processes.iter().filter_map(|process| memory::of_process(process.id())).sum();
        Ok((processes.cast_signed(), kernel))
    }

    fn kill(mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for process in &mut self.processes {
            process.kill().context("killing a process of the bench")?;
        }
        for process in &mut self.processes {
            process.wait().context("waiting for a process of the bench")?;
        }
        Ok(begun.elapsed())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Its own children; those that were waited for are left alone.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
