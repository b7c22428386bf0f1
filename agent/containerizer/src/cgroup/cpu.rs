//! The cpu controller: a share when the machine is busy, a quota always, and what of it may be saved up.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/cpuacct.rst`, `scheduler/sched-bwc.rst` and
//! `cgroup-v2.rst`.

use std::path::Path;
use std::time::Duration;

use bourse_types::Milli;

use super::files::{number, read, value};
use super::{CgroupError, Change};
use crate::process::ticks;
use crate::spec::Limits;
use crate::usage::Usage;

/// The period of the quota in microseconds: the kernel's default, and Mesos'.
const PERIOD_US: u64 = 100_000;

/// The smallest quota that the kernel takes, in microseconds.
const QUOTA_MIN_US: u64 = 1000;

/// What a whole container may have beyond the quota of its task, in microseconds of each period: 0.1 cpus.
///
/// The first process writes the logs. It is outside of the task's quota, as it must not wait with the task, and what the task
/// has it do costs the task next to nothing: splice(2) of a file to stdout. So both together have a quota, too. It is enough
/// for the set-up of a container to come within one period with any quota of a task (`make bench ARGS="containers"`).
const FOR_INIT_US: u64 = 10_000;

/// Shares of one cpu in version 1, as in Mesos; the kernel takes 2 at least.
const SHARES_PER_CPU: u64 = 1024;

/// Weight of one cpu in version 2: the kernel's default weight; it takes 1 to 10,000.
const WEIGHT_PER_CPU: u64 = 100;

/// Version 1: the share.
pub fn share_v1(dir: &Path, cpus: Milli, change: &mut Change) -> Result<(), CgroupError> {
    let shares = (cpus.thousandths().saturating_mul(SHARES_PER_CPU) / 1000).clamp(2, 262_144);
    change.write(dir, "cpu.shares", shares)
}

/// Version 1: the quotas of a container and of its task, and their bursts. The kernel refuses a group a greater one than the
/// group above it has (`sched-bwc.rst`, "Hierarchical Considerations"): that of the container is the first to go up, and the
/// last to go down.
pub fn quotas_v1(groups: [&Path; 2], limits: &Limits, change: &mut Change) -> Result<(), CgroupError> {
    const QUOTA: &str = "cpu.cfs_quota_us";
    let [container, task] = quotas_us(groups, limits);
    // No limit is -1, which is no number here.
    let (above, now) = (container.1, number(container.0, QUOTA));
    let goes_up = above.is_none_or(|above| now.is_some_and(|now| now < above));
    for (dir, quota) in if goes_up { [container, task] } else { [task, container] } {
        change.write(dir, "cpu.cfs_period_us", PERIOD_US)?;
        let quota = quota.map_or_else(|| "-1".to_owned(), |us| us.to_string());
        quota_and_burst(dir, [QUOTA, "cpu.cfs_burst_us"], &quota, limits, change)?;
    }
    Ok(())
}

/// The groups of a container and of its task, each with its quota in microseconds of each period.
fn quotas_us<'a>([container, task]: [&'a Path; 2], limits: &Limits) -> [(&'a Path, Option<u64>); 2] {
    let of_task = limits.cpu_quota.map(quota_us);
    [(container, of_task.map(|us| us.saturating_add(FOR_INIT_US))), (task, of_task)]
}

/// The kernel refuses a burst above the quota (`kernel/sched/core.c`): it goes before the quota changes, and comes after.
fn quota_and_burst(
    dir: &Path,
    [quota_file, burst_file]: [&str; 2],
    quota: &str,
    limits: &Limits,
    change: &mut Change,
) -> Result<(), CgroupError> {
    change.write_if_there(dir, burst_file, 0)?;
    change.write(dir, quota_file, quota)?;
    change.write_if_there(dir, burst_file, burst_us(limits))
}

fn quota_us(quota: Milli) -> u64 {
    us(quota).max(QUOTA_MIN_US)
}

fn burst_us(limits: &Limits) -> u64 {
    match (limits.cpu_quota, limits.cpu_burst) {
        (Some(quota), Some(burst)) => us(burst).min(quota_us(quota)),
        _ => 0,
    }
}

/// Cpus over one period, in microseconds.
fn us(cpus: Milli) -> u64 {
    cpus.thousandths().saturating_mul(PERIOD_US / 1000)
}

/// Version 1: what was used by all in the container, from its directory in the cpuacct hierarchy, and how the task was
/// throttled, from its own in that of cpu.
pub fn usage_v1([container, task]: [&Path; 2], usage: &mut Usage) {
    usage.cpu = Duration::from_nanos(number(container, "cpuacct.usage").unwrap_or(0));
    let parts = read(container, "cpuacct.stat").unwrap_or_default();
    usage.cpu_user = value(&parts, "user").map(ticks);
    usage.cpu_system = value(&parts, "system").map(ticks);
    let stat = read(task, "cpu.stat").unwrap_or_default();
    usage.cpu_periods = value(&stat, "nr_periods").unwrap_or(0);
    usage.cpu_periods_throttled = value(&stat, "nr_throttled").unwrap_or(0);
    usage.cpu_throttled = Duration::from_nanos(value(&stat, "throttled_time").unwrap_or(0));
}

/// Version 2: the share.
pub fn share_v2(dir: &Path, cpus: Milli, change: &mut Change) -> Result<(), CgroupError> {
    let weight = (cpus.thousandths().saturating_mul(WEIGHT_PER_CPU) / 1000).clamp(1, 10_000);
    change.write(dir, "cpu.weight", weight)
}

/// Version 2: the quotas of a container and of its task, and their bursts. Here each goes with any other.
pub fn quotas_v2(groups: [&Path; 2], limits: &Limits, change: &mut Change) -> Result<(), CgroupError> {
    for (dir, quota) in quotas_us(groups, limits) {
        let quota = quota.map_or_else(|| "max".to_owned(), |us| us.to_string());
        let quota = format!("{quota} {PERIOD_US}");
        quota_and_burst(dir, ["cpu.max", "cpu.max.burst"], &quota, limits, change)?;
    }
    Ok(())
}

/// Version 2: what was used by all in the container, and how the task was throttled.
pub fn usage_v2([container, task]: [&Path; 2], usage: &mut Usage) {
    let stat = read(container, "cpu.stat").unwrap_or_default();
    let of = |key: &str| value(&stat, key);
    usage.cpu = Duration::from_micros(of("usage_usec").unwrap_or(0));
    usage.cpu_user = of("user_usec").map(Duration::from_micros);
    usage.cpu_system = of("system_usec").map(Duration::from_micros);
    let stat = read(task, "cpu.stat").unwrap_or_default();
    let of = |key: &str| value(&stat, key);
    usage.cpu_periods = of("nr_periods").unwrap_or(0);
    usage.cpu_periods_throttled = of("nr_throttled").unwrap_or(0);
    usage.cpu_throttled = Duration::from_micros(of("throttled_usec").unwrap_or(0));
}
