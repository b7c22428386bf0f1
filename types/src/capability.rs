//! What an agent can do that agents of other releases cannot.
//!
//! A field of a message that an agent does not know is no error to it: it would run a task without the root that the task
//! asked for, and not answer a command at all. So agents say what they can do, and nobody asks for more than that.

use std::collections::BTreeSet;
use std::fmt;

/// One thing that an agent can do. The names are those of `AgentInfo.Capability` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentCapability {
    /// A task may use more cpus and memory than it was given. Mesos' own.
    TaskResourceLimits,
    /// A running task gets another size.
    TaskResize,
    /// A task has a root of its own.
    TaskRootfs,
    /// A task has a network or users of its own.
    TaskNamespaces,
    /// A task asks of the kernel what is in [`Controls`](crate::Controls).
    TaskControls,
    /// A task has cores for itself.
    TaskExclusiveCpus,
}

impl AgentCapability {
    /// Each of them: what an agent of this release can do.
    pub const ALL: [AgentCapability; 6] = [
        AgentCapability::TaskResourceLimits,
        AgentCapability::TaskResize,
        AgentCapability::TaskRootfs,
        AgentCapability::TaskNamespaces,
        AgentCapability::TaskControls,
        AgentCapability::TaskExclusiveCpus,
    ];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            AgentCapability::TaskResourceLimits => "TASK_RESOURCE_LIMITS",
            AgentCapability::TaskResize => "TASK_RESIZE",
            AgentCapability::TaskRootfs => "TASK_ROOTFS",
            AgentCapability::TaskNamespaces => "TASK_NAMESPACES",
            AgentCapability::TaskControls => "TASK_CONTROLS",
            AgentCapability::TaskExclusiveCpus => "TASK_EXCLUSIVE_CPUS",
        }
    }

    /// All of this release, as a set.
    pub fn all() -> BTreeSet<AgentCapability> {
        AgentCapability::ALL.into()
    }
}

impl fmt::Display for AgentCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
