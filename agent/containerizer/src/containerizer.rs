//! The contract between the agent and whatever runs its containers.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bourse_init::record::Failure;
use bourse_types::time::Wall;
use bourse_types::{ContainerId, Exit};

use crate::cgroup::{CgroupError, LimitsError};
use crate::probe::CannotIsolate;
use crate::spec::{BadSpec, ContainerSpec, Limits};
use crate::usage::Usage;
use crate::user::UserError;
use crate::users::UsersError;

/// Runs containers. Every method may be called again after a restart of the agent, once [`recover`] has been.
///
/// [`recover`]: Containerizer::recover
pub trait Containerizer: Send + Sync + 'static {
    /// Makes the container and starts the task's program in it. `Ok` means that the program runs; on `Err`
    /// nothing of the container is left except what is in the sandbox. A repeat with the same id is refused.
    fn launch(&self, spec: &ContainerSpec) -> impl Future<Output = Result<Launched, LaunchError>> + Send;

    /// Finds the containers of an earlier agent process, ended ones included, and destroys control groups
    /// that belong to none. Called once, before anything else; a repeat tells the same again. An error says
    /// nothing about any container: they run on.
    fn recover(&self) -> impl Future<Output = Result<Vec<Recovered>, RecoverError>> + Send;

    /// Waits for the end of the container. May be called any number of times, also after the end, until
    /// `destroy`. An error other than [`ContainerError::Unknown`] is no end: ask again.
    fn wait(&self, id: &ContainerId) -> impl Future<Output = Result<Ended, ContainerError>> + Send;

    /// Asks every process of the task to end, with SIGTERM. Does not wait for the end: that is `wait`'s, and
    /// comes with the end of the last process, no longer with that of the main one. A repeat asks again.
    /// [`ContainerError::Ended`] when the container has ended.
    fn terminate(&self, id: &ContainerId) -> impl Future<Output = Result<(), ContainerError>> + Send;

    /// Kills all processes of the task with SIGKILL, whether or not its main process still runs. Does not
    /// wait for the end: that is `wait`'s. A repeat, or a call after the end, does nothing.
    fn kill_all(&self, id: &ContainerId) -> impl Future<Output = Result<(), ContainerError>> + Send;

    /// Removes every trace of the container but its sandbox, killing what still runs. A repeat, or an id that
    /// was never heard of, does nothing. One that is being launched goes when its launch is over.
    fn destroy(&self, id: &ContainerId) -> impl Future<Output = Result<(), ContainerError>> + Send;

    /// What the container has used so far, also after its end, until `destroy`. [`ContainerError::Ended`]
    /// when it is over and nothing is left to tell, for instance after a restart of the machine.
    ///
    /// To be asked every few seconds of what runs: a task of which the kernel has killed a process for memory, and others
    /// not, is seen here, and ended as a whole. Where the kernel tells of it, `wait` does so at once; of a kill because the
    /// whole machine was out of memory it does not on control groups of version 1.
    fn usage(&self, id: &ContainerId) -> impl Future<Output = Result<Usage, ContainerError>> + Send;

    /// What files take that have no name any more and that the container keeps, by a descriptor, a mapping or otherwise,
    /// without those of its volumes; its sandbox is on this device (`st_dev`). Nothing where the container is over or not
    /// isolated. Costs a look at every descriptor, mapping and thread of its processes, as far as the bound goes.
    fn unlinked(&self, _id: &ContainerId, _device: u64) -> impl Future<Output = Unlinked> + Send {
        async { Unlinked::NONE }
    }

    /// Gives the task other limits while it runs, all of them: what is `None` is limited no more. Its score for the OOM
    /// killer and the size of its `/dev/shm` stay. Without effect in process isolation. A repeat does nothing; calls for
    /// one container have to come one after the other.
    ///
    /// Memory that the task uses is taken back as far as it can be, for some seconds at most, and no process is killed
    /// for it: a limit below what is left is [`LimitsError::MemoryInUse`]. When it fails, whatever for, the limits are as
    /// they were, as far as the kernel takes those back; what it does not is in the log. [`ContainerError::Ended`] when
    /// the container has ended.
    fn resize(
        &self,
        id: &ContainerId,
        limits: &Limits,
    ) -> impl Future<Output = Result<(), ContainerError>> + Send;

    /// Runs a command inside the container, as the task's user, in its namespaces and limits, until it ends
    /// or its time is over. Its output is thrown away. Dropping the future kills the command.
    fn exec(
        &self,
        id: &ContainerId,
        check: &Check,
    ) -> impl Future<Output = Result<CheckEnd, ContainerError>> + Send;
}

/// What files take that have no name any more and are kept: a lower bound, as what is on its way in a socket is not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlinked {
    /// Their blocks.
    pub bytes: u64,
    /// How many there are.
    pub inodes: u64,
    /// Whether every descriptor, mapping and thread was looked at: of very many some are left out, and an agent that is not
    /// root cannot look at what is only mapped.
    pub is_whole: bool,
}

impl Unlinked {
    /// There are none.
    pub const NONE: Unlinked = Unlinked { bytes: 0, inodes: 0, is_whole: true };
}

/// A container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// The task's main process, as this machine counts.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did: with the pid and the boot it names a process
    /// for good.
    pub start_time: u64,
}

/// A container of an earlier agent process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its id.
    pub container_id: ContainerId,
    /// What became of it.
    pub state: RecoveredState,
}

/// What became of a container while no agent looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveredState {
    /// It runs, with the same processes.
    Running(Launched),
    /// It ended, and this is how; [`Outcome::Vanished`] when nobody can tell any more.
    Ended(Box<Ended>),
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// When the main process ended; unknown without a record.
    pub at: Option<Wall>,
    /// The limit that ended it, if one did.
    pub limitation: Option<Limitation>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The main process ended by itself or by a signal.
    Exited(Exit),
    /// The set-up failed after the agent had stopped listening: nothing of the task has run.
    SetUpFailed(String),
    /// The agent was gone before it had told the container to begin: nothing of the task has run.
    CutShort,
    /// The container is gone without a record. The text says why, as far as it can be known.
    Vanished(String),
}

/// The want of something that ended a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limitation {
    /// It needed more memory than it may have, and the kernel killed it.
    Memory {
        /// The limit.
        limit_bytes: u64,
        /// The most that it had; unknown before Linux 5.19 on control groups of version 2.
        peak_bytes: Option<u64>,
    },
    /// Memory ran out around it, of the whole machine or of a control group that the agent is in, and the kernel chose a
    /// process of it.
    OthersMemory {
        /// The task's own limit, below which it was.
        limit_bytes: Option<u64>,
        /// As above.
        peak_bytes: Option<u64>,
    },
}

impl fmt::Display for Limitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, peak_bytes) = match self {
            Limitation::Memory { limit_bytes, peak_bytes } => {
                write!(f, "memory limit {} exceeded", mebibytes(*limit_bytes))?;
                (None, peak_bytes)
            }
            Limitation::OthersMemory { limit_bytes, peak_bytes } => {
                f.write_str("killed as the machine was out of memory")?;
                (*limit_bytes, peak_bytes)
            }
        };
        match (peak_bytes.map(mebibytes), limit.map(mebibytes)) {
            (Some(peak), Some(limit)) => write!(f, " (peak {peak} of {limit} that it may have)"),
            (Some(peak), None) => write!(f, " (peak {peak})"),
            (None, Some(limit)) => write!(f, " (it may have {limit})"),
            (None, None) => Ok(()),
        }
    }
}

/// An amount of memory in words.
pub(crate) fn mebibytes(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes % MIB {
        0 => format!("{} MiB", bytes / MIB),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

/// A command inside a running container: a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables on top of the task's environment; the same name replaces.
    pub env: Vec<(String, String)>,
    /// How long it may take.
    pub timeout: Duration,
}

/// The end of a [`Check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckEnd {
    /// The command ended.
    Exited(Exit),
    /// It took too long and was killed.
    TimedOut,
}

/// Why a container could not be launched. The text is for the framework's author and goes with the task's
/// status.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The spec cannot be run anywhere.
    #[error("container {id} cannot be launched: {bad}")]
    Spec {
        /// The id.
        id: ContainerId,
        /// Why.
        bad: BadSpec,
    },
    /// The user is not known on this machine, or not to be had.
    #[error("container {id} cannot be launched: {error}")]
    User {
        /// The id.
        id: ContainerId,
        /// Why.
        error: UserError,
    },
    /// It cannot have users of its own, or not this one.
    #[error("container {id} cannot be launched with users of its own: {error}")]
    Users {
        /// The id.
        id: ContainerId,
        /// Why.
        error: UsersError,
    },
    /// There is a container with this id.
    #[error("container {0} exists already on this agent; destroy it first, or take another id")]
    Exists(ContainerId),
    /// This machine cannot isolate.
    #[error(transparent)]
    CannotIsolate(#[from] CannotIsolate),
    /// The control groups could not be made, or not with these limits.
    #[error("container {id} cannot be launched: {error}")]
    Limits {
        /// The id.
        id: ContainerId,
        /// Why.
        error: LimitsError,
    },
    /// A step of the set-up failed; nothing of the task has run.
    #[error("container {id} failed in set-up step `{}`: {}", .failure.step, explain(.failure))]
    SetUp {
        /// The id.
        id: ContainerId,
        /// Which step, on what, with which error.
        failure: Failure,
    },
    /// The first process did not get as far as telling what is wrong.
    #[error("container {id} could not be started: {what}")]
    Start {
        /// The id.
        id: ContainerId,
        /// What was tried, what is wrong, what to do.
        what: String,
    },
    /// The agent could not write down or prepare something.
    #[error(
        "container {id} cannot be launched: could not {what} {}: {source}; see whether the file system has \
         room and the agent may write there",
        path.display()
    )]
    Io {
        /// The id.
        id: ContainerId,
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A failure of a set-up step in a sentence: what was tried, on what, what is wrong, what to do.
pub(crate) fn explain(failure: &Failure) -> String {
    let Failure { step, errno, detail } = failure;
    let on = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let wrong = match errno {
        0 => String::new(),
        errno => format!(": {}", io::Error::from_raw_os_error(*errno)),
    };
    format!("could not {}{on}{wrong}; {}", step.what(), step.advice())
}

/// Why something could not be done with a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// There is no such container on this agent.
    #[error("there is no container {0} on this agent; it was destroyed, or never launched here")]
    Unknown(ContainerId),
    /// Its task has ended.
    #[error("the task of container {0} has ended")]
    Ended(ContainerId),
    /// The command for a check cannot be run anywhere.
    #[error("the check of container {id} cannot be run: {bad}")]
    Spec {
        /// Which container.
        id: ContainerId,
        /// Why.
        bad: BadSpec,
    },
    /// A check could not be started inside the container.
    #[error("the check of container {id} failed in step `{}`: {}", .failure.step, explain(.failure))]
    Check {
        /// Which container.
        id: ContainerId,
        /// Which step, on what, with which error.
        failure: Failure,
    },
    /// The processes of the container do not end.
    #[error(
        "container {0} was killed but its processes do not end; they wait for a disk or device that does not \
         answer"
    )]
    Stuck(ContainerId),
    /// The task cannot have these limits; it has those of before.
    #[error("the limits of container {id} stay as they are: {error}")]
    Limits {
        /// Which container.
        id: ContainerId,
        /// Why.
        error: LimitsError,
    },
    /// The control groups could not be used.
    #[error("container {id}: {error} ({})", error.source)]
    Cgroup {
        /// Which container.
        id: ContainerId,
        /// Why.
        error: CgroupError,
    },
    /// The kernel refused.
    #[error("container {id}: could not {what}: {source}; the agent's log may tell more")]
    Io {
        /// Which container.
        id: ContainerId,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why the containers of an earlier agent process could not be looked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "could not find out from {} what became of the containers: {source}; they are left alone; mend that, and \
     start the agent again",
    path.display()
)]
pub struct RecoverError {
    /// Which directory: the runtime directory, or that of one container in it.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use bourse_init::step::Step;

    use super::*;

    #[test]
    fn a_limitation_says_the_limit_and_the_peak() {
        let limitation =
            Limitation::Memory { limit_bytes: 64 << 20, peak_bytes: Some((63 << 20) + (1 << 19)) };
        assert_eq!(limitation.to_string(), "memory limit 64 MiB exceeded (peak 63.5 MiB)");
        let limitation = Limitation::Memory { limit_bytes: 1 << 20, peak_bytes: None };
        assert_eq!(limitation.to_string(), "memory limit 1 MiB exceeded");
        let others =
            |limit_bytes, peak_bytes| Limitation::OthersMemory { limit_bytes, peak_bytes }.to_string();
        let of_machine = "killed as the machine was out of memory";
        assert_eq!(
            others(Some(64 << 20), Some(30 << 20)),
            format!("{of_machine} (peak 30 MiB of 64 MiB that it may have)")
        );
        assert_eq!(others(None, Some(30 << 20)), format!("{of_machine} (peak 30 MiB)"));
        assert_eq!(others(Some(64 << 20), None), format!("{of_machine} (it may have 64 MiB)"));
        assert_eq!(others(None, None), of_machine);
    }

    #[test]
    fn a_failed_step_says_what_was_tried_what_is_wrong_and_what_to_do() {
        let failure = Failure { step: Step::Exec, errno: 2, detail: "nginy".into() };
        let id = ContainerId::new("c1").expect("a good id");
        assert_eq!(
            LaunchError::SetUp { id, failure }.to_string(),
            "container c1 failed in set-up step `exec`: could not start the command (nginy): No such file or \
             directory (os error 2); see whether the command exists in the task's own root, or without one on the \
             agent's machine where tasks see it (--show), is in PATH, and may be executed by the task's user"
        );
    }
}
