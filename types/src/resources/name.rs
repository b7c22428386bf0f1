//! The name of a resource: `cpus`, `mem`, or a kind of the operator's own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A resource name: 1 to 128 bytes without white space, control characters and `()[]{}<>:;,`, which the text
/// form needs for itself.
///
/// The names that every machine has cost nothing to make, copy and compare, as the allocator does little
/// else. They are also first in order, as people list them: cpus, gpus, mem, disk, ports, then the others by
/// name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Cpus,
    Gpus,
    Mem,
    Disk,
    Ports,
    Other(Arc<str>),
}

/// The names of amounts that every machine has, the first ones in order.
pub(super) static PLAIN: [Name; PLAIN_NAMES] = [Name::cpus(), Name::gpus(), Name::mem(), Name::disk()];

/// How many they are.
pub(super) const PLAIN_NAMES: usize = 4;

/// The longest resource name in bytes.
const MAX_NAME_BYTES: usize = 128;

/// A text that cannot name a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the resource name {given:?} is empty, too long, or holds a character that the text form needs; \
     write a plain word such as cpus"
)]
pub struct BadName {
    /// What was given, cut to 64 characters.
    pub given: String,
}

impl Name {
    /// Checks the name and keeps it.
    pub fn new(name: impl AsRef<str>) -> Result<Name, BadName> {
        let name = name.as_ref();
        Ok(Name(match name {
            "cpus" => Repr::Cpus,
            "gpus" => Repr::Gpus,
            "mem" => Repr::Mem,
            "disk" => Repr::Disk,
            "ports" => Repr::Ports,
            other => {
                let forbidden = |c: char| c.is_whitespace() || c.is_control() || "()[]{}<>:;,".contains(c);
                if other.is_empty() || other.len() > MAX_NAME_BYTES || other.chars().any(forbidden) {
                    return Err(BadName { given: crate::ids::shown(other) });
                }
                Repr::Other(other.into())
            }
        }))
    }

    /// Processors.
    pub const fn cpus() -> Name {
        Name(Repr::Cpus)
    }

    /// Graphics processors.
    pub const fn gpus() -> Name {
        Name(Repr::Gpus)
    }

    /// Memory in MiB.
    pub const fn mem() -> Name {
        Name(Repr::Mem)
    }

    /// Disk in MiB.
    pub const fn disk() -> Name {
        Name(Repr::Disk)
    }

    /// Ports of the machine.
    pub const fn ports() -> Name {
        Name(Repr::Ports)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Cpus => "cpus",
            Repr::Gpus => "gpus",
            Repr::Mem => "mem",
            Repr::Disk => "disk",
            Repr::Ports => "ports",
            Repr::Other(name) => name,
        }
    }

    /// Its place in [`PLAIN`], if it is there.
    pub(super) const fn plain(&self) -> Option<usize> {
        match self.0 {
            Repr::Cpus => Some(0),
            Repr::Gpus => Some(1),
            Repr::Mem => Some(2),
            Repr::Disk => Some(3),
            Repr::Ports | Repr::Other(_) => None,
        }
    }

    /// Whether amounts of it are MiB, so that people may write them as sizes.
    pub fn is_size(&self) -> bool {
        matches!(self.0, Repr::Mem | Repr::Disk)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl FromStr for Name {
    type Err = BadName;
    fn from_str(name: &str) -> Result<Name, BadName> {
        Name::new(name)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
