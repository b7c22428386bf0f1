//! The memory controller: a hard limit, and who was killed for going over it.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/memory.rst` and `admin-guide/cgroup-v2.rst`.

use std::path::Path;

use super::CgroupError;
use super::files::{keyed, number, write, write_if_there};
use crate::containerizer::Usage;

/// Version 1 says "no limit" with the greatest number of whole pages.
const NO_LIMIT_V1: u64 = 1 << 62;

/// The most that is asked for at once, a huge page: so much below the limit the peak stays when it does not fit.
const CHARGE: u64 = 2 << 20;

/// Version 1: memory first, as the limit of memory and swap together may never be below it. Kernels without
/// swap accounting lack that file, and then swap is not limited.
pub fn limit_v1(dir: &Path, bytes: u64, swap: u64) -> Result<(), CgroupError> {
    write(dir, "memory.limit_in_bytes", bytes)?;
    write_if_there(dir, "memory.memsw.limit_in_bytes", bytes.saturating_add(swap)).map(drop)
}

/// Version 1: what was used.
pub fn usage_v1(dir: &Path, usage: &mut Usage) {
    usage.memory_bytes = number(dir, "memory.usage_in_bytes").unwrap_or(0);
    usage.memory_peak_bytes = number(dir, "memory.max_usage_in_bytes");
    usage.memory_limit_bytes = number(dir, "memory.limit_in_bytes").filter(|&bytes| bytes < NO_LIMIT_V1);
    usage.oom_kills = oom_kills_v1(dir);
}

/// Version 1: how many were killed, whoever ran out of memory.
fn oom_kills_v1(dir: &Path) -> u64 {
    keyed(dir, "memory.oom_control", "oom_kill").unwrap_or(0)
}

/// Version 1: whether one was killed for the limit. The kernel does not tell apart whose lack it was, so the limit must
/// have been reached, too. That is read off the peak: `memory.failcnt` stays 0 on recent kernels (seen on 6.18).
pub fn is_over_v1(dir: &Path) -> bool {
    let reached = || {
        let (peak, limit) =
            (number(dir, "memory.max_usage_in_bytes")?, number(dir, "memory.limit_in_bytes")?);
        Some(peak.saturating_add(CHARGE) >= limit)
    };
    oom_kills_v1(dir) > 0 && reached().unwrap_or(false)
}

/// Version 2. The whole group goes when one of it is killed for memory: half a task is worth nothing.
pub fn limit_v2(dir: &Path, bytes: u64, swap: u64) -> Result<(), CgroupError> {
    write(dir, "memory.max", bytes)?;
    write_if_there(dir, "memory.swap.max", swap)?;
    write_if_there(dir, "memory.oom.group", 1).map(drop)
}

/// Version 2: what was used. `memory.peak` came with Linux 5.19.
pub fn usage_v2(dir: &Path, usage: &mut Usage) {
    usage.memory_bytes = number(dir, "memory.current").unwrap_or(0);
    usage.memory_peak_bytes = number(dir, "memory.peak");
    usage.memory_limit_bytes = number(dir, "memory.max");
    usage.oom_kills = oom_kills_v2(dir);
}

/// Version 2: how many were killed, whoever ran out of memory.
fn oom_kills_v2(dir: &Path) -> u64 {
    keyed(dir, "memory.events", "oom_kill").unwrap_or(0)
}

/// Version 2: whether one was killed for the limit: `oom` counts only what the group's own limit refused.
pub fn is_over_v2(dir: &Path) -> bool {
    oom_kills_v2(dir) > 0 && keyed(dir, "memory.events", "oom").is_some_and(|times| times > 0)
}
