//! Tasks: the record, and the ways by which one leaves the table of what is alive.
//!
//! A task is in exactly one place of its framework: `tasks` while it is alive or its end is not acknowledged,
//! `unreachable` while its agent does not answer, `completed` when it has ended. It holds resources of its agent
//! while it stands in `tasks` and has not ended.

mod adopt;
mod ended;
mod kill;
mod launch;
mod lost;
mod reconcile;
mod resize;
mod update;

use std::sync::Arc;

use bourse_types::{
    AgentId, FrameworkId, KillPolicy, Now, Reason, Role, Size, Source, TaskId, TaskState, TaskStatus, Wall,
};

use crate::effect::{Effect, Effects};
use crate::event::TaskInfo;
use crate::history::{Entry, Kind};
use crate::master::Master;

pub(crate) use adopt::GivenUp;
pub use ended::Ended;
pub(crate) use kill::DRAINING;
pub use launch::BadTask;
pub(crate) use launch::Place;
pub(crate) use lost::Lost;
pub use resize::BadResize;
pub(crate) use resize::sum_held;

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What it is.
    pub info: TaskInfo,
    /// Whose it is.
    pub framework: FrameworkId,
    /// The role that its resources count for.
    pub role: Role,
    /// Where it runs.
    pub agent: AgentId,
    /// The newest state that is known, told to its framework or not.
    pub state: TaskState,
    /// Its last statuses, oldest first.
    pub statuses: Vec<TaskStatus>,
    /// When it was launched, or told by its agent for the first time.
    pub launched: Wall,
    /// When its state changed last.
    pub changed: Wall,
    /// Whether it holds its resources.
    pub holds: bool,
    /// Whether it has been resized since its launch.
    pub resized: bool,
    /// The size that it is being given: said again to its agent whenever that comes back, until it answers.
    pub resize: Option<Size>,
    /// The update that its framework has not acknowledged.
    pub pending: Option<TaskStatus>,
    /// The last update that its framework acknowledged.
    pub acknowledged: Option<[u8; 16]>,
    /// It is to be killed: said again to its agent whenever that comes back.
    pub kill: Option<KillOrder>,
}

/// Why and how a task is to be killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillOrder {
    /// In the place of the task's own policy.
    pub policy: Option<KillPolicy>,
    /// Why, when it was not its framework.
    pub reason: Option<Reason>,
}

/// What becomes of tasks that the master takes off an agent on its own.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub state: TaskState,
    pub reason: Reason,
    pub message: String,
    /// Since when the agent does not answer.
    pub since: Option<Wall>,
}

impl Fate {
    /// As the master tells it: without uuid, so that nobody acknowledges it.
    fn status(&self, task: &Task, at: Wall) -> TaskStatus {
        TaskStatus {
            agent_id: Some(task.agent.clone()),
            reason: Some(self.reason),
            message: Some(self.message.clone()),
            unreachable_since: self.since,
            ..TaskStatus::new(task.info.id.clone(), self.state, Source::Master, at)
        }
    }
}

impl Task {
    /// The last status, if any was heard.
    pub fn latest(&self) -> Option<&TaskStatus> {
        self.statuses.last()
    }

    /// Whether its end is known to its framework for certain: acknowledged, or told by somebody who waits for no
    /// acknowledgement.
    pub(crate) fn is_settled(&self) -> bool {
        let settled = |status: &TaskStatus| status.uuid.is_none() || status.uuid == self.acknowledged;
        self.statuses.iter().any(|status| status.state.is_terminal() && settled(status))
    }

    /// Remembers a status; one that was remembered already, by its uuid, is not remembered twice.
    pub(crate) fn remember(&mut self, status: &TaskStatus, max: usize) {
        if status.uuid.is_some() && self.statuses.iter().any(|known| known.uuid == status.uuid) {
            return;
        }
        self.statuses.push(status.clone());
        if self.statuses.len() > max {
            self.statuses.remove(0);
        }
    }
}

impl Master {
    /// A task that is alive or whose end is not acknowledged.
    pub(crate) fn task(&self, framework: &FrameworkId, task: &TaskId) -> Option<&Task> {
        self.frameworks.get(framework)?.tasks.get(task)
    }

    pub(crate) fn task_mut(&mut self, framework: &FrameworkId, task: &TaskId) -> &mut Task {
        let framework = self.framework_mut(framework);
        framework.tasks.get_mut(task).expect("the caller has just found this task in the table")
    }

    /// The task holds no resources any more. A repeat changes nothing.
    pub(crate) fn free_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        let record = self.task_mut(framework, task);
        if std::mem::replace(&mut record.holds, false) {
            let (agent, role, held) = (record.agent.clone(), record.role.clone(), record.held().into_owned());
            record.resize = None;
            self.release_allocated(&agent, framework, &role, &held);
        }
    }

    /// Takes the record of a task out of the table, together with what it holds.
    pub(crate) fn remove_task(&mut self, framework: &FrameworkId, task: &TaskId) -> Arc<Task> {
        self.free_task(framework, task);
        let record = self.framework_mut(framework).tasks.remove(task).expect("it has just been freed");
        self.agent_mut(&record.agent).tasks.remove(&(framework.clone(), task.clone()));
        self.emptied.insert(record.agent.clone());
        record
    }

    /// A task that has ended, with nothing left to say about it, joins those that are kept for people.
    pub(crate) fn complete_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        let record = self.remove_task(framework, task);
        self.keep_ended(record);
    }

    /// The master itself takes a task off its agent: its framework hears of it, and a later word of the agent may
    /// bring back what was only unreachable. A task that had ended before keeps its end.
    pub(crate) fn take_off_agent(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        task: &TaskId,
        fate: &Fate,
        out: &mut Effects,
    ) {
        if self.task(framework, task).is_none_or(|task| task.state.is_terminal()) {
            if self.task(framework, task).is_some() {
                self.complete_task(framework, task);
            }
            return;
        }
        let record = self.remove_task(framework, task);
        self.meet_fate(now, record, fate, out);
    }

    /// What becomes of a task that was unreachable: its agent will not come back, or its framework has ended.
    pub(crate) fn end_unreachable(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        task: &TaskId,
        fate: &Fate,
        out: &mut Effects,
    ) {
        if let Some(record) = self.take_unreachable(framework, task) {
            self.meet_fate(now, record, fate, out);
        }
    }

    /// The same for all tasks that were unreachable together with this agent, also those that had no room among the
    /// unreachable and are kept with the ended ones.
    pub(crate) fn end_unreachable_on(&mut self, now: Now, agent: &AgentId, fate: &Fate, out: &mut Effects) {
        for (framework, task) in self.unreachable_on(agent) {
            self.end_unreachable(now, &framework, &task, fate, out);
        }
        for id in self.crowded_on(agent) {
            for record in self.take_crowded(&id, agent) {
                // Its id may have been given again since: of that task this says nothing.
                let again = self.frameworks.get(&id).is_some_and(|it| it.knows(&record.info.id));
                if !again {
                    self.meet_fate(now, record, fate, out);
                }
            }
        }
    }

    fn meet_fate(&mut self, now: Now, mut record: Arc<Task>, fate: &Fate, out: &mut Effects) {
        let status = fate.status(&record, now.wall);
        let statuses_max = self.config.statuses_max;
        let id = record.info.id.clone();
        let task = Arc::make_mut(&mut record);
        task.state = fate.state;
        task.changed = now.wall;
        task.pending = None;
        task.remember(&status, statuses_max);
        let summary = format!("task {id} is {}: {}", fate.state, fate.message);
        let entry =
            Entry::new(Kind::Task, summary).framework(&record.framework).task(&id).agent(&record.agent);
        let framework_id = record.framework.clone();
        match fate.state.is_terminal() {
            true => self.keep_ended(record),
            false => self.put_unreachable(record),
        }
        // A framework that is torn down has nobody to tell.
        if fate.reason != Reason::FrameworkRemoved {
            self.tell_status(&framework_id, status, out);
        }
        out.push(Effect::Record(entry.reason(fate.reason)));
    }
}
