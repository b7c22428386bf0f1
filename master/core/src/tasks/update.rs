//! Updates on their way from an agent to a scheduler, and acknowledgements on their way back.
//!
//! The agent keeps an update until it is acknowledged, sends it again until then, and has one of each task on its way
//! at a time: so a scheduler hears every update at least once and in order. The master only forwards; it keeps the
//! update on its way so that a scheduler that comes back hears it at once.

use bourse_types::{AgentId, FrameworkId, Now, TaskId, TaskState, TaskStatus};

use crate::effect::{Effect, Effects, ToAgent};
use crate::event::{LinkId, StatusUpdate};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::tasks::{DRAINING, Task};

impl Master {
    /// A task of this agent has a new state, or an update was sent again. By an older link: dropped.
    ///
    /// One for a task that is not in the table (ended and acknowledged, or of a framework that was torn down) is
    /// acknowledged in the framework's place. Resources are free as soon as the newest state is terminal, whatever is
    /// still on its way.
    pub(crate) fn on_status_update(
        &mut self,
        now: Now,
        agent: &AgentId,
        link: LinkId,
        update: StatusUpdate,
        out: &mut Effects,
    ) {
        if !self.is_current(agent, link) {
            return;
        }
        let StatusUpdate { framework, status, latest } = update;
        let id = status.task_id.clone();
        if self.task(&framework, &id).is_none_or(|task| task.agent != *agent) {
            return self.acknowledge_forgotten(agent, &framework, &status, out);
        }
        self.move_task(now, &framework, &id, &latest, out);
        let statuses_max = self.config.statuses_max;
        let task = self.task_mut(&framework, &id);
        if status.uuid.is_some() && status.uuid == task.acknowledged {
            // The acknowledgement was lost with an earlier link.
            return self.acknowledge_forgotten(agent, &framework, &status, out);
        }
        let status = self.worded(&framework, status);
        let task = self.task_mut(&framework, &id);
        task.remember(&status, statuses_max);
        match status.uuid {
            Some(_) => {
                task.pending = Some(status.clone());
                self.tell_status(&framework, status, out);
            }
            // Nobody will acknowledge it: it is told once, and that was that.
            None => {
                let ended = status.state.is_terminal();
                self.tell_status(&framework, status, out);
                if ended {
                    self.complete_task(&framework, &id);
                }
            }
        }
    }

    fn acknowledge_forgotten(
        &self,
        agent: &AgentId,
        framework: &FrameworkId,
        status: &TaskStatus,
        out: &mut Effects,
    ) {
        if let Some(uuid) = status.uuid {
            let (framework, task) = (framework.clone(), status.task_id.clone());
            self.command(agent, ToAgent::Acknowledge { framework, task, uuid }, out);
        }
    }

    /// The task is in the newest state that its agent knows. Stale reports change nothing.
    pub(crate) fn move_task(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        id: &TaskId,
        latest: &TaskStatus,
        out: &mut Effects,
    ) {
        let task = self.task_mut(framework, id);
        let Some(next) = task.state.step(latest.state) else { return };
        if next != task.state {
            task.state = next;
            task.changed = now.wall;
            out.push(Effect::Record(moved(task, latest)));
        }
        if next.is_terminal() {
            self.free_task(framework, id);
        }
    }

    /// In the scheduler's words, decided when the update comes for the first time: it says the same when it is sent
    /// again, whatever has become of the drain meanwhile. What a drain that ends in `gone` killed is gone by an operator.
    ///
    /// A task ends once. An agent whose machine lost power may not know the end that it told, and tell another: the
    /// first stays, under the new update's uuid.
    pub(crate) fn worded(&self, framework: &FrameworkId, mut status: TaskStatus) -> TaskStatus {
        let Some(task) = self.task(framework, &status.task_id) else { return status };
        if let Some(told) = task.statuses.iter().find(|told| told.uuid.is_some() && told.uuid == status.uuid)
        {
            return told.clone();
        }
        if !status.state.is_terminal() {
            return status;
        }
        if let Some(told) = task.statuses.iter().find(|told| told.state.is_terminal()) {
            return TaskStatus { uuid: status.uuid, ..told.clone() };
        }
        if task.state.is_terminal() {
            status.state = task.state;
        }
        let by_drain = status.reason == DRAINING.reason && self.drains_to_gone(&task.agent);
        if by_drain && status.state == TaskState::Killed {
            status.state = TaskState::GoneByOperator;
        }
        status
    }

    /// A scheduler that is back hears what was on its way when it went.
    pub(crate) fn repeat_pending_updates(&mut self, framework: &FrameworkId, out: &mut Effects) {
        let record = self.frameworks.get(framework).expect("it has just subscribed");
        let pending: Vec<TaskStatus> =
            record.tasks.values().filter_map(|task| task.pending.clone()).collect();
        for status in pending {
            self.tell_status(framework, status, out);
        }
    }

    /// A scheduler has an update. Forwarded to the agent; one for a task that is not in the table is dropped, and so is
    /// one that names another agent. With the acknowledgement of its end a task leaves the table.
    pub(crate) fn on_acknowledge(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        id: &TaskId,
        uuid: [u8; 16],
        out: &mut Effects,
    ) {
        if self.task(framework, id).is_none_or(|task| task.agent != *agent) {
            return;
        }
        self.command(
            agent,
            ToAgent::Acknowledge { framework: framework.clone(), task: id.clone(), uuid },
            out,
        );
        let task = self.task_mut(framework, id);
        // After a restart of the master the scheduler may acknowledge what an earlier master told it.
        let named = |status: &&TaskStatus| status.uuid == Some(uuid);
        let ended = task
            .statuses
            .iter()
            .chain(&task.pending)
            .find(named)
            .is_some_and(|status| status.state.is_terminal());
        if task.pending.as_ref().is_some_and(|status| status.uuid == Some(uuid)) {
            task.pending = None;
        }
        task.acknowledged = Some(uuid);
        if ended {
            self.complete_task(framework, id);
        }
    }
}

fn moved(task: &Task, latest: &TaskStatus) -> Entry {
    let why = latest.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let summary = format!("task {} is {} on agent {}{why}", task.info.id, latest.state, task.agent);
    let mut entry =
        Entry::new(Kind::Task, summary).framework(&task.framework).task(&task.info.id).agent(&task.agent);
    entry.reason = latest.reason.map(|reason| reason.to_string());
    entry
}
