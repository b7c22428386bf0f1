//! Calls and outputs as one line each, for logs and for stories in tests.

use std::fmt::{self, Display, Formatter};

use crate::calls::{Call, Resize, Write};
use crate::session::{End, Note, Output};

/// The call's name as in Mesos, and what it is about.
impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Call::Accept { offers, tasks, resizes, refuse } => {
                f.write_str("ACCEPT")?;
                offers.iter().try_for_each(|offer| write!(f, " {offer}"))?;
                for (i, Resize { task, size }) in resizes.iter().enumerate() {
                    write!(f, "{} {task} ({size})", if i == 0 { " resize" } else { "" })?;
                }
                for (i, task) in tasks.iter().enumerate() {
                    write!(f, "{} {} ({})", if i == 0 { " launch" } else { "" }, task.id, task.resources)?;
                }
                write!(f, ", rest not for {refuse:?}")
            }
            Call::Decline { offers, refuse } => write!(f, "DECLINE {} for {refuse:?}", list(offers)),
            Call::Revive { roles } => write!(f, "REVIVE {}", list(roles)),
            Call::Suppress { roles } => write!(f, "SUPPRESS {}", list(roles)),
            Call::Kill { task, agent, policy } => {
                write!(f, "KILL {task}")?;
                if let Some(agent) = agent {
                    write!(f, " on {agent}")?;
                }
                match policy.and_then(|policy| policy.grace) {
                    Some(grace) => write!(f, " with {grace:?} of grace"),
                    None => Ok(()),
                }
            }
            Call::Acknowledge { agent, task, uuid } => {
                write!(f, "ACKNOWLEDGE {task} on {agent} {:02x}", uuid[0])
            }
            Call::Reconcile { tasks } if tasks.is_empty() => f.write_str("RECONCILE everything"),
            Call::Reconcile { tasks } => write!(f, "RECONCILE {}", list(tasks.iter().map(|(task, _)| task))),
            Call::Teardown => f.write_str("TEARDOWN"),
        }
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Output::Subscribe { attempt, info, suppressed } => {
                write!(f, "SUBSCRIBE #{} {}", attempt.0, info.name)?;
                if let Some(id) = &info.id {
                    write!(f, " as {id}")?;
                }
                if !suppressed.is_empty() {
                    write!(f, " without offers for {}", list(suppressed))?;
                }
                Ok(())
            }
            Output::Unsubscribe(attempt) => write!(f, "give up #{}", attempt.0),
            Output::Persist(framework) => write!(f, "persist {framework}"),
            Output::Write(Write::Save { key, value }) => write!(f, "save {key} ({} bytes)", value.len()),
            Output::Write(Write::Forget { key }) => write!(f, "forget {key}"),
            Output::Call(call) => call.fmt(f),
            Output::Note(note) => write!(f, "note: {note}"),
            Output::End(end) => write!(f, "end: {end}"),
        }
    }
}

impl Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Note::Subscribed { framework, again: false } => write!(f, "subscribed as {framework}"),
            Note::Subscribed { framework, again: true } => write!(f, "subscribed again as {framework}"),
            Note::Disconnected { why, retry } => write!(f, "disconnected: {why}; next try in {retry:?}"),
            Note::Reconciled => f.write_str("every task has been accounted for since the subscription"),
            Note::BegunAnew(old) => write!(f, "framework {old} was torn down; beginning anew"),
            Note::LostTaskRuns(task) => write!(f, "task {task}, reported lost, is running; killing it"),
            Note::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            End::Stopped => f.write_str("stopped"),
            End::TornDown => f.write_str("torn down"),
            End::Refused(why) => write!(f, "refused by the master: {why}"),
        }
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}
