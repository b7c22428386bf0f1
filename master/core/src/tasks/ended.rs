//! Tasks of a framework that have ended, as far as they are kept.

use std::sync::Arc;

use bourse_types::{AgentId, TaskId};
use imbl::Vector;

use crate::tasks::Task;

/// Tasks that ended, the newest last; also unreachable ones that had no room among those.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    tasks: Vector<Arc<Task>>,
    /// Of how many the end is not settled: while there are none, nobody needs to look for one.
    unsettled: usize,
}

impl Ended {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// All of them, the newest last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Task>> {
        self.tasks.iter()
    }

    pub(crate) fn push(&mut self, task: Arc<Task>) {
        self.unsettled += usize::from(!task.is_settled());
        self.tasks.push_back(task);
    }

    /// Takes the oldest one, if there are more than so many.
    pub(crate) fn pop_beyond(&mut self, max: usize) -> Option<Arc<Task>> {
        if self.tasks.len() <= max {
            return None;
        }
        let oldest = self.tasks.pop_front()?;
        self.unsettled -= usize::from(!oldest.is_settled());
        Some(oldest)
    }

    /// Takes a task whose end is not settled.
    pub(crate) fn take_unsettled(&mut self, id: &TaskId, agent: &AgentId) -> Option<Arc<Task>> {
        if self.unsettled == 0 {
            return None;
        }
        let wanted = |task: &Arc<Task>| task.info.id == *id && task.agent == *agent && !task.is_settled();
        let at = self.tasks.iter().position(wanted)?;
        self.unsettled -= 1;
        Some(self.tasks.remove(at))
    }

    /// Takes those that did not end but were lost with this agent, the oldest first.
    pub(crate) fn take_lost(&mut self, agent: &AgentId) -> Vec<Arc<Task>> {
        let is_lost = |task: &&Arc<Task>| !task.state.is_terminal() && task.agent == *agent;
        let lost: Vec<Arc<Task>> = self.tasks.iter().filter(is_lost).cloned().collect();
        self.tasks.retain(|task| !is_lost(&task));
        self.unsettled -= lost.iter().filter(|task| !task.is_settled()).count();
        lost
    }

    /// Whether the count is what the tasks say: for the invariants.
    pub(crate) fn is_counted(&self) -> bool {
        self.unsettled == self.tasks.iter().filter(|task| !task.is_settled()).count()
    }
}
