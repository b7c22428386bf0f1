//! The io controller, blkio on version 1: a share of the disks when they are busy, and what was read and written.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/blkio-controller.rst`, `admin-guide/cgroup-v2.rst` and
//! `block/bfq-iosched.rst`.

use std::path::Path;

use super::files::read;
use super::{CgroupError, Change};
use crate::usage::{Io, Usage};

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

/// Version 1: what was read and written.
pub fn usage_v1(dir: &Path, usage: &mut Usage) {
    let [bytes, operations] =
        ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"]
            .map(|file| read(dir, file));
    usage.io = bytes.zip(operations).map(|(bytes, operations)| Io {
        read_bytes: sum_v1(&bytes, "Read"),
        written_bytes: sum_v1(&bytes, "Write"),
        reads: sum_v1(&operations, "Read"),
        writes: sum_v1(&operations, "Write"),
    });
}

/// Over all disks, each with a line such as `8:0 Read 4096`.
fn sum_v1(text: &str, kind: &str) -> u64 {
    let of_line = |line: &str| {
        let mut words = line.split(' ').skip(1);
        words.next().filter(|word| *word == kind)?;
        words.next()?.parse::<u64>().ok()
    };
    text.lines().filter_map(of_line).fold(0, u64::saturating_add)
}

/// Version 2: what was read and written.
pub fn usage_v2(dir: &Path, usage: &mut Usage) {
    usage.io = read(dir, "io.stat").map(|stat| Io {
        read_bytes: sum_v2(&stat, "rbytes="),
        written_bytes: sum_v2(&stat, "wbytes="),
        reads: sum_v2(&stat, "rios="),
        writes: sum_v2(&stat, "wios="),
    });
}

/// Over all disks, each with a line such as `8:0 rbytes=4096 wbytes=0`.
fn sum_v2(text: &str, key: &str) -> u64 {
    let of_word = |word: &str| word.strip_prefix(key)?.parse::<u64>().ok();
    text.split_whitespace().filter_map(of_word).fold(0, u64::saturating_add)
}
