//! The io controller, blkio on version 1: a share of the disks when they are busy.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/blkio-controller.rst`, `admin-guide/cgroup-v2.rst` and
//! `block/bfq-iosched.rst`.

use std::path::Path;

use super::{CgroupError, Change};

/// What a group has that nobody gave a weight: the kernel's default in both versions.
const WEIGHT: u16 = 100;

/// The greatest weight that BFQ takes.
const BFQ_MAX: u16 = 1000;

/// Version 1, for the group of the container: weights count among those in one group. BFQ's default is that of version 2,
/// too, so that a weight is not scaled but cut: the usual ones keep their ratio, and to those who did not ask.
pub fn weight_v1(dir: &Path, weight: Option<u16>, change: &mut Change) -> Result<(), CgroupError> {
    change.write_if_there(dir, "blkio.bfq.weight", weight.unwrap_or(WEIGHT).min(BFQ_MAX))
}

/// Version 2, for the group of the container.
pub fn weight_v2(dir: &Path, weight: Option<u16>, change: &mut Change) -> Result<(), CgroupError> {
    let weight = weight.unwrap_or(WEIGHT);
    change.write_if_there(dir, "io.weight", format!("default {weight}"))?;
    change.write_if_there(dir, "io.bfq.weight", format!("default {}", weight.min(BFQ_MAX)))
}
