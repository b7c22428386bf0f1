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

/// Shares of one cpu in version 1, as in Mesos; the kernel takes 2 at least.
const SHARES_PER_CPU: u64 = 1024;

/// Weight of one cpu in version 2: the kernel's default weight; it takes 1 to 10,000.
const WEIGHT_PER_CPU: u64 = 100;

/// Version 1: the share.
pub fn share_v1(dir: &Path, cpus: Milli, change: &mut Change) -> Result<(), CgroupError> {
    let shares = (cpus.thousandths().saturating_mul(SHARES_PER_CPU) / 1000).clamp(2, 262_144);
    change.write(dir, "cpu.shares", shares)
}

/// Version 1: the quota and its burst.
pub fn quota_v1(dir: &Path, limits: &Limits, change: &mut Change) -> Result<(), CgroupError> {
    change.write(dir, "cpu.cfs_period_us", PERIOD_US)?;
    let quota = limits.cpu_quota.map_or_else(|| "-1".to_owned(), |quota| quota_us(quota).to_string());
    quota_and_burst(dir, ["cpu.cfs_quota_us", "cpu.cfs_burst_us"], &quota, limits, change)
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

/// Version 1: what was used, from the directories in the cpu and cpuacct hierarchies.
pub fn usage_v1(cpu: &Path, cpuacct: &Path, usage: &mut Usage) {
    usage.cpu = Duration::from_nanos(number(cpuacct, "cpuacct.usage").unwrap_or(0));
    let parts = read(cpuacct, "cpuacct.stat").unwrap_or_default();
    usage.cpu_user = value(&parts, "user").map(ticks);
    usage.cpu_system = value(&parts, "system").map(ticks);
    let stat = read(cpu, "cpu.stat").unwrap_or_default();
    usage.cpu_periods = value(&stat, "nr_periods").unwrap_or(0);
    usage.cpu_periods_throttled = value(&stat, "nr_throttled").unwrap_or(0);
    usage.cpu_throttled = Duration::from_nanos(value(&stat, "throttled_time").unwrap_or(0));
}

/// Version 2: the share.
pub fn share_v2(dir: &Path, cpus: Milli, change: &mut Change) -> Result<(), CgroupError> {
    let weight = (cpus.thousandths().saturating_mul(WEIGHT_PER_CPU) / 1000).clamp(1, 10_000);
    change.write(dir, "cpu.weight", weight)
}

/// Version 2: the quota and its burst.
pub fn quota_v2(dir: &Path, limits: &Limits, change: &mut Change) -> Result<(), CgroupError> {
    let quota = limits.cpu_quota.map_or_else(|| "max".to_owned(), |quota| quota_us(quota).to_string());
    quota_and_burst(dir, ["cpu.max", "cpu.max.burst"], &format!("{quota} {PERIOD_US}"), limits, change)
}

/// Version 2: what was used.
pub fn usage_v2(dir: &Path, usage: &mut Usage) {
    let stat = read(dir, "cpu.stat").unwrap_or_default();
    let of = |key: &str| value(&stat, key);
    usage.cpu = Duration::from_micros(of("usage_usec").unwrap_or(0));
    usage.cpu_user = of("user_usec").map(Duration::from_micros);
    usage.cpu_system = of("system_usec").map(Duration::from_micros);
    usage.cpu_periods = of("nr_periods").unwrap_or(0);
    usage.cpu_periods_throttled = of("nr_throttled").unwrap_or(0);
    usage.cpu_throttled = Duration::from_micros(of("throttled_usec").unwrap_or(0));
}
