//! The memory controller: what is kept, a hard limit, and who was killed for going over it.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/memory.rst` and `admin-guide/cgroup-v2.rst`.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::files::{children, keyed, number, read, value, write};
use super::{CgroupError, Change, LimitsError};
use crate::spec::Limits;
use crate::usage::{MemoryKinds, Usage};

/// Version 1 says "no limit" with the greatest number of whole pages.
const NO_LIMIT_V1: u64 = 1 << 62;

/// The most that is asked for at once, a huge page: so much below the limit the peak stays when it does not fit.
const CHARGE: u64 = 2 << 20;

/// Version 1: the limit of memory and what is used of it.
const MEMORY_V1: [&str; 2] = ["memory.limit_in_bytes", "memory.usage_in_bytes"];

/// Likewise of memory and swap together.
const WITH_SWAP_V1: [&str; 2] = ["memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"];

/// Version 1: the most that was used, since zero was last written to it.
const PEAK_V1: &str = "memory.max_usage_in_bytes";

/// Version 2: what is used, where the kernel begins to take memory back, and where it kills.
const CURRENT: &str = "memory.current";
const HIGH: &str = "memory.high";
const MAX: &str = "memory.max";

/// How long a task may take to give back what is above its new limit.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks at that.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Version 2: what is kept.
const LOW: &str = "memory.low";

/// How often others may change at the same time what they keep.
const OTHERS_MAX: usize = 100;

/// Version 1: the hard limits and what is kept. Kernels without swap accounting lack a file, and then swap is not
/// limited. A limit below what is used and cannot be taken back is refused by the kernel.
pub fn limit_v1(dir: &Path, limits: &Limits, change: &mut Change) -> Result<(), LimitsError> {
    let memory = limits.memory_bytes;
    let with_swap = memory.map(|bytes| bytes.saturating_add(limits.swap_bytes));
    let before = number(dir, MEMORY_V1[0]);
    let mut in_order = vec![(MEMORY_V1, memory)];
    if dir.join(WITH_SWAP_V1[0]).exists() {
        // The one for both may never be below that for memory alone: it is the first to go up, and the last to go down.
        let now = number(dir, WITH_SWAP_V1[0]);
        let goes_up = with_swap.is_none_or(|bytes| now.is_some_and(|now| now < bytes));
        in_order.insert(usize::from(!goes_up), (WITH_SWAP_V1, with_swap));
    }
    write_v1(dir, "memory.soft_limit_in_bytes", limits.memory_request_bytes, change)?;
    for ([file, used], bytes) in in_order {
        write_v1(dir, file, bytes, change).map_err(|error| match bytes {
            Some(wanted_bytes) if error.source.kind() == ErrorKind::ResourceBusy => {
                LimitsError::MemoryInUse { wanted_bytes, used_bytes: number(dir, used).unwrap_or(0) }
            }
            _ => error.into(),
        })?;
    }
    let is_lower = |bytes: u64| before.is_some_and(|before| bytes < before);
    if memory.is_some_and(|bytes| is_lower(bytes) && is_reached_v1(dir, bytes)) {
        // A peak from before would make every kill one for this limit (see `is_over_v1`).
        write(dir, PEAK_V1, 0)?;
    }
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
    usage.memory_bytes = number(dir, MEMORY_V1[1]).unwrap_or(0);
    usage.memory_peak_bytes = number(dir, PEAK_V1);
    usage.memory_limit_bytes = number(dir, MEMORY_V1[0]).filter(|&bytes| bytes < NO_LIMIT_V1);
    usage.oom_kills = oom_kills_v1(dir);
    let Some(stat) = read(dir, "memory.stat") else { return };
    usage.memory_kinds = kinds(&stat, ["rss", "cache", "shmem"])
        .map(|kinds| MemoryKinds { kernel_bytes: number(dir, "memory.kmem.usage_in_bytes"), ..kinds });
    usage.swap_bytes = value(&stat, "swap");
}

/// From `memory.stat`, by its words for the programs' own, files, and what is shared; what is the kernel's is elsewhere.
fn kinds(stat: &str, [anonymous, file, shared]: [&str; 3]) -> Option<MemoryKinds> {
    Some(MemoryKinds {
        anonymous_bytes: value(stat, anonymous)?,
        file_bytes: value(stat, file)?,
        shared_bytes: value(stat, shared)?,
        kernel_bytes: None,
    })
}

/// Version 1: how many were killed, whoever ran out of memory. From Linux 4.13 on.
pub fn oom_kills_v1(dir: &Path) -> u64 {
    keyed(dir, "memory.oom_control", "oom_kill").unwrap_or(0)
}

/// Version 1: a descriptor that is readable each time that the limit of the group, or of one above it, was reached and
/// something is about to be killed (`memory.rst`, "OOM Control"). The last time is when the group is removed. When the whole
/// machine is out of memory it tells nothing.
pub fn watch_v1(dir: &Path) -> io::Result<OwnedFd> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let of = File::open(dir.join("memory.oom_control"))?;
    fs::write(dir.join("cgroup.event_control"), format!("{} {}", event.as_raw_fd(), of.as_raw_fd()))?;
    Ok(event)
}

/// Version 1: whether one was killed for the limit. The kernel does not tell apart whose lack it was, so the limit must
/// have been reached, too. That is read off the peak: `memory.failcnt` stays 0 on recent kernels (seen on 6.18).
pub fn is_over_v1(dir: &Path) -> bool {
    oom_kills_v1(dir) > 0 && number(dir, MEMORY_V1[0]).is_some_and(|limit| is_reached_v1(dir, limit))
}

fn is_reached_v1(dir: &Path, limit: u64) -> bool {
    number(dir, PEAK_V1).is_some_and(|peak| peak.saturating_add(CHARGE) >= limit)
}

/// Version 2: the hard limits. The whole group goes when one of it is killed for memory: half a task is worth nothing.
/// The kernel takes any limit and kills who is over it, so what is above a lower one is taken back first.
pub fn limit_v2(dir: &Path, limits: &Limits, change: &mut Change) -> Result<(), LimitsError> {
    // An agent that was killed while it lowered a limit may have left one there.
    change.write_if_there(dir, HIGH, "max")?;
    match limits.memory_bytes {
        Some(bytes) => {
            change.write_if_there(dir, "memory.swap.max", limits.swap_bytes)?;
            let is_used = number(dir, CURRENT).is_some_and(|used| used > 0);
            if is_used && number(dir, MAX).is_none_or(|now| bytes < now) {
                write(dir, HIGH, bytes)?;
                let set = until_given_back(dir, bytes)
                    .and_then(|()| change.write(dir, MAX, bytes).map_err(LimitsError::from));
                write(dir, HIGH, "max")?;
                set?;
            } else {
                change.write(dir, MAX, bytes)?;
            }
        }
        None => {
            change.write(dir, MAX, "max")?;
            change.write_if_there(dir, "memory.swap.max", "max")?;
        }
    }
    // Also without a limit of its own: the machine may be out of memory.
    change.write_if_there(dir, "memory.oom.group", 1)?;
    Ok(())
}

/// The kernel takes back what is above [`HIGH`] as soon as that is written, and slows down who wants more.
fn until_given_back(dir: &Path, wanted_bytes: u64) -> Result<(), LimitsError> {
    let deadline = Instant::now() + GIVEN_BACK_WITHIN;
    loop {
        let used_bytes = number(dir, CURRENT).unwrap_or(0);
        if used_bytes <= wanted_bytes {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(LimitsError::MemoryInUse { wanted_bytes, used_bytes });
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Version 2: what is kept for a task, in its own group and that of its container.
pub fn keep_v2(dirs: [&Path; 2], bytes: Option<u64>, change: &mut Change) -> Result<(), CgroupError> {
    dirs.into_iter().try_for_each(|dir| change.write_if_there(dir, LOW, bytes.unwrap_or(0)))
}

/// Version 2: what is kept for all that is in a group.
pub fn kept_v2(dir: &Path) -> u64 {
    number(dir, LOW).unwrap_or(0)
}

/// Version 2: whether a group keeps nothing for those in it, whatever they ask for. The top of all has no such file, and
/// nothing to keep memory from.
pub fn keeps_nothing_v2(dir: &Path) -> bool {
    number(dir, LOW) == Some(0)
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
    usage.memory_bytes = number(dir, CURRENT).unwrap_or(0);
    usage.memory_peak_bytes = number(dir, "memory.peak");
    usage.memory_limit_bytes = number(dir, MAX);
    usage.oom_kills = oom_kills_v2(dir);
    usage.swap_bytes = number(dir, "memory.swap.current");
    let Some(stat) = read(dir, "memory.stat") else { return };
    usage.memory_kinds = kinds(&stat, ["anon", "file", "shmem"])
        .map(|kinds| MemoryKinds { kernel_bytes: value(&stat, "kernel"), ..kinds });
}

/// Version 2: how many were killed, whoever ran out of memory.
pub fn oom_kills_v2(dir: &Path) -> u64 {
    keyed(dir, "memory.events", "oom_kill").unwrap_or(0)
}

/// Version 2: whether one was killed for the limit: `oom` counts only what the group's own limit refused.
pub fn is_over_v2(dir: &Path) -> bool {
    oom_kills_v2(dir) > 0 && keyed(dir, "memory.events", "oom").is_some_and(|times| times > 0)
}
