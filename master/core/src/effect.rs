//! Every consequence: what the master wants done, in order.
//!
//! The shell persists the changes of a batch with one sync before it lets any other effect of that batch out.

use std::time::Duration;

use bourse_types::{
    AgentId, FrameworkId, FrameworkInfo, KillPolicy, MasterId, OfferId, Reason, Resources, Role, Size,
    TaskId, TaskStatus, Wall,
};

use crate::event::{LinkId, RequestId, StreamId, TaskInfo};
use crate::history::Entry;
use crate::registry::Change;

/// All that the master can want. Hashed, effects that are equal have one hash, within a build of ours: a replay is compared
/// with what was recorded by that.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Effect {
    /// Must survive: written and synced before anything of this batch is spoken.
    Persist(Change),
    /// Say this to an agent by this link; dropped when the link is closed.
    ToAgent {
        /// To whom.
        agent: AgentId,
        /// Its newest link.
        link: LinkId,
        /// What.
        message: ToAgent,
    },
    /// This link may not go on: refused, or replaced by a newer one.
    CloseLink {
        /// The link.
        link: LinkId,
        /// Why, where the agent is to hear it.
        refused: Option<AgentRefused>,
    },
    /// Say this to a scheduler by this subscription; dropped when the stream is closed.
    ToScheduler {
        /// To whom.
        framework: FrameworkId,
        /// Its newest subscription.
        stream: StreamId,
        /// What.
        message: ToScheduler,
    },
    /// This subscription ends, after an ERROR event with this text.
    CloseStream {
        /// The subscription.
        stream: StreamId,
        /// Why, in words.
        error: String,
    },
    /// The answer to an operator's command.
    Reply {
        /// Who waits for it.
        request: RequestId,
        /// What came of the command.
        reply: Result<Done, Refused>,
    },
    /// Something that people may want to know later. Written without sync.
    Record(Entry),
}

/// What the master says to an agent. The shell adds the epoch.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum ToAgent {
    /// It is admitted. First message of a link.
    Registered {
        /// Its id, given now or known before.
        agent: AgentId,
        /// Who admits it.
        master: MasterId,
        /// How often it shall be heard.
        heartbeat: Duration,
        /// What the master believes to run there; the agent answers for those it does not know.
        known: Vec<(FrameworkId, TaskId)>,
        /// Within which time it shall try again where nobody listens in the master's place.
        reconnect: Duration,
    },
    /// Launch a task. A repeat for a task that the agent knows is to be ignored.
    Run {
        /// Whose it is, with its id.
        framework: FrameworkInfo,
        /// The role that its resources count for.
        role: Role,
        /// The task.
        task: Box<TaskInfo>,
    },
    /// End a task. Repeated after a reconnect; a repeat with a shorter grace shortens a kill that is under way.
    Kill {
        /// Whose it is.
        framework: FrameworkId,
        /// The task.
        task: TaskId,
        /// In the place of the task's own policy.
        policy: Option<KillPolicy>,
        /// Why, when it was not its framework: the reason of the updates to come.
        reason: Option<Reason>,
    },
    /// Give a task another size; answered by [`Event::TaskResized`](crate::Event::TaskResized). A repeat while that is under
    /// way is to be ignored.
    Resize {
        /// Whose it is.
        framework: FrameworkId,
        /// The task.
        task: TaskId,
        /// Its whole new size.
        size: Size,
    },
    /// A scheduler has an update. A repeat is to be ignored.
    Acknowledge {
        /// Whose the task is.
        framework: FrameworkId,
        /// The task.
        task: TaskId,
        /// The update.
        uuid: [u8; 16],
    },
    /// Kill all tasks of a framework, send no updates, forget it.
    ShutdownFramework {
        /// The framework.
        framework: FrameworkId,
    },
}

/// Why an agent may not register.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AgentRefused {
    /// A stable word: `STALE_MASTER`, `AGENT_GONE`, `UNKNOWN_ID`, `NOT_YOURS`.
    pub reason: &'static str,
    /// What was tried, what is wrong, what to do.
    pub message: String,
    /// The agent shall kill what it runs and stop.
    pub shut_down: bool,
}

/// What the master says to a scheduler.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum ToScheduler {
    /// First message of a subscription.
    Subscribed {
        /// Its id, given now or known before.
        framework: FrameworkId,
        /// Who speaks.
        master: MasterId,
        /// How often it hears something at least.
        heartbeat: Duration,
    },
    /// New offers, all that one pass has for the framework.
    Offers(Vec<OfferMade>),
    /// An offer holds no longer.
    Rescind {
        /// The offer.
        offer: OfferId,
    },
    /// What became of a task, in states that the framework knows.
    Update(Box<TaskStatus>),
    /// An agent was removed or became unreachable.
    AgentFailed {
        /// The agent.
        agent: AgentId,
    },
    /// An operator drains an agent on which the framework has tasks: what still runs there at the deadline is killed.
    /// On Mesos' wire this is an inverse offer with an unavailability.
    AgentDraining {
        /// The agent.
        agent: AgentId,
        /// When its tasks are killed.
        deadline: Wall,
    },
}

/// An offer as a scheduler sees it. The shell adds what it keeps encoded of the agent: hostname, address, attributes.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct OfferMade {
    /// Its id.
    pub id: OfferId,
    /// Whose resources.
    pub agent: AgentId,
    /// For which of the framework's roles.
    pub role: Role,
    /// What is offered.
    pub resources: Resources,
    /// The agent is being drained until then.
    pub unavailable_from: Option<Wall>,
}

/// An operator's command was carried out.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Done {
    /// The task was told to end.
    Killing {
        /// Whose it is.
        framework: FrameworkId,
        /// The task.
        task: TaskId,
    },
    /// The framework is no more.
    TornDown {
        /// The framework.
        framework: FrameworkId,
    },
    /// The agent is being drained.
    Draining {
        /// The agent.
        agent: AgentId,
        /// When what still runs is killed.
        deadline: Wall,
        /// How many tasks there are now.
        tasks: usize,
    },
    /// The agent is offered again.
    Reactivated {
        /// The agent.
        agent: AgentId,
    },
    /// The agent will never come back.
    MarkedGone {
        /// The agent.
        agent: AgentId,
    },
    /// The role weighs what was asked for.
    WeightSet,
}

/// An operator's command was not carried out.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Refused {
    /// What it is about is not there.
    NotFound(String),
    /// It makes no sense in the present state.
    Conflict(String),
    /// It makes no sense at any time.
    Invalid(String),
}

/// Where [`Master::apply`](crate::Master::apply) queues what it wants done, in order.
pub type Effects = Vec<Effect>;
