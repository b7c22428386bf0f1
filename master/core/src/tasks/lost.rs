//! Tasks that were lost with an agent, by agent: what is to be looked at when one is back or gone.
//!
//! The tasks themselves stand in their frameworks' records. Without this every registration of an agent would go through
//! all frameworks, and when a whole cluster comes back there is little else that costs as much. All that moves a task
//! into or out of [`Framework::unreachable`] and [`Framework::completed`] is here; `invariants` adds it up again.

use std::sync::Arc;

use bourse_types::{AgentId, FrameworkId, TaskId};
use imbl::{OrdMap, OrdSet};

use crate::frameworks::Framework;
use crate::master::Master;
use crate::tasks::Task;

/// Tasks that were lost with one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Those that are unreachable.
    tasks: OrdSet<(FrameworkId, TaskId)>,
    /// Frameworks that had no room for more of them and keep some with the ended ones, and how many.
    crowded: OrdMap<FrameworkId, usize>,
}

impl Lost {
    fn add(&mut self, task: &Task) {
        self.tasks.insert((task.framework.clone(), task.info.id.clone()));
    }

    fn add_crowded(&mut self, task: &Task) {
        *self.crowded.entry(task.framework.clone()).or_default() += 1;
    }

    fn remove_crowded(&mut self, task: &Task) {
        let left = self.crowded.get(&task.framework).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => _ = self.crowded.remove(&task.framework),
            left => _ = self.crowded.insert(task.framework.clone(), left),
        }
    }
}

impl Master {
    /// Tasks that are unreachable together with this agent, by framework and id.
    pub(crate) fn unreachable_on(&self, agent: &AgentId) -> Vec<(FrameworkId, TaskId)> {
        self.lost.get(agent).into_iter().flat_map(|lost| lost.tasks.iter().cloned()).collect()
    }

    /// Frameworks that keep tasks which were lost with this agent among those that ended, by id.
    pub(crate) fn crowded_on(&self, agent: &AgentId) -> Vec<FrameworkId> {
        self.lost.get(agent).into_iter().flat_map(|lost| lost.crowded.keys().cloned()).collect()
    }

    /// The task joins those of its framework that are unreachable. Beyond the maximum the one that has been so for longest
    /// joins those that ended.
    pub(crate) fn put_unreachable(&mut self, task: Arc<Task>) {
        self.change_lost(&task.agent, |lost| lost.add(&task));
        let id = task.framework.clone();
        let max = self.config.unreachable_tasks_max;
        let unreachable = &mut self.framework_mut(&id).unreachable;
        unreachable.put(task.info.id.clone(), task);
        if unreachable.len() <= max {
            return;
        }
        let oldest = unreachable.values().min_by_key(|task| (task.changed, task.info.id.clone()));
        let oldest = oldest.expect("there are more than the maximum").info.id.clone();
        let forgotten = self.take_unreachable(&id, &oldest).expect("it was just found");
        self.keep_ended(forgotten);
    }

    /// The task is not unreachable any more. `None` when it was not.
    pub(crate) fn take_unreachable(&mut self, framework: &FrameworkId, id: &TaskId) -> Option<Arc<Task>> {
        let task = self.framework_mut(framework).unreachable.remove(id)?;
        self.change_lost(&task.agent, |lost| _ = lost.tasks.remove(&(framework.clone(), id.clone())));
        Some(task)
    }

    /// The task joins those of its framework that ended, of which the oldest make room.
    pub(crate) fn keep_ended(&mut self, task: Arc<Task>) {
        if !task.state.is_terminal() {
            self.change_lost(&task.agent, |lost| lost.add_crowded(&task));
        }
        let id = task.framework.clone();
        let max = self.config.completed_tasks_max;
        self.framework_mut(&id).completed.push(task);
        while let Some(oldest) = self.framework_mut(&id).completed.pop_beyond(max) {
            self.forget_ended(&oldest);
        }
    }

    /// Takes a task that left the table with its agent when it had ended and nobody had acknowledged that: what was told
    /// of it holds.
    pub(crate) fn take_untold(
        &mut self,
        framework: &FrameworkId,
        id: &TaskId,
        agent: &AgentId,
    ) -> Option<Arc<Task>> {
        let task = self.framework_mut(framework).completed.take_unsettled(id, agent)?;
        self.forget_ended(&task);
        Some(task)
    }

    /// Takes those that were lost with this agent from the framework's ended tasks.
    pub(crate) fn take_crowded(&mut self, framework: &FrameworkId, agent: &AgentId) -> Vec<Arc<Task>> {
        let tasks = self.framework_mut(framework).completed.take_lost(agent);
        tasks.iter().for_each(|task| self.forget_ended(task));
        tasks
    }

    /// The framework is no more: nobody waits for what it keeps.
    pub(crate) fn forget_all_ended(&mut self, framework: &Framework) {
        framework.completed.iter().for_each(|task| self.forget_ended(task));
    }

    /// The task has left those that ended.
    fn forget_ended(&mut self, task: &Task) {
        if !task.state.is_terminal() {
            self.change_lost(&task.agent, |lost| lost.remove_crowded(task));
        }
    }

    /// Agents that nothing was lost with have no entry.
    fn change_lost(&mut self, agent: &AgentId, change: impl FnOnce(&mut Lost)) {
        let mut lost = self.lost.remove(agent).unwrap_or_default();
        change(&mut lost);
        if !(lost.tasks.is_empty() && lost.crowded.is_empty()) {
            self.lost.insert(agent.clone(), lost);
        }
    }

    /// The same, added up from the frameworks' records.
    pub(crate) fn lost_by_frameworks(&self) -> OrdMap<AgentId, Lost> {
        let mut all: OrdMap<AgentId, Lost> = OrdMap::new();
        for framework in self.frameworks.values() {
            for task in framework.unreachable.values() {
                all.entry(task.agent.clone()).or_default().add(task);
            }
            for task in framework.completed.iter().filter(|task| !task.state.is_terminal()) {
                all.entry(task.agent.clone()).or_default().add_crowded(task);
            }
        }
        all
    }
}
