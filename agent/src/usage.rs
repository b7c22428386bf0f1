//! Measuring what tasks use, for people to see.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bourse_agent_core::TaskKey;
use bourse_containerizer::{Containerizer, Pressure, Usage};
use bourse_proto::agent_link as link;
use bourse_types::units::bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::disk::{self, Sizes};
use crate::driver::Input;
use crate::view::{TaskView, Views};

/// The rest after a round, at least, in lengths of that: so that measuring takes a three-hundredth of a core at most, however
/// many tasks there are.
const REST: u32 = 300;

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
        let space = disk::space(work_dir.clone()).await;
        let disk_free_bytes = space.and_then(|space| space.bytes).map_or(0, |bytes| bytes.free());
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
    let pressure = |of: Option<Pressure>| of.map(|pressure| pressure.avg10);
    let kinds = usage.memory_kinds.as_ref();
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
        cpu_user_nanos: usage.cpu_user.map(nanoseconds),
        cpu_system_nanos: usage.cpu_system.map(nanoseconds),
        cpu_periods: usage.cpu_periods,
        cpu_periods_throttled: usage.cpu_periods_throttled,
        memory_limit_bytes: usage.memory_limit_bytes,
        memory_anonymous_bytes: kinds.map(|kinds| kinds.anonymous_bytes),
        memory_file_bytes: kinds.map(|kinds| kinds.file_bytes),
        memory_shared_bytes: kinds.map(|kinds| kinds.shared_bytes),
        memory_kernel_bytes: kinds.and_then(|kinds| kinds.kernel_bytes),
        swap_bytes: usage.swap_bytes,
        oom_kills: usage.oom_kills,
        io_read_bytes: usage.io.map(|io| io.read_bytes),
        io_written_bytes: usage.io.map(|io| io.written_bytes),
        pids_limit: usage.pids_limit,
        pids_refused: usage.pids_refused,
        cpu_pressure: pressure(usage.cpu_pressure),
        memory_pressure: pressure(usage.memory_pressure),
        io_pressure: pressure(usage.io_pressure),
    }
}

#[cfg(test)]
mod tests {
    use bourse_containerizer::{Io, MemoryKinds};
    use bourse_types::{ContainerId, FrameworkId, Milli, TaskId};

    use super::*;

    fn told(usage: &Usage) -> link::TaskUsage {
        let key = TaskKey {
            framework: FrameworkId::new("F").expect("valid"),
            task: TaskId::new("t1").expect("valid"),
        };
        let container = ContainerId::new("c1").expect("valid");
        let task = TaskView { container, started: true, ended: false, disk_limit: Some(Milli::whole(4)) };
        write(&key, &task, usage, 0.5, Some(7))
    }

    #[test]
    fn what_a_task_uses_is_told_by_kind_and_what_is_not_counted_is_left_out() {
        let pressure = |avg10| Some(Pressure { avg10, total: Duration::from_secs(9) });
        let kinds = MemoryKinds { anonymous_bytes: 1, file_bytes: 3, shared_bytes: 2, kernel_bytes: Some(4) };
        let usage = Usage {
            cpu: Duration::from_nanos(30),
            cpu_user: Some(Duration::from_nanos(10)),
            cpu_system: Some(Duration::from_nanos(20)),
            cpu_periods: 5,
            cpu_periods_throttled: 4,
            cpu_throttled: Duration::from_nanos(40),
            cpu_pressure: pressure(100),
            memory_bytes: 8,
            memory_kinds: Some(kinds),
            memory_peak_bytes: Some(9),
            memory_limit_bytes: Some(10),
            memory_pressure: pressure(200),
            swap_bytes: Some(11),
            oom_kills: 12,
            io: Some(Io { read_bytes: 13, written_bytes: 14, reads: 15, writes: 16 }),
            io_pressure: pressure(10_000),
            pids: 17,
            pids_limit: Some(18),
            pids_refused: Some(19),
        };
        let named = |usage: link::TaskUsage| link::TaskUsage {
            framework_id: "F".into(),
            task_id: "t1".into(),
            cpus: 0.5,
            disk_used_bytes: Some(7),
            disk_limit_bytes: Some(4 << 20),
            ..usage
        };
        let expected = named(link::TaskUsage {
            cpu_nanos: 30,
            cpu_user_nanos: Some(10),
            cpu_system_nanos: Some(20),
            cpu_periods: 5,
            cpu_periods_throttled: 4,
            throttled_nanos: 40,
            cpu_pressure: Some(100),
            memory_bytes: 8,
            memory_anonymous_bytes: Some(1),
            memory_file_bytes: Some(3),
            memory_shared_bytes: Some(2),
            memory_kernel_bytes: Some(4),
            memory_peak_bytes: 9,
            memory_limit_bytes: Some(10),
            memory_pressure: Some(200),
            swap_bytes: Some(11),
            oom_kills: 12,
            io_read_bytes: Some(13),
            io_written_bytes: Some(14),
            io_pressure: Some(10_000),
            pids: 17,
            pids_limit: Some(18),
            pids_refused: Some(19),
            ..link::TaskUsage::default()
        });
        assert_eq!(told(&usage), expected);
        assert_eq!(told(&Usage::default()), named(link::TaskUsage::default()));
    }
}
