//! What was reached: every cause and consequence of every core, every fault, and every step of the lives of agents,
//! frameworks and tasks ([`crate::lifecycle`]). A run of many seeds that did not reach one of them proves nothing about it.
//!
//! The names come from matches without a catch-all: a new variant does not compile until it stands here, and then has to
//! be reached.

use std::collections::BTreeMap;

use bourse_agent_core::{
    Condition, Effect as AgentEffect, Event as AgentEvent, FromAgent, FromMaster, Record,
};
use bourse_master_core::{
    AgentState, Call, Change, Command, Effect as MasterEffect, Event as MasterEvent, FrameworkState, Launch,
    ToAgent, ToScheduler,
};
use bourse_sdk_core::{Event as AuthorEvent, FromMaster as Heard, Input, Output};
use bourse_types::TaskState;

use crate::faults::Fault;
use crate::lifecycle::{AGENT_EDGES, AGENT_TASK_EDGES, DRAIN_EDGES, FRAMEWORK_EDGES, MASTER_TASK_EDGES};

/// How often each thing was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// It was reached once more.
    pub fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// What was reached in both.
    pub fn add(&mut self, other: &Coverage) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// How often each thing was reached.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, times)| (*what, *times))
    }

    /// What has to be reached and was not.
    pub fn missing(&self) -> Vec<&'static str> {
        let wanted = WANTED.iter().copied().flatten().copied();
        wanted.filter(|what| !self.0.contains_key(what)).collect()
    }
}

macro_rules! kinds {
    ($(#[$doc:meta])* $kind:ident $all:ident $type:ident $(<$generic:ident>)?, $word:literal: $($variant:ident)*) => {
        $(#[$doc])*
        pub fn $kind $(<$generic>)? (value: &$type $(<$generic>)?) -> &'static str {
            match value {
                $($type::$variant { .. } => concat!($word, ".", stringify!($variant)),)*
            }
        }
        const $all: &[&str] = &[$(concat!($word, ".", stringify!($variant)),)*];
    };
}

kinds! {
    /// What happened to the master.
    master_event MASTER_EVENTS MasterEvent, "master event":
    AgentRegisters AgentsHeard AgentLinkClosed StatusUpdate TaskResized Subscribes StreamClosed Call Operate Tick
}
kinds! {
    /// What a scheduler asked for.
    call CALLS Call, "call":
    Accept Decline Revive Suppress Kill Acknowledge Reconcile UpdateFramework Teardown
}
kinds! {
    /// What the door made of a task.
    launch LAUNCHES Launch, "launch": Task Invalid
}
kinds! {
    /// What an operator asked for.
    command COMMANDS Command, "command": Kill Teardown Drain Reactivate MarkGone SetWeight
}
kinds! {
    /// What the master wanted.
    master_effect MASTER_EFFECTS MasterEffect, "master effect":
    Persist ToAgent CloseLink ToScheduler CloseStream Reply Record
}
kinds! {
    /// What the master wanted to survive. `EpochStarted` is the shell's.
    change CHANGES Change, "change":
    EpochStarted AgentAdmitted AgentUpdated AgentUnreachable AgentReachable AgentGone AgentRemoved FrameworkSubscribed
    FrameworkDisconnected FrameworkConnected FrameworkRemoved WeightSet DrainStarted Drained DrainEnded
}
kinds! {
    /// What the master said to an agent.
    to_agent TO_AGENT ToAgent, "to agent": Registered Run Kill Resize Acknowledge ShutdownFramework
}
kinds! {
    /// What the master said to a scheduler.
    to_scheduler TO_SCHEDULER ToScheduler, "to scheduler":
    Subscribed Offers Rescind Update AgentFailed AgentDraining
}
kinds! {
    /// Where an agent was in its life.
    agent_state AGENT_STATES AgentState, "agent": Recovered Active Disconnected Unreachable
}
kinds! {
    /// Where a framework was in its life.
    framework_state FRAMEWORK_STATES FrameworkState, "framework": Recovered Active Disconnected
}
kinds! {
    /// What happened to an agent.
    agent_event AGENT_EVENTS AgentEvent, "agent event":
    LinkOpened LinkClosed FromMaster Launched LaunchFailed Ended Probed Resized Measured SandboxMeasured Stop Disk Tick
}
kinds! {
    /// What an agent found of a container when it came back.
    condition CONDITIONS Condition, "agent finds": Running Exited NeverRan CutShort Vanished
}
kinds! {
    /// What an agent heard.
    from_master FROM_MASTER FromMaster, "agent hears":
    Registered Refused Run Kill Resize Acknowledge ShutdownFramework HeartbeatAck
}
kinds! {
    /// What an agent wanted.
    agent_effect AGENT_EFFECTS AgentEffect, "agent effect":
    Checkpoint Connect CloseLink Send Launch Watch Resize Measure Signal KillAll Destroy Probe Exit
}
kinds! {
    /// What an agent wanted to survive.
    record RECORDS Record, "record":
    Admitted Described EpochSeen Booted FrameworkKnown FrameworkForgotten TaskAccepted CoresTaken CoresApart TaskStarted
    UpdateMade UpdateAcknowledged KillBegun HealthSeen ResizeBegun Resized ResizeRefused TaskSilenced TaskForgotten
}
kinds! {
    /// What an agent said.
    from_agent FROM_AGENT FromAgent, "agent says": Register Heartbeat Update Resized
}
kinds! {
    /// What happened to a session.
    input INPUTS Input<M>, "session input":
    Start Heard Closed Refused TornDown Message Tick Stop Teardown
}
kinds! {
    /// What a session heard.
    heard HEARD Heard, "session hears":
    Subscribed Offers Rescind Update AgentFailed AgentDraining Error Heartbeat
}
kinds! {
    /// What a session wanted.
    output OUTPUTS Output, "session output": Subscribe Unsubscribe Persist Write Call Note End
}
kinds! {
    /// What an author's code was told.
    author_event AUTHOR_EVENTS AuthorEvent<M>, "author hears":
    Subscribed Disconnected Reconciled Offer Rescinded Update ResizeFailed AgentFailed AgentDraining Error Deadline
    Message
}
kinds! {
    /// Which states authors were told. `TASK_STAGING` is one that only reconciliation tells.
    told TOLD TaskState, "told":
    Staging Starting Running Killing Finished Failed Killed Error Lost Dropped Unreachable Gone GoneByOperator Unknown
}
kinds! {
    /// What went wrong.
    fault FAULTS Fault, "fault":
    MasterCrash MasterFreeze MasterReplaced AgentCrash AgentReboot AgentStop AgentChanges SchedulerCrash SchedulerStop
    AgentFreeze SchedulerFreeze LinkBreak Cut CutOneWay CutLong CutAll CutHalf WallJump SlowDisk DiskLow DiskFull
}
/// What is not a variant of anything.
const OTHERS: &[&str] = &[
    "net.refused",
    "net.dialled into a cut",
    "net.letter lost",
    "net.loss",
    "net.delay",
    "net.repeat",
    "disk.batch lost",
    "disk.batch kept and not spoken",
    "disk.fenced",
    "disk.agent's records lost",
    "disk.scheduler's records lost",
    "disk.write refused",
    "disk.held and let out",
    "disk.registry full",
    "disk.scheduler's write refused",
    "machine.launch failed",
    "machine.set up without its agent",
    "machine.ended without its agent",
    "machine.stuck",
    "master.thaws with a tick before all that waits",
    "agent thaws",
    "scheduler thaws",
    "skew.passed over",
    "a letter by an old connection",
    "a scheduler dies of its event",
    "an agent follows a newer master",
    "an agent id is refused to a thief",
    "converged with an agent that never came back",
];

const WANTED: &[&[&str]] = &[
    MASTER_EVENTS,
    CALLS,
    LAUNCHES,
    COMMANDS,
    MASTER_EFFECTS,
    CHANGES,
    TO_AGENT,
    TO_SCHEDULER,
    AGENT_STATES,
    FRAMEWORK_STATES,
    AGENT_EVENTS,
    CONDITIONS,
    FROM_MASTER,
    AGENT_EFFECTS,
    RECORDS,
    FROM_AGENT,
    INPUTS,
    HEARD,
    OUTPUTS,
    AUTHOR_EVENTS,
    TOLD,
    FAULTS,
    AGENT_EDGES,
    DRAIN_EDGES,
    FRAMEWORK_EDGES,
    MASTER_TASK_EDGES,
    AGENT_TASK_EDGES,
    OTHERS,
];
