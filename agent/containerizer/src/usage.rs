//! What a container has used.

use std::time::Duration;

/// What a container has used. In process isolation only `cpu`, `memory_bytes` and `pids` are known, summed
/// over the processes of the task's session that still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Cpu time, user and system.
    pub cpu: Duration,
    /// Periods of 100 ms in which the container wanted to run while it has a quota.
    pub cpu_periods: u64,
    /// Those of them in which it wanted more than its quota.
    pub cpu_periods_throttled: u64,
    /// How long it had to wait for that, summed over cpus.
    pub cpu_throttled: Duration,
    /// Memory now, page cache included.
    pub memory_bytes: u64,
    /// The most memory at any time; on control groups of version 1, since its limit was last set to less than that.
    pub memory_peak_bytes: Option<u64>,
    /// What it may have; `None` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// How many of its processes the kernel killed for memory, its own limit's or the whole machine's.
    pub oom_kills: u64,
    /// Processes and threads now.
    pub pids: u64,
}
