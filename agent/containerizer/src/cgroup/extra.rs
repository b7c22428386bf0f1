//! Controllers that not every machine has, and not every container needs.

use std::fmt;

use crate::spec::Limits;

/// A controller that a container is put under only if it asks for a limit of it: each costs something, and a machine
/// without them runs all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Which cpus.
    Cpuset,
    /// The share of disks.
    Io,
    /// Huge pages.
    Hugetlb,
}

impl Extra {
    /// Each of them.
    pub const ALL: [Extra; 3] = [Extra::Cpuset, Extra::Io, Extra::Hugetlb];

    /// All that these limits need.
    pub fn wanted(limits: &Limits) -> impl Iterator<Item = Extra> {
        let Limits { cores, io_weight, hugepages, .. } = limits;
        [
            (Extra::Cpuset, cores.is_some()),
            (Extra::Io, io_weight.is_some()),
            (Extra::Hugetlb, !hugepages.is_empty()),
        ]
        .into_iter()
        .filter_map(|(extra, wanted)| wanted.then_some(extra))
    }

    /// Its name on control groups of version 1.
    pub fn name_v1(self) -> &'static str {
        match self {
            Extra::Cpuset => "cpuset",
            Extra::Io => "blkio",
            Extra::Hugetlb => "hugetlb",
        }
    }

    /// Its name on control groups of version 2.
    pub fn name_v2(self) -> &'static str {
        match self {
            Extra::Cpuset => "cpuset",
            Extra::Io => "io",
            Extra::Hugetlb => "hugetlb",
        }
    }

    /// What it is for, for people: "cores".
    pub fn what(self) -> &'static str {
        match self {
            Extra::Cpuset => "cores",
            Extra::Io => "the io weight",
            Extra::Hugetlb => "a limit of huge pages",
        }
    }
}

impl fmt::Display for Extra {
    /// Both names, as a machine may have either version.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name_v1(), self.name_v2()) {
            (v1, v2) if v1 == v2 => f.write_str(v1),
            (v1, v2) => write!(f, "{v2} (version 1: {v1})"),
        }
    }
}
