//! Every cause: what can happen to the master, as values.
//!
//! The shell makes these at its doors from wire messages that it has already checked for form; whether they make sense
//! now (is this offer yours, does this agent exist) is decided by the handlers. Every event may arrive twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_types::{
    AgentCapability, AgentId, AgentInfo, Epoch, FrameworkId, FrameworkInfo, KillPolicy, Labels, Milli,
    OfferId, Principal, Resources, Role, Size, TaskId, TaskStatus,
};
use bytes::Bytes;

/// A link of an agent, numbered by the shell and never reused while the master lives. A newer link of an agent replaces
/// its older one, and what still arrives by the older one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A scheduler's subscription, numbered by the shell and never reused while the master lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// An operator's question that waits for [`Effect::Reply`](crate::Effect::Reply).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// All that can happen to the master.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An agent opened a link and told who it is and what it runs.
    AgentRegisters {
        /// The new link.
        link: LinkId,
        /// What the agent tells.
        registration: Box<Registration>,
    },
    /// These agents were heard since the last such event. Liveness is counted from here.
    AgentsHeard {
        /// The agents.
        agents: Vec<AgentId>,
    },
    /// The link broke. Stale when the agent has a newer one.
    AgentLinkClosed {
        /// Whose.
        agent: AgentId,
        /// The link.
        link: LinkId,
    },
    /// A task of this agent has a new state, or an update was sent again.
    StatusUpdate {
        /// Who tells.
        agent: AgentId,
        /// By which link.
        link: LinkId,
        /// What.
        update: Box<StatusUpdate>,
    },
    /// A resize of a task of this agent is over, one way or the other.
    TaskResized {
        /// Who tells.
        agent: AgentId,
        /// By which link.
        link: LinkId,
        /// What.
        resized: Box<TaskResized>,
    },
    /// A scheduler opened a subscription.
    Subscribes {
        /// The new stream.
        stream: StreamId,
        /// What the scheduler says.
        subscription: Box<Subscription>,
    },
    /// The subscription's stream broke. Stale when the framework has a newer one.
    StreamClosed {
        /// Whose.
        framework: FrameworkId,
        /// The subscription.
        stream: StreamId,
    },
    /// A call of a subscribed scheduler.
    Call {
        /// Who calls.
        framework: FrameworkId,
        /// By which subscription.
        stream: StreamId,
        /// What.
        call: Call,
    },
    /// An operator asks for a change; answered by exactly one reply.
    Operate {
        /// Who waits for the reply.
        request: RequestId,
        /// Who the door authenticated.
        principal: Option<Principal>,
        /// What.
        command: Command,
    },
    /// Time has passed: deadlines that are due take effect. When an event of any kind comes more than a heartbeat interval
    /// after the one before it, the master stood still, and nobody's silence counts in between.
    Tick,
}

/// What an agent tells when it opens a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Absent the very first time: the master gives it an id.
    pub id: Option<AgentId>,
    /// What the agent says about itself.
    pub info: AgentInfo,
    /// Every task that has not ended, or whose end is not acknowledged.
    pub tasks: Vec<TaskReport>,
    /// The frameworks of those tasks, each with its id, for a master that does not know them.
    pub frameworks: Vec<FrameworkInfo>,
    /// The highest master epoch that the agent knows. A master with a lower one is deposed and must not command it.
    pub epoch: Epoch,
    /// What the agent can do: it is asked for nothing else.
    pub capabilities: BTreeSet<AgentCapability>,
    /// Who the door authenticated: the id is this principal's from then on.
    pub principal: Option<Principal>,
}

/// A task as its agent knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// Whose it is.
    pub framework: FrameworkId,
    /// The task, with the resources that it holds.
    pub task: TaskInfo,
    /// The role that its resources count for.
    pub role: Role,
    /// The newest state, acknowledged or not.
    pub latest: TaskStatus,
    /// Whether it has been resized since its launch.
    pub resized: bool,
    /// The size that it is being given.
    pub resizing: Option<Size>,
}

/// What the master owns of a task; the rest travels as the framework wrote it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// A name for people.
    pub name: String,
    /// The agent that the framework named.
    pub agent: AgentId,
    /// What it holds.
    pub resources: Resources,
    /// Upper limits by resource name; `None` is without limit.
    pub limits: BTreeMap<String, Option<Milli>>,
    /// How it is ended.
    pub kill_policy: KillPolicy,
    /// Labels of the framework's choice.
    pub labels: Labels,
    /// What its agent has to be able to do.
    pub needs: BTreeSet<AgentCapability>,
    /// The command in words, for people.
    pub command: String,
    /// The bytes of the framework's own TaskInfo message, unknown fields included.
    pub message: Bytes,
}

/// A status update on its way from an agent to a scheduler.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusUpdate {
    /// Whose the task is.
    pub framework: FrameworkId,
    /// What is told.
    pub status: TaskStatus,
    /// The newest state that the agent knows, when `status` is an older one that was not yet acknowledged.
    pub latest: TaskStatus,
}

/// The size of a task after a resize: the new one when it was done, else the one of before.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskResized {
    /// Whose the task is.
    pub framework: FrameworkId,
    /// The task.
    pub task: TaskId,
    /// What it was to have.
    pub wanted: Size,
    /// What it has.
    pub size: Size,
}

/// A scheduler's SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// `info.id` is absent the very first time.
    pub info: FrameworkInfo,
    /// Roles that want no offers until they are revived.
    pub suppressed: Vec<Role>,
    /// Who the door authenticated.
    pub principal: Option<Principal>,
}

/// A scheduler's call other than SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Takes offers.
    Accept(Accept),
    /// Gives offers back.
    Decline {
        /// The offers.
        offers: Vec<OfferId>,
        /// How long what they held is not to be offered again.
        refuse: Duration,
    },
    /// No roles: all of them. Clears the filters of the roles.
    Revive {
        /// The roles.
        roles: Vec<Role>,
    },
    /// No roles: all of them.
    Suppress {
        /// The roles.
        roles: Vec<Role>,
    },
    /// Ends a task.
    Kill {
        /// The task.
        task: TaskId,
        /// Where it runs, if the scheduler knows.
        agent: Option<AgentId>,
        /// In the place of the task's own policy.
        policy: Option<KillPolicy>,
    },
    /// Has an update.
    Acknowledge {
        /// Where the task runs.
        agent: AgentId,
        /// The task.
        task: TaskId,
        /// The update.
        uuid: [u8; 16],
    },
    /// No tasks: implicit, everything that is not terminal.
    Reconcile {
        /// Which, and where if the scheduler knows.
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// Replaces info and suppressed roles without a new subscription.
    UpdateFramework {
        /// What the framework says about itself now.
        info: Box<FrameworkInfo>,
        /// Roles that want no offers.
        suppressed: Vec<Role>,
    },
    /// Ends the framework.
    Teardown,
}

/// Several offers of one agent, taken together. First tasks are resized, then others launched, each in order; the rest is
/// declined for `refuse`. Without offers tasks can still be resized to what they have or less.
#[derive(Clone, Debug, PartialEq)]
pub struct Accept {
    /// The offers.
    pub offers: Vec<OfferId>,
    /// What to launch, in order.
    pub launches: Vec<Launch>,
    /// What to resize, in order.
    pub resizes: Vec<Resize>,
    /// How long what is left is not to be offered again.
    pub refuse: Duration,
}

/// One task to launch. What the door found wrong with it travels along, so that its refusal is told in order and as a
/// TASK_ERROR, with nothing else of the call lost.
#[derive(Clone, Debug, PartialEq)]
pub enum Launch {
    /// One that is well formed.
    Task(Box<TaskInfo>),
    /// One that is not.
    Invalid {
        /// Its id.
        task: TaskId,
        /// The agent that it named.
        agent: Option<AgentId>,
        /// What is wrong and what to do.
        why: String,
    },
}

/// Another size for a running task.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// The task.
    pub task: TaskId,
    /// Its whole new size, or what the door found wrong with it and what to do.
    pub wanted: Result<Size, String>,
}

/// What operators change.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Kills the task as its framework would.
    Kill {
        /// Whose it is.
        framework: FrameworkId,
        /// The task.
        task: TaskId,
        /// In the place of the task's own policy.
        policy: Option<KillPolicy>,
    },
    /// Ends a framework.
    Teardown {
        /// The framework.
        framework: FrameworkId,
    },
    /// Empties an agent. Repeating it sets a new deadline.
    Drain {
        /// The agent.
        agent: AgentId,
        /// How long tasks may go on.
        deadline: Duration,
        /// Mark the agent gone when nothing is left on it.
        mark_gone: bool,
    },
    /// Lets an agent be offered again.
    Reactivate {
        /// The agent.
        agent: AgentId,
    },
    /// Says that an agent will never come back.
    MarkGone {
        /// The agent.
        agent: AgentId,
    },
    /// Weighs a role.
    SetWeight {
        /// The role.
        role: Role,
        /// In thousandths; 1,000 is the default.
        weight: Milli,
    },
}
