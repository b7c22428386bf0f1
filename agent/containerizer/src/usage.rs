//! What a container has used.

use std::time::Duration;

/// What a container has used. In process isolation only `cpu`, `memory_bytes` and `pids` are known, summed
/// over the processes of the task's session that still run. What is `None` is not counted by this machine's kernel, or
/// not for this container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Cpu time, user and system, with that of the container's first process: it writes the logs.
    pub cpu: Duration,
    /// The part of it in the programs themselves. On control groups of version 1 in whole ticks, of 10 ms.
    pub cpu_user: Option<Duration>,
    /// The part of it in the kernel, on their behalf; likewise.
    pub cpu_system: Option<Duration>,
    /// Periods of 100 ms in which the task wanted to run while it has a quota.
    pub cpu_periods: u64,
    /// Those of them in which it wanted more than its quota.
    pub cpu_periods_throttled: u64,
    /// How long it had to wait for that, summed over cpus.
    pub cpu_throttled: Duration,
    /// How much it waits for a cpu.
    pub cpu_pressure: Option<Pressure>,
    /// Memory now, page cache included.
    pub memory_bytes: u64,
    /// What that is.
    pub memory_kinds: Option<MemoryKinds>,
    /// The most memory at any time; on control groups of version 1, since its limit was last set to less than that.
    pub memory_peak_bytes: Option<u64>,
    /// What it may have; `None` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// How much it waits for memory that has to be taken from somewhere first.
    pub memory_pressure: Option<Pressure>,
    /// Swap now.
    pub swap_bytes: Option<u64>,
    /// How many of its processes the kernel killed for memory, its own limit's or the whole machine's.
    pub oom_kills: u64,
    /// What it read from and wrote to disks. Counted for containers with an io weight only.
    pub io: Option<Io>,
    /// How much it waits for disks.
    pub io_pressure: Option<Pressure>,
    /// Processes and threads now.
    pub pids: u64,
    /// How many there may be; `None` without a limit.
    pub pids_limit: Option<u64>,
    /// How often one more was refused. Nothing is killed for that.
    pub pids_refused: Option<u64>,
}

/// What memory is used for. The kernel's figures may be behind by some hundred KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryKinds {
    /// The programs' own: heaps and stacks.
    pub anonymous_bytes: u64,
    /// Of files: page cache, `shared_bytes` included.
    pub file_bytes: u64,
    /// Of files that are in memory only: shared memory, and all of a tmpfs such as `/dev/shm`.
    pub shared_bytes: u64,
    /// The kernel's, on behalf of the task. From Linux 5.18 on with version 2.
    pub kernel_bytes: Option<u64>,
}

/// What was read from and written to disks, all of them together. A disk that is made of others (device mapper) counts as
/// they do, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Io {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Operations that read.
    pub reads: u64,
    /// Operations that write.
    pub writes: u64,
}

/// How much of the time some process or thread of a task has waited for something that was short. On hybrid control
/// groups those of the container's first process are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Of the last ten seconds, in hundredths of a percent: 10,000 is all the time.
    pub avg10: u32,
    /// Since the start of the container.
    pub total: Duration,
}
