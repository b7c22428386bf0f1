//! What survives the agent: the records of its checkpoint, and the state that they add up to.
//!
//! The agent changes its durable state only by applying the record that it also hands to the shell, so what is in
//! memory and what is on disk cannot differ. [`State::records`] gives a short list of records that add up to the same
//! state, for a log that has grown.
//!
//! A record that is written survives the process; the few that [must outlive the boot](Record::must_outlive_boot) are
//! synced. Deadlines are kept as what was left of them and the wall time then, since the monotonic clock starts anew.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use bourse_types::{
    AgentId, ContainerId, Epoch, FrameworkId, FrameworkInfo, Milli, Reason, Size, TaskState, TaskStatus, Wall,
};

use crate::cores::Cores;
use crate::description::Description;
use crate::disk::Held;
use crate::effect::Brief;
use crate::event::{Assignment, TaskKey, Work};

/// How many names of ended tasks are kept, so that a late repeat of their launch does not run them again. A repeat comes
/// within the life of a link; thousands of tasks do not end in one.
pub const ENDED_KEPT: usize = 1_000;

/// One change of what survives.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A master gave the agent its id.
    Admitted {
        /// The id.
        agent: AgentId,
    },
    /// A master admitted the agent as this, and it was something else before.
    Described {
        /// What the agent is and has.
        description: Box<Description>,
    },
    /// A master with a higher epoch than any before spoke.
    EpochSeen {
        /// Its epoch.
        epoch: Epoch,
    },
    /// The agent was started under this boot of the machine.
    Booted {
        /// The kernel's boot id.
        boot: String,
    },
    /// A framework has tasks here, or its description changed.
    FrameworkKnown {
        /// Which one.
        framework: FrameworkId,
        /// What it says about itself.
        info: Box<FrameworkInfo>,
    },
    /// The last task of a framework is forgotten.
    FrameworkForgotten {
        /// Which one.
        framework: FrameworkId,
    },
    /// A task was assigned; its container gets this id.
    TaskAccepted {
        /// The task.
        assignment: Box<Assignment>,
        /// Its container.
        container: ContainerId,
    },
    /// The task has these cores for itself from now on, in place of those that it had; others have to leave them.
    CoresTaken {
        /// Which task.
        task: TaskKey,
        /// None: it has lost those that it had, and is being killed for that.
        cores: Cores,
    },
    /// Whether some task may not run on all cores, besides what follows from the cores that were taken.
    CoresApart {
        /// `false`: no task has some for itself any more, and the others are back on all of them.
        apart: bool,
    },
    /// The task's first process runs.
    TaskStarted {
        /// Which task.
        task: TaskKey,
        /// Its pid, as the host counts.
        pid: u32,
        /// Since when.
        at: Wall,
    },
    /// The task has a new state, to be told until it is acknowledged.
    UpdateMade {
        /// Which task.
        task: TaskKey,
        /// Its state.
        status: Box<TaskStatus>,
    },
    /// The oldest unacknowledged update is acknowledged.
    UpdateAcknowledged {
        /// Which task.
        task: TaskKey,
        /// Which update.
        uuid: [u8; 16],
    },
    /// The task is to be killed, or its grace is shortened.
    KillBegun {
        /// Which task.
        task: TaskKey,
        /// How.
        kill: Kill,
    },
    /// A health check changed what is known.
    HealthSeen {
        /// Which task.
        task: TaskKey,
        /// What is known now.
        health: Health,
    },
    /// The task is to have another size.
    ResizeBegun {
        /// Which task.
        task: TaskKey,
        /// Its whole new size.
        size: Box<Size>,
    },
    /// The task has this size, and no resize is under way.
    Resized {
        /// Which task.
        task: TaskKey,
        /// What it has.
        size: Box<Size>,
    },
    /// The task keeps the size that it had, and no resize is under way.
    ResizeRefused {
        /// Which task.
        task: TaskKey,
    },
    /// The task's framework is gone: nothing more is told about the task.
    TaskSilenced {
        /// Which task.
        task: TaskKey,
    },
    /// The task ended and nobody has to hear of it any more, or it was never here. It is not to run from now on.
    TaskForgotten {
        /// Which task.
        task: TaskKey,
    },
}

impl Record {
    /// The one task that it changes something of. `None`: it is about the agent or a framework.
    pub fn task(&self) -> Option<&TaskKey> {
        match self {
            Record::TaskAccepted { assignment, .. } => Some(&assignment.key),
            Record::CoresTaken { task, .. }
            | Record::TaskStarted { task, .. }
            | Record::UpdateMade { task, .. }
            | Record::UpdateAcknowledged { task, .. }
            | Record::KillBegun { task, .. }
            | Record::HealthSeen { task, .. }
            | Record::ResizeBegun { task, .. }
            | Record::Resized { task, .. }
            | Record::ResizeRefused { task }
            | Record::TaskSilenced { task }
            | Record::TaskForgotten { task } => Some(task),
            Record::Admitted { .. }
            | Record::Described { .. }
            | Record::EpochSeen { .. }
            | Record::Booted { .. }
            | Record::FrameworkKnown { .. }
            | Record::FrameworkForgotten { .. }
            | Record::CoresApart { .. } => None,
        }
    }

    /// Whether the record must survive a crash of the machine and not only of the agent. Tasks do not outlive the boot,
    /// so what is known about them does not have to either; who the agent is, and whom it may obey, does.
    pub fn must_outlive_boot(&self) -> bool {
        match self {
            Record::Admitted { .. } | Record::EpochSeen { .. } => true,
            Record::Described { .. }
            | Record::Booted { .. }
            | Record::FrameworkKnown { .. }
            | Record::FrameworkForgotten { .. }
            | Record::TaskAccepted { .. }
            | Record::CoresTaken { .. }
            | Record::CoresApart { .. }
            | Record::TaskStarted { .. }
            | Record::UpdateMade { .. }
            | Record::UpdateAcknowledged { .. }
            | Record::KillBegun { .. }
            | Record::HealthSeen { .. }
            | Record::ResizeBegun { .. }
            | Record::Resized { .. }
            | Record::ResizeRefused { .. }
            | Record::TaskSilenced { .. }
            | Record::TaskForgotten { .. } => false,
        }
    }
}

/// A kill under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    /// Who wanted it.
    pub cause: KillCause,
    /// Between SIGTERM and SIGKILL, as asked.
    pub grace: Duration,
    /// What was left of the grace `at` that time.
    pub left: Duration,
    /// When `left` was true.
    pub at: Wall,
}

/// Who wanted a task killed; decides which state and reason its end is told with.
#[derive(Clone, Debug, PartialEq)]
pub enum KillCause {
    /// The framework or an operator, through the master; with a reason when it was not the framework.
    Asked(Option<Reason>),
    /// The health check failed too often.
    Unhealthy,
    /// It ran for its `max_completion_time`.
    TookTooLong,
    /// Its sandbox held more than the task may have on disk.
    OverDisk {
        /// What was in it.
        held: Held,
        /// In MiB.
        limit: Milli,
    },
    /// The agent came back with fewer cores, and not with as many for this task alone as it has.
    CoresLost,
    /// The agent was restarted and the framework does not checkpoint.
    AgentRestarted,
    /// The agent stops.
    AgentStops,
    /// The framework is gone.
    FrameworkGone,
}

/// What is known of a task's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// Failures in a row.
    pub failures: u32,
    /// Some check has succeeded: the grace period is over.
    pub passed: bool,
    /// The last verdict that was told. `None`: none yet.
    pub healthy: Option<bool>,
}

/// What survives of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What the master assigned.
    pub assignment: Assignment,
    /// Where it runs.
    pub container: ContainerId,
    /// The cores that it has for itself; mostly none.
    pub cores: Cores,
    /// Pid and start, once it runs.
    pub started: Option<(u32, Wall)>,
    /// The newest state. `None` only between a task's first two records.
    pub latest: Option<TaskStatus>,
    /// Updates not yet acknowledged, oldest first; the last one is `latest`.
    pub unacknowledged: VecDeque<TaskStatus>,
    /// A kill under way.
    pub kill: Option<Kill>,
    /// What its health check has shown.
    pub health: Health,
    /// The size that it is being given.
    pub resize: Option<Size>,
    /// Whether it has another size than the one that it was assigned with, or had one in between.
    pub resized: bool,
    /// Nothing is told about it any more.
    pub silent: bool,
}

impl Task {
    /// Whether its container is over.
    pub fn has_ended(&self) -> bool {
        self.latest.as_ref().is_some_and(|latest| latest.state.is_terminal())
    }

    /// What it has now.
    pub fn size(&self) -> Size {
        match &self.assignment.work {
            Work::Run(spec) => spec.size(),
            Work::Refuse(_) => Size::of(self.assignment.resources.clone()),
        }
    }
}

/// All that survives.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct State {
    /// The id that a master gave.
    pub agent: Option<AgentId>,
    /// What a master last admitted it as. `None` before that, and where an earlier release wrote the checkpoint.
    pub described: Option<Description>,
    /// The highest master epoch seen.
    pub epoch: Epoch,
    /// The boot that the agent was last started under.
    pub boot: Option<String>,
    /// Some task has cores for itself, or has had some and the others may not be back on all of them.
    pub cores_apart: bool,
    /// Frameworks with tasks here.
    pub frameworks: BTreeMap<FrameworkId, FrameworkInfo>,
    /// Every task that has not ended, or whose end is not acknowledged.
    pub tasks: BTreeMap<TaskKey, Task>,
    /// The last [`ENDED_KEPT`] tasks that were forgotten, oldest first.
    pub ended: VecDeque<TaskKey>,
}

impl State {
    /// Makes the change. A record about a task or framework that is not there changes nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Admitted { agent } => self.agent = Some(agent.clone()),
            Record::Described { description } => self.described = Some((**description).clone()),
            Record::EpochSeen { epoch } => self.epoch = *epoch,
            Record::Booted { boot } => self.boot = Some(boot.clone()),
            Record::FrameworkKnown { framework, info } => {
                self.frameworks.insert(framework.clone(), (**info).clone());
            }
            Record::FrameworkForgotten { framework } => {
                self.frameworks.remove(framework);
            }
            Record::TaskAccepted { assignment, container } => self.accept(assignment, container),
            Record::CoresTaken { task, cores } => self.take_cores(task, cores),
            Record::CoresApart { apart } => self.cores_apart = *apart,
            Record::TaskStarted { task, pid, at } => self.with(task, |task| task.started = Some((*pid, *at))),
            Record::UpdateMade { task, status } => self.with(task, |task| task.tell(status)),
            Record::UpdateAcknowledged { task, uuid } => self.with(task, |task| task.acknowledge(uuid)),
            Record::KillBegun { task, kill } => self.with(task, |task| task.kill = Some(kill.clone())),
            Record::HealthSeen { task, health } => self.with(task, |task| task.health = *health),
            Record::ResizeBegun { task, size } => {
                self.with(task, |task| task.resize = Some((**size).clone()))
            }
            Record::Resized { task, size } => self.with(task, |task| task.take_size(size)),
            Record::ResizeRefused { task } => self.with(task, |task| task.resize = None),
            Record::TaskSilenced { task } => self.with(task, Task::silence),
            Record::TaskForgotten { task } => self.forget(task),
        }
    }

    /// The shortest list of records that adds up to this state.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        records.extend(self.agent.clone().map(|agent| Record::Admitted { agent }));
        let described = self.described.clone().map(Box::new);
        records.extend(described.map(|description| Record::Described { description }));
        if self.epoch != Epoch::default() {
            records.push(Record::EpochSeen { epoch: self.epoch });
        }
        records.extend(self.boot.clone().map(|boot| Record::Booted { boot }));
        records.extend(self.ended.iter().map(|task| Record::TaskForgotten { task: task.clone() }));
        records.extend(self.frameworks.iter().map(|(framework, info)| Record::FrameworkKnown {
            framework: framework.clone(),
            info: Box::new(info.clone()),
        }));
        for (key, task) in &self.tasks {
            task.records(key, &mut records);
        }
        if self.cores_apart != self.tasks.values().any(|task| !task.cores.is_empty()) {
            records.push(Record::CoresApart { apart: self.cores_apart });
        }
        records
    }

    fn with(&mut self, key: &TaskKey, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.tasks.get_mut(key) {
            change(task);
        }
    }

    fn accept(&mut self, assignment: &Assignment, container: &ContainerId) {
        let task = Task {
            assignment: assignment.clone(),
            container: container.clone(),
            cores: Cores::new(),
            started: None,
            latest: None,
            unacknowledged: VecDeque::new(),
            kill: None,
            health: Health::default(),
            resize: None,
            resized: false,
            silent: false,
        };
        self.tasks.insert(assignment.key.clone(), task);
    }

    fn take_cores(&mut self, key: &TaskKey, cores: &Cores) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.cores.clone_from(cores);
            self.cores_apart |= !cores.is_empty();
        }
    }

    fn forget(&mut self, key: &TaskKey) {
        self.tasks.remove(key);
        if self.ended.contains(key) {
            return;
        }
        if self.ended.len() == ENDED_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(key.clone());
    }
}

impl Task {
    /// Appends an update. A newer word on a running task takes the place of an older one that was not sent yet, so that
    /// a task whose health changes while the master is away does not fill the queue. The size that the older one told
    /// goes on with it: somebody waits for the answer to a resize.
    fn tell(&mut self, status: &TaskStatus) {
        let mut status = status.clone();
        let waiting = self.unacknowledged.len() > 1;
        match self.unacknowledged.back_mut() {
            Some(last)
                if waiting && last.state == TaskState::Running && status.state == TaskState::Running =>
            {
                status.size = status.size.take().or_else(|| last.size.take());
                *last = status.clone();
            }
            _ => self.unacknowledged.push_back(status.clone()),
        }
        self.latest = Some(status);
    }

    fn take_size(&mut self, size: &Size) {
        self.assignment.resources.clone_from(&size.resources);
        if let Work::Run(spec) = &mut self.assignment.work {
            **spec = spec.resized(size);
        }
        self.resize = None;
        self.resized = true;
    }

    fn acknowledge(&mut self, uuid: &[u8; 16]) {
        if self.unacknowledged.front().is_some_and(|first| first.uuid.as_ref() == Some(uuid)) {
            self.unacknowledged.pop_front();
        }
    }

    fn silence(&mut self) {
        self.silent = true;
        self.unacknowledged.clear();
    }

    fn records(&self, key: &TaskKey, records: &mut Vec<Record>) {
        let task = || key.clone();
        records.push(Record::TaskAccepted {
            assignment: Box::new(self.assignment.clone()),
            container: self.container.clone(),
        });
        if !self.cores.is_empty() {
            records.push(Record::CoresTaken { task: task(), cores: self.cores.clone() });
        }
        records.extend(self.started.map(|(pid, at)| Record::TaskStarted { task: task(), pid, at }));
        records.extend(self.kill.clone().map(|kill| Record::KillBegun { task: task(), kill }));
        if self.health != Health::default() {
            records.push(Record::HealthSeen { task: task(), health: self.health });
        }
        if self.resized {
            records.push(Record::Resized { task: task(), size: Box::new(self.size()) });
        }
        let wanted = self.resize.clone().map(Box::new);
        records.extend(wanted.map(|size| Record::ResizeBegun { task: task(), size }));
        let made =
            |status: &TaskStatus| Record::UpdateMade { task: task(), status: Box::new(status.clone()) };
        records.extend(self.unacknowledged.iter().map(made));
        if let (true, Some(latest)) = (self.unacknowledged.is_empty(), &self.latest) {
            records.push(made(latest));
            records.extend(latest.uuid.map(|uuid| Record::UpdateAcknowledged { task: task(), uuid }));
        }
        if self.silent {
            records.push(Record::TaskSilenced { task: task() });
        }
    }
}

/// One line, for story tests and debug logs.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Admitted { agent } => write!(f, "Admitted {agent}"),
            Record::Described { description } => write!(f, "Described {description}"),
            Record::EpochSeen { epoch } => write!(f, "EpochSeen {epoch}"),
            Record::Booted { boot } => write!(f, "Booted {boot}"),
            Record::FrameworkKnown { framework, .. } => write!(f, "FrameworkKnown {framework}"),
            Record::FrameworkForgotten { framework } => write!(f, "FrameworkForgotten {framework}"),
            Record::TaskAccepted { assignment, container } => {
                write!(f, "TaskAccepted {} in {container}", assignment.key)
            }
            Record::CoresTaken { task, cores } => write!(f, "CoresTaken {task} {cores:?}"),
            Record::CoresApart { apart } => write!(f, "CoresApart {apart}"),
            Record::TaskStarted { task, pid, .. } => write!(f, "TaskStarted {task} pid {pid}"),
            Record::UpdateMade { task, status } => write!(f, "UpdateMade {task} {}", Brief(status)),
            Record::UpdateAcknowledged { task, .. } => write!(f, "UpdateAcknowledged {task}"),
            Record::KillBegun { task, kill } => {
                write!(f, "KillBegun {task} {:?} left {:?} of {:?}", kill.cause, kill.left, kill.grace)
            }
            Record::HealthSeen { task, health } => {
                write!(f, "HealthSeen {task} failures {}", health.failures)
            }
            Record::ResizeBegun { task, size } => write!(f, "ResizeBegun {task} {size}"),
            Record::Resized { task, size } => write!(f, "Resized {task} {size}"),
            Record::ResizeRefused { task } => write!(f, "ResizeRefused {task}"),
            Record::TaskSilenced { task } => write!(f, "TaskSilenced {task}"),
            Record::TaskForgotten { task } => write!(f, "TaskForgotten {task}"),
        }
    }
}
