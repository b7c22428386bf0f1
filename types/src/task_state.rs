//! The states of a task, and the one function that says how they follow each other.
//!
//! Master, agent and SDK all move a task by [`TaskState::step`], so that they cannot disagree on what a late,
//! repeated or impossible report does. Freeing resources, telling frameworks and retrying are left to the
//! cores.

use std::fmt;
use std::str::FromStr;

use crate::reason::names;
use TaskState::*;

names! {
    /// Where a task is in its life.
    TaskState, "task state":
    /// Accepted; on its way to the agent, or being prepared there.
    Staging = "TASK_STAGING",
    /// Its executor has it and is starting it.
    Starting = "TASK_STARTING",
    /// It runs.
    Running = "TASK_RUNNING",
    /// It was told to end and has not ended yet. Told to frameworks with TASK_KILLING_STATE only.
    Killing = "TASK_KILLING",
    /// It ended by itself with success.
    Finished = "TASK_FINISHED",
    /// It ended by itself without success, or went over a limit.
    Failed = "TASK_FAILED",
    /// It was told to end, and ended.
    Killed = "TASK_KILLED",
    /// It broke a rule and was never started.
    Error = "TASK_ERROR",
    /// It is gone or out of reach: all that a framework which is not partition aware is told.
    Lost = "TASK_LOST",
    /// It was never started, and not for a fault of its own; launching it again may work.
    Dropped = "TASK_DROPPED",
    /// Its agent does not answer. It may still run, and may come back.
    Unreachable = "TASK_UNREACHABLE",
    /// It ran on an agent that is back or gone, and does not run there any more.
    Gone = "TASK_GONE",
    /// An operator said that its agent will never come back.
    GoneByOperator = "TASK_GONE_BY_OPERATOR",
    /// The master knows neither the task nor its agent. An answer to a question, never a state that a task is
    /// in.
    Unknown = "TASK_UNKNOWN",
}

impl TaskState {
    /// Whether the task's story is over: its resources are free, and no other state follows.
    ///
    /// `Unreachable` and `Unknown` are not terminal: the task may run and report again. An unreachable task's
    /// resources have left the pool together with its agent.
    pub const fn is_terminal(self) -> bool {
        match self {
            Staging | Starting | Running | Killing | Unreachable | Unknown => false,
            Finished | Failed | Killed | Error | Lost | Dropped | Gone | GoneByOperator => true,
        }
    }

    /// The whole life of a task, in one place: what a task in this state is in after such a report. `None`:
    /// the report is stale or wrong, and changes nothing.
    ///
    /// - A task moves forward only: staging, starting, running, killing, end. Any step may be skipped.
    /// - A report of the state it is in already is news and not a move (its health, a message), except for
    ///   `Staging`, which nobody reports twice for a reason. Telling a repeat of one and the same update
    ///   apart is the business of the update's uuid.
    /// - An unreachable task is in whatever state its agent says once it is back.
    /// - `Unknown` as a present state is a framework's: it asked and nobody knew; whatever it hears then
    ///   counts. As a report it never changes what is known.
    /// - Nothing follows a terminal state. A framework that is not partition aware hears `Lost` for what is
    ///   `Unreachable` here ([`TaskState::told_to`]), which is how its lost task can come back.
    pub fn step(self, reported: TaskState) -> Option<TaskState> {
        match (self, reported) {
            (_, Unknown) => None,
            (Staging, Starting | Running | Killing | Unreachable) => Some(reported),
            (Starting, Starting | Running | Killing | Unreachable) => Some(reported),
            (Running, Running | Killing | Unreachable) => Some(reported),
            (Killing, Killing | Unreachable) => Some(reported),
            (Unreachable, Staging | Starting | Running | Killing) => Some(reported),
            (
                Unknown,
                Staging | Starting | Running | Killing | Finished | Failed | Killed | Error | Lost | Dropped
                | Unreachable | Gone | GoneByOperator,
            ) => Some(reported),
            (
                Staging | Starting | Running | Killing | Unreachable,
                Finished | Failed | Killed | Error | Lost | Dropped | Gone | GoneByOperator,
            ) => Some(reported),
            // Backwards, or a repeat that carries no news.
            (Staging, Staging)
            | (Starting, Staging)
            | (Running, Staging | Starting)
            | (Killing, Staging | Starting | Running)
            | (Unreachable, Unreachable) => None,
            // The end.
            (Finished | Failed | Killed | Error | Lost | Dropped | Gone | GoneByOperator, _) => None,
        }
    }

    /// What a framework is told of this state: one that is not partition aware hears `Lost` for the states
    /// that came with partition awareness.
    pub const fn told_to(self, partition_aware: bool) -> TaskState {
        match self {
            Dropped | Unreachable | Gone | GoneByOperator | Unknown if !partition_aware => Lost,
            Staging | Starting | Running | Killing | Finished | Failed | Killed | Error | Lost | Dropped
            | Unreachable | Gone | GoneByOperator | Unknown => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn every_state_is_read_back_from_its_own_name() {
        assert_eq!(TaskState::ALL.len(), 14);
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert_eq!(
            "RUNNING".parse::<TaskState>().expect_err("no prefix").to_string(),
            r#""RUNNING" is not a task state; write one such as TASK_STAGING"#
        );
    }

    #[test]
    fn nothing_follows_a_terminal_state() {
        for end in TaskState::ALL.iter().filter(|state| state.is_terminal()) {
            for reported in TaskState::ALL {
                assert_eq!(end.step(*reported), None, "{end} then {reported}");
            }
        }
    }

    #[test]
    fn a_report_is_taken_as_it_is_or_dropped() {
        for from in TaskState::ALL {
            for reported in TaskState::ALL {
                assert!(matches!(from.step(*reported), None | Some(_)));
                if let Some(next) = from.step(*reported) {
                    assert_eq!(next, *reported);
                }
            }
        }
    }

    #[test]
    fn every_state_that_is_not_terminal_can_end_in_every_terminal_state() {
        for from in TaskState::ALL.iter().filter(|state| !state.is_terminal()) {
            for end in TaskState::ALL.iter().filter(|state| state.is_terminal()) {
                assert_eq!(from.step(*end), Some(*end), "{from} then {end}");
            }
        }
    }

    #[test]
    fn a_task_on_a_reachable_agent_never_goes_backwards() {
        let order = [Staging, Starting, Running, Killing];
        for (i, from) in order.iter().enumerate() {
            for earlier in &order[..i] {
                assert_eq!(from.step(*earlier), None, "{from} then {earlier}");
            }
            for later in &order[i + 1..] {
                assert_eq!(from.step(*later), Some(*later), "{from} then {later}");
            }
        }
    }

    #[test]
    fn the_whole_table_of_steps_between_states_that_are_not_terminal() {
        let live = [Staging, Starting, Running, Killing, Unreachable, Unknown];
        let mut table = String::new();
        for from in live {
            let to: Vec<&str> = live.iter().filter_map(|to| from.step(*to)).map(TaskState::as_str).collect();
            table.push_str(&format!("{from}: {}\n", to.join(" ")));
        }
        expect![[r#"
            TASK_STAGING: TASK_STARTING TASK_RUNNING TASK_KILLING TASK_UNREACHABLE
            TASK_STARTING: TASK_STARTING TASK_RUNNING TASK_KILLING TASK_UNREACHABLE
            TASK_RUNNING: TASK_RUNNING TASK_KILLING TASK_UNREACHABLE
            TASK_KILLING: TASK_KILLING TASK_UNREACHABLE
            TASK_UNREACHABLE: TASK_STAGING TASK_STARTING TASK_RUNNING TASK_KILLING
            TASK_UNKNOWN: TASK_STAGING TASK_STARTING TASK_RUNNING TASK_KILLING TASK_UNREACHABLE
        "#]]
        .assert_eq(&table);
    }

    #[test]
    fn a_framework_that_is_not_partition_aware_hears_lost_instead_of_the_newer_states() {
        let newer = [Dropped, Unreachable, Gone, GoneByOperator, Unknown];
        for state in TaskState::ALL {
            assert_eq!(state.told_to(true), *state);
            assert_eq!(state.told_to(false), if newer.contains(state) { Lost } else { *state });
        }
    }
}
