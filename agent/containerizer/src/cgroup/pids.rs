//! The pids controller: the same files in both versions (kernel documentation,
//! `admin-guide/cgroup-v1/pids.rst`).

use std::path::Path;

use super::files::{keyed, number};
use super::{CgroupError, Change};
use crate::usage::Usage;

/// Processes and threads at a time.
pub fn limit(dir: &Path, count: Option<u64>, change: &mut Change) -> Result<(), CgroupError> {
    change.write(dir, "pids.max", count.map_or_else(|| "max".to_owned(), |count| count.to_string()))
}

/// How many there are now, and how often one more was refused.
pub fn usage(dir: &Path, usage: &mut Usage) {
    usage.pids = number(dir, "pids.current").unwrap_or(0);
    usage.pids_limit = number(dir, "pids.max");
    usage.pids_refused = keyed(dir, "pids.events", "max");
}
