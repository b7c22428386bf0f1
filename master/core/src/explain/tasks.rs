//! Why a task is in its state.

use std::collections::BTreeMap;

use bourse_types::TaskState;

use crate::agents::AgentState;
use crate::explain::Explanation;
use crate::tasks::Task;
use crate::view::View;

impl View {
    pub(super) fn explain_task(&self, task: &Task) -> Explanation {
        let (summary, nearest_fix) = self.story_of(task);
        Explanation {
            kind: "task",
            id: task.info.id.to_string(),
            summary,
            nearest_fix,
            agents: Vec::new(),
            agents_total: 0,
            others: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    fn story_of(&self, task: &Task) -> (String, Option<String>) {
        let (id, agent, state) = (&task.info.id, &task.agent, task.state);
        let base = format!("task {id} has been {state} on agent {agent} since {}", task.changed);
        let link = self.agent(agent).map(|agent| agent.state);
        let away = match link {
            Some(AgentState::Active { .. }) | None => None,
            Some(other) => Some(format!("; its agent is {}", other.as_str())),
        };
        let back = || Some(format!("bring agent {agent} back"));
        match state {
            TaskState::Unreachable => {
                (format!("{base}: the agent does not answer, and the task may still run there"), back())
            }
            TaskState::Staging if away.is_none() => {
                let waits = format!("{base}: it was sent, and the agent has not said that it starts");
                (waits, Some(format!("look at the log of agent {agent}")))
            }
            TaskState::Staging
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unknown => {
                let killed = match &task.kill {
                    Some(order) => match order.reason {
                        Some(reason) => format!("; it was told to end ({reason})"),
                        None => "; it was told to end".to_owned(),
                    },
                    None => String::new(),
                };
                let fix = away.as_ref().and_then(|_| back());
                (format!("{base}{killed}{}{}", away.unwrap_or_default(), why(task)), fix)
            }
            TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Error
            | TaskState::Lost
            | TaskState::Dropped
            | TaskState::Gone
            | TaskState::GoneByOperator => (
                format!("task {id} ended on agent {agent} as {state} at {}{}", task.changed, why(task)),
                None,
            ),
        }
    }
}

/// What the last status says: exit, reason, message.
fn why(task: &Task) -> String {
    let Some(status) = task.latest() else { return String::new() };
    let mut parts = Vec::new();
    let message = status.message.clone().filter(|message| !message.is_empty());
    // Agents of ours begin the message with it.
    let exit = status.exit.map(|exit| exit.to_string());
    parts.extend(exit.filter(|exit| message.as_ref().is_none_or(|message| !message.contains(exit.as_str()))));
    parts.extend(message);
    parts.extend(status.reason.map(|reason| format!("({reason})")));
    if parts.is_empty() { String::new() } else { format!("; {}", parts.join(" ")) }
}
