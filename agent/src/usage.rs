//! Measuring what tasks use, for people to see.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_agent_core::TaskKey;
use bourse_containerizer::{Containerizer, Usage};
use bourse_proto::agent_link as link;
use bourse_types::Milli;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::disk::Sizes;
use crate::driver::Input;
use crate::view::{TaskView, Views};

/// The rest after a round, at least, in lengths of that: so that measuring takes less than a hundredth of a core, however
/// many tasks there are.
const REST: u32 = 150;

/// Measures every running task at the interval, and less often where a round takes long, for ever. Of their sandboxes it
/// tells what was measured last.
pub async fn measure<C: Containerizer>(
    containers: C,
    every: Duration,
    work_dir: PathBuf,
    views: Views,
    sizes: watch::Receiver<Sizes>,
    inbox: mpsc::Sender<Input>,
) {
    let mut before: BTreeMap<TaskKey, (Instant, Duration)> = BTreeMap::new();
    loop {
        let began = Instant::now();
        let view = views.borrow().clone();
        let mut tasks = Vec::new();
        let mut seen = BTreeMap::new();
        for (key, task) in view.tasks.iter().filter(|(_, task)| task.started && !task.ended) {
            // One that ended just now cannot be measured, and need not be.
            let Ok(usage) = containers.usage(&task.container).await else { continue };
            let now = Instant::now();
            let cpus = before.get(key).map_or(0.0, |(then, cpu)| rate(usage.cpu, *cpu, now - *then));
            seen.insert(key.clone(), (now, usage.cpu));
            let disk = sizes.borrow().get(&task.container).copied();
            tasks.push(write(key, task, &usage, cpus, disk));
        }
        before = seen;
        let folder = work_dir.clone();
        // 0 where it cannot be asked, as where the file system does not say.
        let disk_free_bytes = spawn_blocking(move || disk_free(&folder)).await.unwrap_or(0);
        let usage = link::Usage { tasks, disk_free_bytes };
        if inbox.send(Input::Usage(usage)).await.is_err() {
            return;
        }
        sleep(every.max(began.elapsed().saturating_mul(REST))).await;
    }
}

fn rate(now: Duration, before: Duration, elapsed: Duration) -> f64 {
    match elapsed.as_secs_f64() {
        0.0 => 0.0,
        seconds => now.saturating_sub(before).as_secs_f64() / seconds,
    }
}

fn write(key: &TaskKey, task: &TaskView, usage: &Usage, cpus: f64, disk: Option<u64>) -> link::TaskUsage {
    let nanoseconds = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    link::TaskUsage {
        framework_id: key.framework.to_string(),
        task_id: key.task.to_string(),
        cpu_nanos: nanoseconds(usage.cpu),
        cpus,
        memory_bytes: usage.memory_bytes,
        memory_peak_bytes: usage.memory_peak_bytes.unwrap_or(0),
        throttled_nanos: nanoseconds(usage.cpu_throttled),
        pids: u32::try_from(usage.pids).unwrap_or(u32::MAX),
        disk_used_bytes: disk,
        disk_limit_bytes: task.disk_limit.map(bytes),
    }
}

fn bytes(mebibytes: Milli) -> u64 {
    u64::try_from((u128::from(mebibytes.thousandths()) << 20) / 1000).unwrap_or(u64::MAX)
}

/// Free for anybody but root; 0 where the file system does not say.
fn disk_free(folder: &Path) -> u64 {
    nix::sys::statvfs::statvfs(folder)
        .map_or(0, |stat| stat.blocks_available().saturating_mul(stat.fragment_size()))
}
