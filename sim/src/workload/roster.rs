//! The tasks of one author, kept so that the next life of its process knows them.

use std::collections::BTreeMap;

use bourse_sdk_core::{Calls, Placed};
use bourse_types::{AgentId, TaskId, TaskState, TaskStatus};
use bytes::Bytes;

use super::is_over;

/// A task that may be alive.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where it is.
    pub agent: AgentId,
    /// What it is for.
    pub purpose: String,
    /// What was told of it last in this life.
    pub state: Option<TaskState>,
}

/// All tasks that may be alive.
#[derive(Clone, Debug, Default)]
pub struct Roster(BTreeMap<TaskId, Member>);

impl Roster {
    /// As the driver kept it.
    pub fn remember(memory: &BTreeMap<String, Bytes>) -> Roster {
        let tasks = memory.iter().filter_map(|(key, value)| {
            let task = TaskId::new(key.strip_prefix("task/")?).ok()?;
            let text = std::str::from_utf8(value).ok()?;
            let (agent, purpose) = text.split_once(' ')?;
            let agent = AgentId::new(agent).ok()?;
            Some((task, Member { agent, purpose: purpose.to_owned(), state: None }))
        });
        Roster(tasks.collect())
    }

    /// A task is being launched. Durable before the launch leaves.
    pub fn launched(&mut self, placed: &Placed, purpose: &str, calls: &mut Calls) {
        let value = format!("{} {purpose}", placed.agent);
        calls.save(format!("task/{}", placed.task), value.into_bytes());
        let member = Member {
            agent: placed.agent.clone(),
            purpose: purpose.to_owned(),
            state: Some(TaskState::Staging),
        };
        self.0.insert(placed.task.clone(), member);
    }

    /// Takes a status over. Answers with a member whose task is over: it is none any more.
    pub fn heard(&mut self, status: &TaskStatus, calls: &mut Calls) -> Option<Member> {
        let task = &status.task_id;
        if is_over(status.state) {
            calls.forget(format!("task/{task}"));
            return self.0.remove(task);
        }
        match self.0.get_mut(task) {
            Some(member) => member.state = Some(status.state),
            // Nobody's: it was over, and turns up again.
            None => calls.kill(task),
        }
        None
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskId, &Member)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
