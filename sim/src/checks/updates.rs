//! What authors are told of their tasks: in the order of the task's life, each update once, one end, and nothing again
//! after its acknowledgement has reached the agent.

use std::collections::{BTreeMap, BTreeSet};

use bourse_agent_core::TaskKey;
use bourse_types::{Reason, TaskId, TaskState, TaskStatus};

type Uuid = [u8; 16];

/// Every update that was ever made, and told.
#[derive(Debug, Default)]
pub struct Updates {
    /// By its uuid, which one of its task an update is.
    made: BTreeMap<Uuid, u64>,
    count: BTreeMap<TaskKey, u64>,
    acknowledged: BTreeSet<Uuid>,
    /// By task, the end that a master told as an agent's own word, and which incarnation it was.
    ends: BTreeMap<TaskKey, (u64, TaskState)>,
    /// By scheduler and task, the newest update that its author was told.
    newest: BTreeMap<(usize, TaskId), u64>,
    shown: BTreeSet<(usize, u64, Uuid)>,
    over: BTreeMap<(usize, TaskId), (u64, TaskState)>,
}

impl Updates {
    /// An agent made an update.
    pub fn made(&mut self, task: &TaskKey, status: &TaskStatus) {
        let count = self.count.entry(task.clone()).or_default();
        *count += 1;
        if let Some(uuid) = status.uuid {
            self.made.insert(uuid, *count);
        }
    }

    /// The agent knows that it was acknowledged.
    pub fn acknowledged(&mut self, uuid: &Uuid) {
        self.acknowledged.insert(*uuid);
    }

    /// The master tells a scheduler.
    ///
    /// Another incarnation of the master, which does not know the first end, may tell another one in three cases: the
    /// agent's machine has lost what the agent knew (`lost`); the agent has forgotten a task whose end was acknowledged,
    /// is asked for it, and answers that it has no such task; or the drain that makes of killed gone has been ended.
    pub fn told(
        &mut self,
        life: u64,
        task: TaskKey,
        status: &TaskStatus,
        lost: bool,
        found: &mut Vec<String>,
    ) {
        if status.uuid.is_none() || !status.state.is_terminal() {
            return;
        }
        let excused = lost || matches!(status.reason, Some(Reason::Reconciliation | Reason::AgentDraining));
        match self.ends.get(&task) {
            Some((then, state)) if *state != status.state && !(excused && *then != life) => {
                found.push(format!("{task} is told as {state} and then as {}", status.state));
            }
            Some(_) => {}
            None => _ = self.ends.insert(task, (life, status.state)),
        }
    }

    /// An author's code was told. `lost`: the machine has lost what its agent knew, acknowledgements and newer updates
    /// too, and may tell again what it told before.
    pub fn shown(
        &mut self,
        scheduler: usize,
        life: u64,
        status: &TaskStatus,
        lost: bool,
        found: &mut Vec<String>,
    ) {
        let task = &status.task_id;
        let key = (scheduler, task.clone());
        if let Some((then, state)) = self.over.get(&key)
            && *then == life
        {
            found.push(format!("task {task} is shown as {} after its end as {state}", status.state));
        }
        if status.state.is_terminal() {
            self.over.insert(key.clone(), (life, status.state));
        }
        let Some(uuid) = status.uuid else { return };
        if !self.shown.insert((scheduler, life, uuid)) {
            found.push(format!("an update of task {task} is shown twice"));
        }
        if self.acknowledged.contains(&uuid) && !lost {
            found.push(format!("an update of task {task} is shown after it was acknowledged"));
        }
        // Answers about tasks that an agent does not have are not in its books.
        let Some(number) = self.made.get(&uuid).copied() else { return };
        let newest = self.newest.get(&key).copied().unwrap_or_default();
        if number < newest && !lost {
            found.push(format!("update {number} of task {task} is shown after update {newest}"));
        }
        self.newest.insert(key, number.max(newest));
    }
}
