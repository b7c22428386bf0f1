//! What goes into a session and what comes out: the whole contract with a driver, live or simulated.

use std::time::Duration;

use bourse_types::{AgentId, FrameworkId, FrameworkInfo, OfferId, Role, TaskId, TaskStatus, Wall};

use crate::calls::{Call, Write};
use crate::offer::OfferMade;

/// A subscription, or the try of one; they are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u64);

/// What happened, as the driver reports it.
#[derive(Debug)]
pub enum Input<M> {
    /// Once, at the beginning.
    Start,
    /// The master said something by this subscription.
    Heard(Attempt, FromMaster),
    /// This subscription ended, or could not be opened, or one of its calls could not be brought to the master.
    Closed {
        /// The subscription that ended.
        attempt: Attempt,
        /// Why, in words.
        why: String,
    },
    /// The master understood this call and refused it.
    Refused {
        /// By which subscription.
        attempt: Attempt,
        /// What was refused.
        call: Box<Call>,
        /// The master's words.
        why: String,
    },
    /// The master has taken the TEARDOWN.
    TornDown(Attempt),
    /// From the author's other code.
    Message(M),
    /// Time has passed.
    Tick,
    /// The process is asked to stop; the framework goes on without it.
    Stop,
    /// The process is asked to end the framework for good.
    Teardown,
}

/// What the master says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromMaster {
    /// The subscription begins.
    Subscribed {
        /// The framework's id.
        framework: FrameworkId,
        /// How often something is heard at least.
        heartbeat: Option<Duration>,
    },
    /// New offers.
    Offers(Vec<OfferMade>),
    /// An offer holds no longer.
    Rescind(OfferId),
    /// What became of a task.
    Update(Box<TaskStatus>),
    /// An agent was removed or is unreachable.
    AgentFailed(AgentId),
    /// An agent is being drained.
    AgentDraining {
        /// The agent that its operator empties.
        agent: AgentId,
        /// When its tasks are killed.
        deadline: Wall,
    },
    /// The subscription is over, and the framework should not come back by itself.
    Error(String),
    /// The master is there.
    Heartbeat,
}

/// What the driver shall do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a subscription.
    Subscribe {
        /// Its number.
        attempt: Attempt,
        /// What the framework says about itself.
        info: Box<FrameworkInfo>,
        /// Roles that want no offers.
        suppressed: Vec<Role>,
    },
    /// Give this subscription up, and whatever of it has not been sent.
    Unsubscribe(Attempt),
    /// Make the framework's id durable before anything after this.
    Persist(FrameworkId),
    /// Make the scheduler's state durable before anything after this.
    Write(Write),
    /// Send this by the subscription at hand, after all that was sent before.
    Call(Call),
    /// Tell the log.
    Note(Note),
    /// All is said: send what is left and end.
    End(End),
}

/// What an operator would ask about.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// The master knows the framework.
    Subscribed {
        /// Its id.
        framework: FrameworkId,
        /// Not for the first time in this process.
        again: bool,
    },
    /// There is no connection.
    Disconnected {
        /// In words, for the log.
        why: String,
        /// When the next try comes.
        retry: Duration,
    },
    /// Every task was told since the gap.
    Reconciled,
    /// The framework of this id was torn down while it was away, and begins anew without it.
    BegunAnew(FrameworkId),
    /// A task that was reported lost is running, and is killed.
    LostTaskRuns(TaskId),
    /// Something was refused.
    Refused(String),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to; the framework goes on.
    Stopped,
    /// The framework was ended for good.
    TornDown,
    /// The master does not want it, in the master's words.
    Refused(String),
}
