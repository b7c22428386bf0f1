//! Where a status comes from, and the stable reason it gives.
//!
//! The names are Mesos' and never change: tools match on them. What each reason means for an operator is
//! written in the documentation, one page a reason.

use std::fmt;
use std::str::FromStr;

/// A name that is not one of the fixed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a {kind}; write one such as {example}")]
pub struct UnknownName {
    /// What was given, cut to 64 characters.
    pub given: String,
    /// What was wanted: `task state`, `reason`, `source`.
    pub kind: &'static str,
    /// A name that is right.
    pub example: &'static str,
}

impl UnknownName {
    pub(crate) fn new(given: &str, kind: &'static str, example: &'static str) -> UnknownName {
        UnknownName { given: crate::ids::shown(given), kind, example }
    }
}

/// Writes an enum of fixed names with its text form in both directions, so that the two cannot differ.
macro_rules! names {
    ($(#[$doc:meta])* $type:ident, $kind:literal: $($(#[$each:meta])* $variant:ident = $name:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$each])* $variant,)*
        }

        impl $type {
            /// All of them, in the order of their declaration.
            pub const ALL: &[$type] = &[$($type::$variant,)*];

            /// The name on the wire, in logs and in metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = crate::reason::UnknownName;
            fn from_str(text: &str) -> Result<$type, crate::reason::UnknownName> {
                match text {
                    $($name => Ok($type::$variant),)*
                    other => Err(crate::reason::UnknownName::new(other, $kind, $type::ALL[0].as_str())),
                }
            }
        }
    };
}
pub(crate) use names;

names! {
    /// Who said it.
    Source, "source":
    /// The master, on its own: such an update has no uuid and is not retried.
    Master = "SOURCE_MASTER",
    /// The agent.
    Agent = "SOURCE_AGENT",
    /// The executor, or the agent in the place of one for a plain command task.
    Executor = "SOURCE_EXECUTOR",
}

names! {
    /// Why a task is in its state, where the state alone does not say it.
    Reason, "reason":
    /// The command's executor failed.
    CommandExecutorFailed = "REASON_COMMAND_EXECUTOR_FAILED",
    /// The container could not be started.
    ContainerLaunchFailed = "REASON_CONTAINER_LAUNCH_FAILED",
    /// The container went over a limit that has no reason of its own.
    ContainerLimitation = "REASON_CONTAINER_LIMITATION",
    /// The container went over its disk.
    ContainerLimitationDisk = "REASON_CONTAINER_LIMITATION_DISK",
    /// The container went over its memory.
    ContainerLimitationMemory = "REASON_CONTAINER_LIMITATION_MEMORY",
    /// The container gave way to another on revocable resources.
    ContainerPreempted = "REASON_CONTAINER_PREEMPTED",
    /// The container's limits could not be changed.
    ContainerUpdateFailed = "REASON_CONTAINER_UPDATE_FAILED",
    /// The task ran longer than its `max_completion_time`.
    MaxCompletionTimeReached = "REASON_MAX_COMPLETION_TIME_REACHED",
    /// The executor did not subscribe in time.
    ExecutorRegistrationTimeout = "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
    /// The executor did not come back after a restart of its agent.
    ExecutorReregistrationTimeout = "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
    /// The executor ended while the task ran.
    ExecutorTerminated = "REASON_EXECUTOR_TERMINATED",
    /// The executor was not subscribed when it was needed.
    ExecutorUnregistered = "REASON_EXECUTOR_UNREGISTERED",
    /// The framework was torn down.
    FrameworkRemoved = "REASON_FRAMEWORK_REMOVED",
    /// The sandbox could not be kept from being collected.
    GcError = "REASON_GC_ERROR",
    /// The framework id is wrong.
    InvalidFrameworkId = "REASON_INVALID_FRAMEWORKID",
    /// An offer in the accept was rescinded, accepted before, or somebody else's.
    InvalidOffers = "REASON_INVALID_OFFERS",
    /// The process that carries the container's input and output ended.
    IoSwitchboardExited = "REASON_IO_SWITCHBOARD_EXITED",
    /// The scheduler had no master to launch through.
    MasterDisconnected = "REASON_MASTER_DISCONNECTED",
    /// The answer to a reconciliation; nothing changed.
    Reconciliation = "REASON_RECONCILIATION",
    /// The agent does not have the resources that the task was launched on.
    ResourcesUnknown = "REASON_RESOURCES_UNKNOWN",
    /// The agent's connection to the master is down.
    AgentDisconnected = "REASON_AGENT_DISCONNECTED",
    /// An operator drains the agent.
    AgentDraining = "REASON_AGENT_DRAINING",
    /// The agent did not answer in time, or was removed.
    AgentRemoved = "REASON_AGENT_REMOVED",
    /// An operator said that the agent will not come back.
    AgentRemovedByOperator = "REASON_AGENT_REMOVED_BY_OPERATOR",
    /// The agent came back and told what it runs.
    AgentReregistered = "REASON_AGENT_REREGISTERED",
    /// The agent restarted and could not keep the task.
    AgentRestarted = "REASON_AGENT_RESTARTED",
    /// The master does not know the agent.
    AgentUnknown = "REASON_AGENT_UNKNOWN",
    /// The kill arrived before the task had started.
    TaskKilledDuringLaunch = "REASON_TASK_KILLED_DURING_LAUNCH",
    /// The result of the task's check changed.
    TaskCheckStatusUpdated = "REASON_TASK_CHECK_STATUS_UPDATED",
    /// The task's health changed, or it is unhealthy once more.
    TaskHealthCheckStatusUpdated = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED",
    /// The task group breaks a rule.
    TaskGroupInvalid = "REASON_TASK_GROUP_INVALID",
    /// The framework may not run such a task group.
    TaskGroupUnauthorized = "REASON_TASK_GROUP_UNAUTHORIZED",
    /// The task breaks a rule.
    TaskInvalid = "REASON_TASK_INVALID",
    /// The framework may not run such a task.
    TaskUnauthorized = "REASON_TASK_UNAUTHORIZED",
    /// Nobody knows such a task.
    TaskUnknown = "REASON_TASK_UNKNOWN",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_and_source_is_read_back_from_its_own_name() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
            assert!(reason.as_str().starts_with("REASON_"), "{reason}");
        }
        for source in Source::ALL {
            assert_eq!(source.as_str().parse(), Ok(*source));
        }
    }

    #[test]
    fn there_are_as_many_reasons_as_mesos_v1_has_and_no_two_share_a_name() {
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), 35);
        assert_eq!(Reason::ALL.len(), 35);
    }

    #[test]
    fn an_unknown_name_is_refused_with_an_example() {
        assert_eq!(
            "SOURCE_SLAVE".parse::<Source>().expect_err("not v1").to_string(),
            r#""SOURCE_SLAVE" is not a source; write one such as SOURCE_MASTER"#
        );
    }
}
