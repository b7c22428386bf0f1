//! How much a task has.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Milli, Name, Resources};

/// What a task holds and what it may use at most: all that can change while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Size {
    /// What it holds: the request, which it is guaranteed and accounted for.
    pub resources: Resources,
    /// The most it may use of a resource where that differs from the request; `None` as a limit: no limit.
    pub limits: BTreeMap<Name, Option<Milli>>,
}

impl Size {
    /// These resources, and no more of each than that.
    pub fn of(resources: Resources) -> Size {
        Size { resources, limits: BTreeMap::new() }
    }
}

/// `cpus:1; mem:64`, and where there are limits `cpus:1; mem:64 (at most cpus:2; mem without limit)`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.resources)?;
        for (i, (name, limit)) in self.limits.iter().enumerate() {
            f.write_str(if i == 0 { " (at most " } else { "; " })?;
            match limit {
                Some(limit) => write!(f, "{name}:{limit}")?,
                None => write!(f, "{name} without limit")?,
            }
        }
        f.write_str(if self.limits.is_empty() { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_reads_as_its_resources_and_its_limits() {
        let mut size = Size::of("cpus:1; mem:64".parse().expect("valid"));
        assert_eq!(size.to_string(), "cpus:1; mem:64");
        size.limits = [(Name::cpus(), Some(Milli::whole(2))), (Name::mem(), None)].into();
        assert_eq!(size.to_string(), "cpus:1; mem:64 (at most cpus:2; mem without limit)");
    }
}
