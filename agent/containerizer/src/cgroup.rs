//! Control groups: what a container may use, what it has used, and who belongs to it.
//!
//! **For what.** One trait, [`Hierarchy`], with two implementations: [`V1`], also for the hybrid layout,
//! where the controllers are in version 1 and an empty version 2 tree lies beside them, and [`V2`].
//! What a single controller needs is in a file of its own that takes a control group's directory as a path,
//! so that all of it is tested on temporary directories as well as on the real thing.
//!
//! **Layout.** Each container has a group and in it the task's group:
//! ```text
//! bourse/<agent>/<container>/        cpu shares, io weight, and a quota for both of these; on version 1 the first process
//!                                    is in here
//! bourse/<agent>/<container>/init    version 2 only, as processes live in leaves there: the first process
//! bourse/<agent>/<container>/task    all other limits: the task
//! ```
//! The first process is outside the task's limits, because an out-of-memory kill must never take it: it
//! writes the exit record. Shares and weights count among groups of one group, so they are with the container; so is a quota
//! that is a little larger than the task's, as the first process writes as much to the logs as the task has it write.
//!
//! A container is under cpu, memory and pids always, and under what is in [`Extra`] only if it asks for a limit of it:
//! on version 1 it has no groups there otherwise, on version 2 they are not handed down to it.
//!
//! **Promises.** A creation that fails leaves nothing. Removal takes our own empty parents along and never
//! touches a group that we did not make.
//!
//! **Why not cgroups-rs.** It was tried. It brings a D-Bus client (zbus) and second versions of nix and
//! thiserror whatever the features; its removal leaves parents behind on version 1; its version 2 figures for
//! out-of-memory kills are always 0; it knows neither `cgroup.kill` nor two groups per container. What
//! remains of it for us would be writing a number to a file.

mod detect;
mod systemd;

mod change;
mod files;
mod freezer;

mod blkio;
mod cpu;
mod cpuset;
mod extra;
mod hugetlb;
mod memory;
mod pids;
mod pressure;

mod v1;
mod v2;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::containerizer::mebibytes;
use crate::spec::{BadLimits, Cores, Limits};
use crate::usage::Usage;

use change::Change;
pub(crate) use detect::{Detected, detect};
pub use extra::Extra;
pub use v1::{Killer, V1};
pub use v2::V2;

/// The name of the group that holds all groups of all agents on this machine.
pub const OURS: &str = "bourse";

/// The name of what is made only to find out whether it can be made.
pub(crate) const PROBE: &str = "probe";

/// The name of the group that holds the task's processes.
const TASK: &str = "task";

/// A control group file or directory that could not be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "could not {what} {}; see whether someone else changes the control groups of this machine",
    path.display()
)]
pub struct CgroupError {
    /// What was tried: "write 50000 to".
    pub what: String,
    /// Where.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Why limits could not be set.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// No machine could.
    #[error(transparent)]
    Bad(#[from] BadLimits),
    /// The machine lacks the controller for one of them.
    #[error(
        "{} cannot be set, as the control groups of this machine have no {} controller; enable it in the kernel and \
         mount it, or do without",
        .0.what(),
        .0
    )]
    Missing(Extra),
    /// The machine does not have these cpus.
    #[error("the cores {wanted} were asked for, and this machine has {there}; name some of those")]
    Cores {
        /// What was asked for.
        wanted: Cores,
        /// What there is.
        there: Cores,
    },
    /// The machine does not have pages of this size.
    #[error(
        "huge pages of {wanted} were asked for, and this machine has {}; name a size that it has",
        listed(there)
    )]
    PageSize {
        /// What was asked for, by the kernel's name.
        wanted: String,
        /// The sizes that there are.
        there: Vec<String>,
    },
    /// The task has more memory than it should be limited to, and cannot give it back.
    #[error(
        "its memory cannot be limited to {}, as it uses {} and does not give it back; name more than that, or start \
         it again",
        mebibytes(*wanted_bytes),
        mebibytes(*used_bytes)
    )]
    MemoryInUse {
        /// What was asked for.
        wanted_bytes: u64,
        /// What it has, after all was taken back that could be.
        used_bytes: u64,
    },
    /// A group could not be made or set.
    #[error("{} ({})", .0, .0.source)]
    Group(#[from] CgroupError),
}

fn listed(sizes: &[String]) -> String {
    if sizes.is_empty() { "none".into() } else { sizes.join(", ") }
}

/// How groups are joined. In version 2 a process is made in its group, and in version 1 a thread moves itself by `tasks`:
/// moving a process by `cgroup.procs` waits until every processor of the machine has noticed, and holds up all forks and
/// ends of processes meanwhile (some 20 ms, seen on 6.18).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Joins {
    /// The directory of the group in which the first process is made.
    pub init_in: Option<PathBuf>,
    /// Files by which the first process joins others.
    pub init: Vec<PathBuf>,
    /// The directory of the group in which the task's process is made.
    pub task_in: Option<PathBuf>,
    /// Files by which the task's process joins others.
    pub task: Vec<PathBuf>,
}

/// How this machine's control groups are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All in version 1.
    V1,
    /// Controllers in version 1, and a version 2 tree without controllers beside them.
    Hybrid,
    /// All in version 2.
    V2,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::V1 => "v1",
            Layout::Hybrid => "hybrid",
            Layout::V2 => "v2",
        })
    }
}

/// What there is to see of a task that is out of memory while it runs.
#[derive(Debug)]
pub enum MemoryWatch {
    /// Nothing is to be done: the kernel kills the task as a whole.
    NotNeeded,
    /// Readable each time that the task has reached its limit, or a group above it has reached its own, a moment before a
    /// process is killed for it. Nothing tells when the whole machine is out of memory: that is seen by
    /// [`oom_kills`](Hierarchy::oom_kills).
    Event(OwnedFd),
    /// The kernel tells nothing: only looking again and again does.
    Look,
}

/// The control groups of all containers of one agent. Containers are named by one path component.
pub trait Hierarchy: fmt::Debug + Send + Sync {
    /// How it is laid out.
    fn layout(&self) -> Layout;

    /// Makes the groups of a container and sets their limits. Nothing is left of it when it fails. A repeat
    /// sets the limits again.
    fn create(&self, container: &str, limits: &Limits) -> Result<Joins, LimitsError>;

    /// Sets the limits of a task that runs. When it fails they are as they were before, as far as the kernel takes them
    /// back. A repeat sets them again; calls for one container come one after the other. May wait for some seconds until
    /// memory is given back. Tells the groups that what is started in the container from now on has to join; `None`
    /// when it has none (any more).
    fn resize(&self, container: &str, limits: &Limits) -> Result<Option<Joins>, LimitsError>;

    /// What the task has used; `None` when its groups do not exist (any more).
    fn usage(&self, container: &str) -> Option<Usage>;

    /// Whether the kernel has killed a process of the task for the task's own limit of memory, and not because the whole
    /// machine was out of it. Costs a look at two small files that never waits.
    fn is_over_memory(&self, container: &str) -> bool;

    /// How many processes of the task the kernel has killed for memory, whoever ran out of it. Costs a look at a small file
    /// that never waits.
    fn oom_kills(&self, container: &str) -> u64;

    /// What tells that the kernel may have killed one process of the task alone.
    fn watch_memory(&self, container: &str) -> MemoryWatch;

    /// The processes in all groups of the container, as this machine counts.
    fn processes(&self, container: &str) -> Vec<u32>;

    /// Kills every process in the groups of the container, and in those that the task has made in its own, and waits until
    /// they are empty, at most some seconds. Without groups there is nothing to do.
    fn kill(&self, container: &str) -> Result<(), CgroupError>;

    /// Removes the groups and our own empty parents if there is nothing in the groups, without a wait, and tells whether there
    /// are none any more. Otherwise some of them may be gone, and the rest is for [`kill`](Hierarchy::kill) and
    /// [`remove`](Hierarchy::remove). A repeat does nothing.
    fn remove_empty(&self, container: &str) -> bool;

    /// Removes the groups, which have to be empty, with those that the task has made in its own, and our own parents where
    /// nothing else is left in them. A repeat does nothing.
    fn remove(&self, container: &str) -> Result<(), CgroupError>;

    /// All containers that have groups.
    fn containers(&self) -> Vec<String>;
}
