//! The pids controller: the same files in both versions (kernel documentation,
//! `admin-guide/cgroup-v1/pids.rst`).

use std::path::Path;

use super::CgroupError;
use super::files::{number, write};
use crate::containerizer::Usage;

/// Processes and threads at a time.
pub fn limit(dir: &Path, count: u64) -> Result<(), CgroupError> {
    write(dir, "pids.max", count)
}

/// How many there are now.
pub fn usage(dir: &Path, usage: &mut Usage) {
    usage.pids = number(dir, "pids.current").unwrap_or(0);
}
