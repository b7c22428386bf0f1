//! How lives go: of agents, drains and frameworks at the master, and of tasks there and at their agents. Each step from
//! one place to another is an edge. It has to be reached, or is too rare for that, or is never taken; a match without a
//! catch-all says which.
//!
//! What happens in one event is one step, whatever is passed on the way: an agent that is admitted is not recovered
//! first. Which edges are too rare was seen in a thousand seeds: fewer than ten of them took each.

use bourse_master_core::agents::DrainPhase;
use bourse_master_core::{AgentState, Drain, FrameworkState};
use bourse_types::TaskState;

macro_rules! edges {
    ($(#[$doc:meta])* $edge:ident $all:ident $place:ident, $word:literal:
     $($from:ident { to $($to:ident)*; seldom $($seldom:ident)*; never $($never:ident)*; })*) => {
        $(#[$doc])*
        /// The name of the edge; `None`: nobody goes this way.
        pub fn $edge(from: $place, to: $place) -> Option<&'static str> {
            match (from, to) {
                $($(($place::$from, $place::$to) => {
                    Some(concat!($word, ".", stringify!($from), " to ", stringify!($to)))
                })*
                $(($place::$from, $place::$seldom) => {
                    Some(concat!($word, ".", stringify!($from), " to ", stringify!($seldom)))
                })*
                $(($place::$from, $place::$never) => None,)*)*
            }
        }
        /// Those that have to be reached.
        pub const $all: &[&str] =
            &[$($(concat!($word, ".", stringify!($from), " to ", stringify!($to)),)*)*];
    };
}

/// Where an agent is, as one master sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentPlace {
    /// Not in the table: never admitted, or gone.
    Absent,
    /// In the registry that the master has read.
    Recovered,
    /// Connected.
    Active,
    /// Its link broke.
    Disconnected,
    /// It does not answer.
    Unreachable,
}

impl AgentPlace {
    /// Where it is in this state.
    pub fn of(state: &AgentState) -> AgentPlace {
        match state {
            AgentState::Recovered { .. } => AgentPlace::Recovered,
            AgentState::Active { .. } => AgentPlace::Active,
            AgentState::Disconnected { .. } => AgentPlace::Disconnected,
            AgentState::Unreachable { .. } => AgentPlace::Unreachable,
        }
    }
}

edges! {
    /// The life of an agent. That one does not come back for ten minutes after the master was restarted, and the master
    /// is not restarted again meanwhile, takes a long run.
    agent_edge AGENT_EDGES AgentPlace, "agent":
    Absent { to Recovered Active Unreachable; seldom; never Absent Disconnected; }
    Recovered { to Absent Active; seldom Unreachable; never Recovered Disconnected; }
    Active { to Absent Disconnected Unreachable; seldom; never Recovered Active; }
    Disconnected { to Absent Active Unreachable; seldom; never Recovered Disconnected; }
    Unreachable { to Absent Active; seldom; never Recovered Disconnected Unreachable; }
}

/// How far the drain of an agent is, as one master sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainPlace {
    /// Nobody drains it.
    Undrained,
    /// Its tasks may go on for a while.
    Waiting,
    /// Its tasks are told to end.
    Killing,
    /// Nothing is left on it.
    Drained,
}

impl DrainPlace {
    /// How far it is.
    pub fn of(drain: Option<&Drain>) -> DrainPlace {
        match drain.map(|drain| drain.phase) {
            None => DrainPlace::Undrained,
            Some(DrainPhase::Waiting { .. }) => DrainPlace::Waiting,
            Some(DrainPhase::Killing) => DrainPlace::Killing,
            Some(DrainPhase::Drained) => DrainPlace::Drained,
        }
    }
}

edges! {
    /// The life of a drain. Who is drained and is to be drained once more is so within the event, unless he is away.
    drain_edge DRAIN_EDGES DrainPlace, "drain":
    Undrained { to Waiting Killing Drained; seldom; never Undrained; }
    Waiting { to Undrained Killing Drained; seldom; never Waiting; }
    Killing { to Undrained Waiting Drained; seldom; never Killing; }
    Drained { to Undrained Waiting; seldom Killing; never Drained; }
}

/// Where a framework is, as one master sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameworkPlace {
    /// Not in the table: never subscribed, or torn down.
    Absent,
    /// In the registry that the master has read, or told by an agent.
    Recovered,
    /// Subscribed.
    Active,
    /// Its stream broke.
    Disconnected,
}

impl FrameworkPlace {
    /// Where it is in this state.
    pub fn of(state: &FrameworkState) -> FrameworkPlace {
        match state {
            FrameworkState::Recovered { .. } => FrameworkPlace::Recovered,
            FrameworkState::Active { .. } => FrameworkPlace::Active,
            FrameworkState::Disconnected { .. } => FrameworkPlace::Disconnected,
        }
    }
}

edges! {
    /// The life of a framework.
    framework_edge FRAMEWORK_EDGES FrameworkPlace, "framework":
    Absent { to Recovered Active; seldom; never Absent Disconnected; }
    Recovered { to Absent Active; seldom; never Recovered Disconnected; }
    Active { to Absent Disconnected; seldom; never Recovered Active; }
    Disconnected { to Absent Active; seldom; never Recovered Disconnected; }
}

/// Where a task is, as one master or one agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPlace {
    /// Not known yet, or its end is settled.
    Nowhere,
    /// `TASK_STAGING`, and so on.
    Staging,
    Starting,
    Running,
    Killing,
    Unreachable,
    Finished,
    Failed,
    Killed,
    Error,
    Dropped,
    Gone,
    GoneByOperator,
    Lost,
    Unknown,
}

impl TaskPlace {
    /// Where it is in this state.
    pub fn of(state: TaskState) -> TaskPlace {
        match state {
            TaskState::Staging => TaskPlace::Staging,
            TaskState::Starting => TaskPlace::Starting,
            TaskState::Running => TaskPlace::Running,
            TaskState::Killing => TaskPlace::Killing,
            TaskState::Unreachable => TaskPlace::Unreachable,
            TaskState::Finished => TaskPlace::Finished,
            TaskState::Failed => TaskPlace::Failed,
            TaskState::Killed => TaskPlace::Killed,
            TaskState::Error => TaskPlace::Error,
            TaskState::Dropped => TaskPlace::Dropped,
            TaskState::Gone => TaskPlace::Gone,
            TaskState::GoneByOperator => TaskPlace::GoneByOperator,
            TaskState::Lost => TaskPlace::Lost,
            TaskState::Unknown => TaskPlace::Unknown,
        }
    }
}

edges! {
    /// The life of a task in the tables of one master. One that only its agent knows begins where the agent has it. Ends
    /// stay until they are acknowledged; those that the master gives are settled at once.
    ///
    /// Lost and unknown are words for frameworks, and no state of a task; of what was unreachable a master that was
    /// restarted knows nothing. Errors are of launches that came too late, and so of tasks that are being staged.
    master_task_edge MASTER_TASK_EDGES TaskPlace, "task":
    Nowhere {
        to Staging Starting Running Killing Finished Failed Killed Gone;
        seldom Dropped Error;
        never Nowhere Unreachable GoneByOperator Lost Unknown;
    }
    Staging {
        to Starting Running Unreachable Finished Failed Killed Error Dropped Gone GoneByOperator;
        seldom Killing;
        never Nowhere Staging Lost Unknown;
    }
    Starting {
        to Running Killing Unreachable Finished Failed Killed Dropped Gone GoneByOperator;
        seldom Error;
        never Nowhere Staging Starting Lost Unknown;
    }
    Running {
        to Killing Unreachable Finished Failed Killed Dropped Gone GoneByOperator;
        seldom Error;
        never Nowhere Staging Starting Running Lost Unknown;
    }
    Killing {
        to Unreachable Failed Killed Gone;
        seldom Finished Error Dropped GoneByOperator;
        never Nowhere Staging Starting Running Killing Lost Unknown;
    }
    Unreachable {
        to Starting Running Killing Finished Failed Killed Dropped Gone GoneByOperator;
        seldom Error;
        never Nowhere Staging Unreachable Lost Unknown;
    }
    Finished {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Failed {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Killed {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Error {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Dropped {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Gone {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    GoneByOperator {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Lost {
        to;
        seldom;
        never Nowhere Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped
            Gone GoneByOperator Lost Unknown;
    }
    Unknown {
        to;
        seldom;
        never Nowhere Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped
            Gone GoneByOperator Lost Unknown;
    }
}

edges! {
    /// The life of a task at its agent. It begins with its launch, unless it cannot have the cores that it asks for; a
    /// task whose framework was torn down vanishes in whatever state it is. What an agent's door refuses is an error: the
    /// simulator is without that door.
    agent_task_edge AGENT_TASK_EDGES TaskPlace, "task at its agent":
    Nowhere {
        to Starting;
        seldom Failed Error;
        never Nowhere Staging Running Killing Unreachable Finished Killed Dropped Gone GoneByOperator Lost
            Unknown;
    }
    Staging {
        to;
        seldom;
        never Nowhere Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped
            Gone GoneByOperator Lost Unknown;
    }
    Starting {
        to Nowhere Running Killing Finished Failed Killed Dropped Gone;
        seldom;
        never Staging Starting Unreachable Error GoneByOperator Lost Unknown;
    }
    Running {
        to Nowhere Killing Finished Failed Killed Gone;
        seldom;
        never Staging Starting Running Unreachable Error Dropped GoneByOperator Lost Unknown;
    }
    Killing {
        to Failed Killed Gone;
        seldom Nowhere Dropped;
        never Staging Starting Running Killing Unreachable Finished Error GoneByOperator Lost Unknown;
    }
    Unreachable {
        to;
        seldom;
        never Nowhere Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped
            Gone GoneByOperator Lost Unknown;
    }
    Finished {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Failed {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Killed {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Error {
        to;
        seldom Nowhere;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Dropped {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    Gone {
        to Nowhere;
        seldom;
        never Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped Gone
            GoneByOperator Lost Unknown;
    }
    GoneByOperator {
        to;
        seldom;
        never Nowhere Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped
            Gone GoneByOperator Lost Unknown;
    }
    Lost {
        to;
        seldom;
        never Nowhere Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped
            Gone GoneByOperator Lost Unknown;
    }
    Unknown {
        to;
        seldom;
        never Nowhere Staging Starting Running Killing Unreachable Finished Failed Killed Error Dropped
            Gone GoneByOperator Lost Unknown;
    }
}
