//! Tasks of one agent, as their framework sees them: one after another, and many at once.

use std::fs;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE};
use crate::commands::unshare;
use crate::crowd::{Crowd, Took};
use crate::figures::{Figures, tell};
use crate::turns::{self, Work};

/// The last word of a task is the time, in nanoseconds since 1970, right before it ends. It first runs for long enough
/// that its TASK_RUNNING is acknowledged, as its end is not told before.
const TELLS_ITS_END: [&str; 3] = ["/bin/sh", "-c", "sleep 0.05; exec date +%s%N"];

const MEM_MIB: u64 = 32;

/// Measures and prints: `rounds` tasks one by one, `tasks` at once.
pub fn measure(binary: &Path, rounds: usize, tasks: usize) -> anyhow::Result<()> {
    let cluster = Cluster::start(binary)?;
    cluster.wait(one_by_one(&cluster, rounds))?;
    let took = cluster.wait(at_once(&cluster, tasks))?;
    let a_second = |took: Duration| format!("{:>7.1} a second", tasks as f64 / took.as_secs_f64());
    println!("{tasks} tasks that end at once, by one accept");
    tell("  to the last TASK_FINISHED", a_second(took.to_end));
    tell("  to the last TASK_RUNNING", a_second(took.to_run));
    tell("  floor: as many unshare -- true, one a cpu at a time", a_second(unshares(tasks)?));
    cluster.stop()
}

async fn one_by_one(cluster: &Cluster, rounds: usize) -> anyhow::Result<()> {
    let mut begins = Figures::new("a task, from the accept to TASK_RUNNING at its framework");
    let mut floor = Figures::new("  floor: unshare with the same namespaces -- true");
    let mut ends = Figures::new("a task, from its own last word to TASK_FINISHED at its framework");
    let work = Work { argv: &TELLS_ITS_END, mem_mib: MEM_MIB };
    let turns = turns::run(cluster.framework("turns")?, rounds, work, || floor.time(unshare)).await?;
    for turn in turns {
        begins.add(turn.running - turn.accepted);
        let last_word = time_in(&cluster.agent_dir().join(turn.sandbox).join("stdout"))?;
        // The same clock of the same machine; somebody may have set it meanwhile.
        ends.add(turn.finished_at.duration_since(last_word).unwrap_or_default());
    }
    begins.print();
    floor.print();
    ends.print();
    Ok(())
}

/// What the task wrote just before its end.
fn time_in(path: &Path) -> anyhow::Result<SystemTime> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let nanoseconds =
        text.trim().parse::<u64>().with_context(|| format!("{} holds no time", path.display()))?;
    Ok(UNIX_EPOCH + Duration::from_nanos(nanoseconds))
}

async fn at_once(cluster: &Cluster, tasks: usize) -> anyhow::Result<Took> {
    let (crowd, _) = Crowd::new(tasks, &["true"]);
    let ended = timeout(PATIENCE, cluster.framework("crowd")?.run(crowd)).await;
    ended.with_context(|| format!("{tasks} tasks did not end within {PATIENCE:?}"))??.took()
}

/// As many as there are cpus at a time.
fn unshares(count: usize) -> anyhow::Result<Duration> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let begun = Instant::now();
    thread::scope(|scope| {
        let part = move |worker| (worker..count).step_by(workers).try_for_each(|_| unshare());
        let all: Vec<_> = (0..workers).map(|worker| scope.spawn(move || part(worker))).collect();
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })?;
    Ok(begun.elapsed())
}
