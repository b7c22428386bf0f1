//! Every cause: what can happen to an agent, as values.
//!
//! Each event may arrive twice or late; the handlers say what a repeat does.

use std::fmt;
use std::time::Duration;

use bourse_types::{
    AgentId, ContainerId, Epoch, Exit, FrameworkId, FrameworkInfo, KillPolicy, MasterId, Reason, Resources,
    Role, Size, TaskId, TaskSpec,
};
use bytes::Bytes;

use crate::disk::{Held, Shortage};

/// A link to the master, numbered by the core. What arrives by an older one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A task by its two names: task ids are only unique inside their framework.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// Whose task it is.
    pub framework: FrameworkId,
    /// The id that the framework gave it.
    pub task: TaskId,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.framework, self.task)
    }
}

impl fmt::Debug for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A task that the master assigned to this agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// Which task.
    pub key: TaskKey,
    /// The role that its resources were allocated to.
    pub role: Role,
    /// What it holds, as the master normalised it.
    pub resources: Resources,
    /// The framework's own TaskInfo message, unknown fields included; the master wants it back when the agent registers.
    pub message: Bytes,
    /// What to do about it.
    pub work: Work,
}

/// What an assignment asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Run this.
    Run(Box<TaskSpec>),
    /// The door found that this agent cannot run it, for this reason: it ends as TASK_ERROR.
    Refuse(String),
}

/// All that can happen to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The link that [`Effect::Connect`](crate::Effect::Connect) asked for is open.
    LinkOpened {
        /// Which link.
        link: LinkId,
    },
    /// The link could not be opened, or broke.
    LinkClosed {
        /// Which link.
        link: LinkId,
        /// The master's machine is there and said that nobody listens.
        refused: bool,
    },
    /// The master said something.
    FromMaster {
        /// By which link.
        link: LinkId,
        /// Of the master that speaks: a lower one than the agent knows is not obeyed.
        epoch: Epoch,
        /// What it said.
        message: FromMaster,
    },
    /// The container runs: its task's first process has this pid, as the host counts.
    Launched {
        /// Which container.
        container: ContainerId,
        /// The pid of the task's first process.
        pid: u32,
    },
    /// The container could not be set up; nothing of it is left running.
    LaunchFailed {
        /// Which container.
        container: ContainerId,
        /// Which step failed, why, and what to do.
        message: String,
    },
    /// The container's last process is gone.
    Ended {
        /// Which container.
        container: ContainerId,
        /// How.
        end: End,
    },
    /// A health check that [`Effect::Probe`](crate::Effect::Probe) asked for has a result.
    Probed {
        /// Which container.
        container: ContainerId,
        /// The number that the probe was asked with.
        round: u64,
        /// What it found.
        outcome: Checked,
    },
    /// The limits that [`Effect::Resize`](crate::Effect::Resize) asked for are set, or could not be. Not told of a container
    /// that ended meanwhile: its end is.
    Resized {
        /// Which container.
        container: ContainerId,
        /// Why not, and what to do; the limits are as they were then.
        outcome: Result<(), String>,
    },
    /// The sandbox that [`Effect::Measure`](crate::Effect::Measure) asked for was measured, or could not be. Without a
    /// question it is dropped.
    Measured {
        /// Which container's.
        container: ContainerId,
        /// What it holds on its disk, a lower bound where not all of it could be looked at; or why that is not known.
        outcome: Result<Held, String>,
    },
    /// A sandbox was measured in its turn. Once a task is over its disk, a repeat does nothing, also with another figure.
    SandboxMeasured {
        /// Which container's.
        container: ContainerId,
        /// What it holds on its disk: a lower bound where not all of it could be looked at.
        held: Held,
    },
    /// The agent shall kill what it runs and then exit. A repeat with a shorter cap shortens what is under way.
    Stop {
        /// No task gets a longer grace than this.
        cap: Duration,
    },
    /// The disk that the checkpoint is on is full or read-only, or has room again. Said by the shell when that changes.
    Disk {
        /// Why nothing that takes more than a few words can be written down: no task is launched. `None`: it can.
        lacks: Option<Shortage>,
    },
    /// Time has passed: deadlines that are due take effect.
    Tick,
}

/// What a health check found.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// The task is well.
    Healthy,
    /// It is not, for this reason.
    Unhealthy(String),
    /// The agent could not ask, for this reason, which says nothing of the task.
    Unknown(String),
}

/// What the master says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromMaster {
    /// The agent is admitted. First message of an accepted link.
    Registered {
        /// The id to keep for ever.
        agent: AgentId,
        /// Who admitted it.
        master: MasterId,
        /// Between heartbeats.
        heartbeat: Duration,
        /// What the master believes to run here.
        known: Vec<TaskKey>,
        /// In the place of [`Config::reconnect_refused`](crate::Config::reconnect_refused).
        reconnect: Option<Duration>,
    },
    /// The agent is not admitted.
    Refused {
        /// A word for programs.
        reason: String,
        /// A sentence for people.
        message: String,
        /// The agent shall kill what it runs and stop; else it tries again.
        shut_down: bool,
    },
    /// Run a task. Ignored for a task that the agent knows.
    Run {
        /// Whose task.
        framework: Box<FrameworkInfo>,
        /// The task.
        assignment: Box<Assignment>,
    },
    /// Kill a task. A repeat may shorten the grace; an unknown task is answered with TASK_DROPPED.
    Kill {
        /// Which task.
        task: TaskKey,
        /// Overrides the task's own policy.
        policy: Option<KillPolicy>,
        /// Why, when it was not the framework.
        reason: Option<Reason>,
    },
    /// Give a task another size. Ignored while one is under way; an unknown task is answered with TASK_DROPPED.
    Resize {
        /// Which task.
        task: TaskKey,
        /// Its whole new size.
        size: Box<Size>,
    },
    /// The scheduler has the update. Ignored when no such update is in flight.
    Acknowledge {
        /// Which task.
        task: TaskKey,
        /// Which update.
        uuid: [u8; 16],
    },
    /// Kill all tasks of the framework, tell nothing about them, forget it.
    ShutdownFramework {
        /// Which framework.
        framework: FrameworkId,
    },
    /// The master heard a heartbeat.
    HeartbeatAck,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct End {
    /// How the task's first process ended. `None` when its init left no record.
    pub exit: Option<Exit>,
    /// The limit that it died of.
    pub limitation: Option<Limitation>,
    /// What else is known, in words.
    pub message: Option<String>,
}

/// A limit that a task exceeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Limitation {
    /// One of REASON_CONTAINER_LIMITATION_*.
    pub reason: Reason,
    /// With figures: `memory limit 64 MiB exceeded (peak 64.0 MiB)`.
    pub message: String,
    /// The resources whose limit it was.
    pub resources: Resources,
}
