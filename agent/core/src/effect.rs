//! Every consequence: what an agent wants done, in order.
//!
//! The shell writes the records of a batch before it lets any later effect of that batch out, and syncs them first
//! when one of them [must outlive the boot](crate::Record::must_outlive_boot). Where they cannot be written just now, it
//! may let out before them what relies on none: heartbeats and probes; and signals and kills, which only go to containers
//! that run, and which must come as far from each other as they were decided.

use std::fmt;

use bourse_types::{
    AgentId, AgentInfo, ContainerId, Epoch, FrameworkId, FrameworkInfo, HealthCheck, Resources, Role, Size,
    TaskId, TaskSpec, TaskStatus,
};
use bytes::Bytes;

use crate::checkpoint::Record;
use crate::cores::Cores;
use crate::event::{LinkId, TaskKey};

/// All that an agent can want.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this down; everything after it relies on it.
    Checkpoint(Record),
    /// Open a link to the master; answered by `LinkOpened` or `LinkClosed`.
    Connect {
        /// Its number.
        link: LinkId,
    },
    /// Close this link. No answer is wanted, and nothing more is heard from it.
    CloseLink {
        /// Its number.
        link: LinkId,
        /// For the log.
        why: String,
    },
    /// Say this to the master; dropped when the link is closed.
    Send {
        /// By which link.
        link: LinkId,
        /// What.
        message: FromAgent,
    },
    /// Set up a container and start the task in it; answered by `Launched` or `LaunchFailed`, then `Ended`.
    Launch(Box<Launch>),
    /// Watch a container that runs since before the agent was started; answered by `Ended`.
    Watch {
        /// Which container.
        container: ContainerId,
    },
    /// Give a running container other limits; answered by `Resized`, unless it ends. One at a time for each container.
    Resize(Box<Resize>),
    /// Measure the sandbox of a container now; answered by `Measured`. One at a time for each container.
    Measure {
        /// Which container's.
        container: ContainerId,
        /// Which task runs in it.
        task: TaskKey,
    },
    /// Send a signal to the task's first process.
    Signal {
        /// Which container.
        container: ContainerId,
        /// Which signal.
        signal: Signal,
    },
    /// Kill every process of the container at once.
    KillAll {
        /// Which container.
        container: ContainerId,
    },
    /// Remove what is left of a container but its sandbox. A repeat does nothing.
    Destroy {
        /// Which container.
        container: ContainerId,
    },
    /// Check the health of a task; answered by `Probed`.
    Probe {
        /// Which container.
        container: ContainerId,
        /// Comes back with the answer.
        round: u64,
        /// How, and by when.
        check: Box<HealthCheck>,
    },
    /// The agent's work is done: the process shall end.
    Exit {
        /// Why, for people. `None` when an operator asked for it.
        refused: Option<String>,
    },
}

/// What to launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The container to make.
    pub container: ContainerId,
    /// Which task runs in it.
    pub task: TaskKey,
    /// What to run and with which limits.
    pub spec: TaskSpec,
    /// The user to run as unless the command names one.
    pub framework_user: String,
    /// The agent's own id, for the sandbox path and the environment. A task only comes from a master that gave one.
    pub agent: AgentId,
    /// The cores that it runs on, at least one; `None`: all.
    pub cores: Option<Cores>,
}

/// What a running container shall have.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// Which container.
    pub container: ContainerId,
    /// What runs in it, with the limits that it shall have.
    pub spec: TaskSpec,
    /// The cores that it shall run on, at least one; `None`: all.
    pub cores: Option<Cores>,
}

/// Signals that the core sends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Term,
}

/// What an agent says to the master.
#[derive(Clone, Debug, PartialEq)]
pub enum FromAgent {
    /// Who the agent is and everything it still knows about. First message of a link.
    Register(Box<Registration>),
    /// The agent is alive.
    Heartbeat,
    /// A new state of a task, or one that was not acknowledged in time.
    Update(Box<StatusUpdate>),
    /// What a task has after a resize, done or refused. Said once: a later registration says it too.
    Resized(Box<TaskResized>),
}

/// Who the agent is and everything that it still knows about.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Absent until a master has given one.
    pub id: Option<AgentId>,
    /// Hostname, address, resources, attributes.
    pub info: AgentInfo,
    /// The kernel's boot id.
    pub boot: String,
    /// Every task that has not ended, or whose end is not acknowledged.
    pub tasks: Vec<TaskReport>,
    /// The frameworks of those tasks, each with its id.
    pub frameworks: Vec<FrameworkInfo>,
    /// The highest master epoch that this agent has written down.
    pub epoch: Epoch,
}

/// One task as its agent knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// Whose task.
    pub framework: FrameworkId,
    /// The framework's own TaskInfo message.
    pub message: Bytes,
    /// The role that its resources were allocated to.
    pub role: Role,
    /// What it holds, as the master normalised it.
    pub resources: Resources,
    /// The newest state, acknowledged or not.
    pub latest: TaskStatus,
    /// What it has, where it has been resized since its launch.
    pub size: Option<Size>,
    /// What it is being given.
    pub resizing: Option<Size>,
}

/// What a task has after a resize.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskResized {
    /// Whose task.
    pub framework: FrameworkId,
    /// Which task.
    pub task: TaskId,
    /// What it was to have.
    pub wanted: Size,
    /// What it has.
    pub size: Size,
}

/// A status update on its way to the master.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusUpdate {
    /// Whose task.
    pub framework: FrameworkId,
    /// The oldest state that is not acknowledged.
    pub status: TaskStatus,
    /// The newest state: resources are free when it is terminal.
    pub latest: TaskStatus,
}

/// One line: what a story test shows and what a debug log holds.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Checkpoint(record) => write!(f, "Checkpoint({record})"),
            Effect::Connect { link } => write!(f, "Connect({})", link.0),
            Effect::CloseLink { link, why } => write!(f, "CloseLink({}: {why})", link.0),
            Effect::Send { link, message } => write!(f, "Send({}: {message})", link.0),
            Effect::Launch(launch) => {
                write!(f, "Launch({} in {}{})", launch.task, launch.container, On(launch.cores.as_ref()))
            }
            Effect::Resize(resize) => {
                let Resize { container, spec, cores } = &**resize;
                write!(f, "Resize({container} to {}{})", spec.size(), On(cores.as_ref()))
            }
            Effect::Measure { container, .. } => write!(f, "Measure({container})"),
            Effect::Watch { container } => write!(f, "Watch({container})"),
            Effect::Signal { container, signal } => write!(f, "Signal({container} {signal:?})"),
            Effect::KillAll { container } => write!(f, "KillAll({container})"),
            Effect::Destroy { container } => write!(f, "Destroy({container})"),
            Effect::Probe { container, round, .. } => write!(f, "Probe({container} round {round})"),
            Effect::Exit { refused: None } => write!(f, "Exit"),
            Effect::Exit { refused: Some(why) } => write!(f, "Exit({why})"),
        }
    }
}

impl fmt::Display for FromAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FromAgent::Register(registration) => {
                let id = registration.id.as_ref().map_or("new", |id| id.as_str());
                write!(f, "Register {id} {}", registration.epoch)?;
                for report in &registration.tasks {
                    write!(f, ", {}/{} {}", report.framework, report.latest.task_id, Brief(&report.latest))?;
                }
                Ok(())
            }
            FromAgent::Heartbeat => write!(f, "Heartbeat"),
            FromAgent::Update(update) => {
                write!(f, "Update {}/{} {}", update.framework, update.status.task_id, Brief(&update.status))?;
                if update.latest.uuid != update.status.uuid {
                    write!(f, ", latest {}", update.latest.state.as_str())?;
                }
                Ok(())
            }
            FromAgent::Resized(resized) => {
                let TaskResized { framework, task, wanted, size } = &**resized;
                write!(f, "Resized {framework}/{task} {size}")?;
                if wanted == size { Ok(()) } else { write!(f, " and not {wanted}") }
            }
        }
    }
}

/// Where something runs: nothing for all cores.
struct On<'a>(Option<&'a Cores>);

impl fmt::Display for On<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, core) in self.0.into_iter().flatten().enumerate() {
            write!(f, "{}{core}", if i == 0 { " on " } else { "," })?;
        }
        Ok(())
    }
}

/// A status in few words: state, reason, health, message.
pub(crate) struct Brief<'a>(pub(crate) &'a TaskStatus);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Brief(status) = self;
        write!(f, "{}", status.state.as_str())?;
        if let Some(uuid) = status.uuid {
            write!(
                f,
                "#{}",
                u64::from_be_bytes(uuid[8..].try_into().expect("8 of 16 bytes")) & !(0b11 << 62)
            )?;
        }
        if let Some(reason) = status.reason {
            write!(f, " {}", reason.as_str())?;
        }
        match status.healthy {
            Some(true) => write!(f, " healthy")?,
            Some(false) => write!(f, " unhealthy")?,
            None => {}
        }
        match &status.message {
            Some(message) => write!(f, " {message:?}"),
            None => Ok(()),
        }
    }
}
