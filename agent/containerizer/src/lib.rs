//! Containers on Linux.
//!
//! **For what.** The agent says what to run, with which limits and hidden from what; this room makes the
//! container, watches it, measures it, ends it, and finds it again after a restart of the agent.
//! [`Containerizer`] is the whole contract; [`LinuxContainerizer`] fulfils it with control groups (v1, v2 and
//! hybrid), namespaces and a first process (`bourse-init`) that outlives the agent.
//!
//! **Promises.**
//! - Nothing of a task runs outside its limits, or before it is written down who it is.
//! - A launch either runs the task's program or tells the step that failed, why, and what to do.
//! - An end is never lost: an agent that was down reads it later, with the exit status.
//! - After `destroy` no process, mount, control group or file of the container is left.
//!
//! **Left to others.** When to launch, kill or destroy, and what an end means for a task, is `agent/core`'s.
//! Making and cleaning sandboxes, following logs and checking health by HTTP or TCP is the agent's.
//!
//! `unsafe` is in `spawn.rs`, `process.rs` and `quota.rs` only.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod containerizer;
mod spec;
mod usage;

pub mod cgroup;
pub mod failpoint;
mod linux;
mod probe;
pub mod quota;
mod seccomp;
mod user;
mod user_map;
mod users;

mod conversation;
mod init_image;
mod kernel_file;
mod process;
mod runtime_dir;
mod spawn;

#[cfg(test)]
mod damaged;

pub use containerizer::{
    Check, CheckEnd, ContainerError, Containerizer, Ended, LaunchError, Launched, Limitation, Outcome,
    RecoverError, Recovered, RecoveredState, Unlinked,
};
pub use linux::{Config, LinuxContainerizer};
pub use probe::{CannotIsolate, Capabilities};
pub use seccomp::{BadProfile, Filters};
pub use spec::{
    BadCores, BadLimits, BadSpec, Bind, CORE_MAX, ContainerSpec, Cores, HugePages, IO_WEIGHT_MAX, Isolation,
    Limits, LogLimits, OOM_SCORE_MAX, SANDBOX,
};
pub use usage::{Io, MemoryKinds, Pressure, Usage};
pub use user::UserError;
pub use users::{BadStart, UserBlocks, UsersError};
