//! The memory controller: what is kept, a hard limit, and who was killed for going over it.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/memory.rst` and `admin-guide/cgroup-v2.rst`.

use std::path::Path;

use super::files::{children, keyed, number, write};
use super::{CgroupError, Change, LimitsError};
use crate::spec::Limits;
use crate::usage::Usage;

/// Version 1 says "no limit" with the greatest number of whole pages.
const NO_LIMIT_V1: u64 = 1 << 62;

/// The most that is asked for at once, a huge page: so much below the limit the peak stays when it does not fit.
const CHARGE: u64 = 2 << 20;

/// Version 1: the limit of memory, and of memory and swap together.
const LIMIT_V1: &str = "memory.limit_in_bytes";
const WITH_SWAP_V1: &str = "memory.memsw.limit_in_bytes";

/// Version 2: what is kept.
const LOW: &str = "memory.low";

/// How often others may change at the same time what they keep.
const OTHERS_MAX: usize = 100;

/// Version 1: the hard limits and what is kept. Kernels without swap accounting lack a file, and then swap is not
/// limited.
pub fn limit_v1(dir: &Path, limits: &Limits, change: &mut Change) -> Result<(), LimitsError> {
    let memory = limits.memory_bytes;
    let with_swap = memory.map(|bytes| bytes.saturating_add(limits.swap_bytes));
    let mut in_order = vec![(LIMIT_V1, memory)];
    if dir.join(WITH_SWAP_V1).exists() {
        // The one for both may never be below that for memory alone: it is the first to go up, and the last to go down.
        let goes_up = with_swap.is_none_or(|bytes| number(dir, WITH_SWAP_V1).is_some_and(|now| now < bytes));
        in_order.insert(usize::from(!goes_up), (WITH_SWAP_V1, with_swap));
    }
    for (file, bytes) in in_order {
        write_v1(dir, file, bytes, change)?;
    }
    write_v1(dir, "memory.soft_limit_in_bytes", limits.memory_request_bytes, change)?;
    Ok(())
}

fn write_v1(dir: &Path, file: &str, bytes: Option<u64>, change: &mut Change) -> Result<(), CgroupError> {
    match bytes {
        Some(bytes) => change.write(dir, file, bytes),
        None if number(dir, file).is_none_or(|now| now >= NO_LIMIT_V1) => Ok(()),
        None => change.write(dir, file, -1),
    }
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

/// Version 2: the hard limits. The whole group goes when one of it is killed for memory: half a task is worth nothing.
pub fn limit_v2(dir: &Path, limits: &Limits, change: &mut Change) -> Result<(), LimitsError> {
    match limits.memory_bytes {
        Some(bytes) => {
            change.write(dir, "memory.max", bytes)?;
            change.write_if_there(dir, "memory.swap.max", limits.swap_bytes)?;
            change.write_if_there(dir, "memory.oom.group", 1)?;
        }
        None => {
            change.write(dir, "memory.max", "max")?;
            change.write_if_there(dir, "memory.swap.max", "max")?;
        }
    }
    Ok(())
}

/// Version 2: what is kept for a task, in its own group and that of its container.
pub fn keep_v2(dirs: [&Path; 2], bytes: Option<u64>, change: &mut Change) -> Result<(), CgroupError> {
    dirs.into_iter().try_for_each(|dir| change.write_if_there(dir, LOW, bytes.unwrap_or(0)))
}

/// Version 2: what is kept for all that is in a group.
pub fn kept_v2(dir: &Path) -> u64 {
    number(dir, LOW).unwrap_or(0)
}

/// Version 2: keeps for a group what is kept for those in it, together: none of them keeps more than the groups above
/// it do (`cgroup-v2.rst`, "memory.low"). Others may change theirs at the same time, so it is looked at again after it is
/// written: whoever comes last sees all.
pub fn keep_sum_v2(dir: &Path) -> Result<(), CgroupError> {
    for _ in 0..OTHERS_MAX {
        let sum = children(dir).iter().map(|name| kept_v2(&dir.join(name))).fold(0, u64::saturating_add);
        if number(dir, LOW).is_none_or(|now| now == sum) {
            break;
        }
        write(dir, LOW, sum)?;
    }
    Ok(())
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
