//! What tasks really use, by the agents' newest measurements.
//!
//! Nothing is decided by it and nothing of it is stored: it is joined into what people see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bourse_proto::agent_link as wire;
use bourse_types::{AgentId, FrameworkId, TaskId};

/// A task, by both of its names.
pub type TaskKey = (FrameworkId, TaskId);

/// So many tasks an agent has at most; more than that is not kept of what it tells.
const TASKS_MAX: usize = bourse_master_core::offers::TASKS_PER_AGENT_MAX;

/// The newest measurements. Clones share them. A leaf lock, held for one agent's message or one answer.
#[derive(Clone, Debug, Default)]
pub struct Usages {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// What each agent told last: what it no longer tells about has ended, and what it tells about the tasks of others
    /// counts for nothing of theirs.
    agents: BTreeMap<AgentId, BTreeMap<TaskKey, wire::TaskUsage>>,
    /// Since somebody asked for them last.
    changed: Changed,
}

/// Whose measurements are new.
#[derive(Debug, Default)]
pub struct Changed {
    /// Each was measured.
    pub tasks: BTreeSet<TaskKey>,
    /// Each told what its tasks use, perhaps that there are fewer.
    pub agents: BTreeSet<AgentId>,
}

impl Usages {
    /// An agent measured. Tasks whose names cannot be names are left out.
    pub fn note(&self, agent: &AgentId, usage: &wire::Usage) {
        let told = usage.tasks.iter().take(TASKS_MAX).filter_map(|task| {
            let key = (FrameworkId::new(&task.framework_id).ok()?, TaskId::new(&task.task_id).ok()?);
            Some((key, task.clone()))
        });
        let told: BTreeMap<TaskKey, wire::TaskUsage> = told.collect();
        let mut guard = self.table();
        let table = &mut *guard;
        table.changed.tasks.extend(told.keys().cloned());
        table.changed.agents.insert(agent.clone());
        table.agents.insert(agent.clone(), told);
    }

    /// What a task used, when its agent measured it last.
    pub fn of(&self, agent: &AgentId, framework: &FrameworkId, task: &TaskId) -> Option<wire::TaskUsage> {
        self.table().agents.get(agent)?.get(&(framework.clone(), task.clone())).cloned()
    }

    /// What the tasks of an agent used, all together.
    pub fn of_agent(&self, agent: &AgentId) -> Total {
        let table = self.table();
        let tasks = table.agents.get(agent).into_iter().flat_map(BTreeMap::values);
        tasks.fold(Total::default(), Total::plus)
    }

    /// What the tasks of these agents used, all together.
    pub fn total(&self, counts: impl Fn(&AgentId) -> bool) -> Total {
        let table = self.table();
        let agents = table.agents.iter().filter(|(agent, _)| counts(agent));
        agents.flat_map(|(_, tasks)| tasks.values()).fold(Total::default(), Total::plus)
    }

    /// What was measured since this was called last.
    pub fn take_changed(&self) -> Changed {
        std::mem::take(&mut self.table().changed)
    }

    /// Forgets agents that are no more, and what they told.
    pub fn retain(&self, keep: impl Fn(&AgentId) -> bool) {
        self.table().agents.retain(|agent, _| keep(agent));
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // A measurement more or less: a panic while it was held leaves nothing that would be wrong for long.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sum of measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// Over the last interval.
    pub cpus: f64,
    /// Right now.
    pub memory_bytes: u64,
    /// In sandboxes, as far as they were measured.
    pub disk_bytes: u64,
    /// Right now, as far as it is counted.
    pub swap_bytes: u64,
    /// Processes and threads right now.
    pub pids: u64,
}

impl Total {
    fn plus(self, task: &wire::TaskUsage) -> Total {
        // An agent that tells nonsense must not spoil the sum.
        let cpus = if task.cpus.is_finite() { task.cpus.max(0.0) } else { 0.0 };
        Total {
            cpus: self.cpus + cpus,
            memory_bytes: self.memory_bytes.saturating_add(task.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(task.disk_used_bytes.unwrap_or(0)),
            swap_bytes: self.swap_bytes.saturating_add(task.swap_bytes.unwrap_or(0)),
            pids: self.pids.saturating_add(task.pids.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(tasks: &[(&str, f64, u64)]) -> wire::Usage {
        let task = |(id, cpus, memory): &(&str, f64, u64)| wire::TaskUsage {
            framework_id: "f".to_owned(),
            task_id: (*id).to_owned(),
            cpus: *cpus,
            memory_bytes: *memory,
            disk_used_bytes: Some(100),
            pids: 2,
            ..wire::TaskUsage::default()
        };
        wire::Usage { tasks: tasks.iter().map(task).collect(), ..wire::Usage::default() }
    }

    fn total(cpus: f64, memory_bytes: u64, tasks: u64) -> Total {
        Total { cpus, memory_bytes, disk_bytes: 100 * tasks, swap_bytes: 0, pids: 2 * tasks }
    }

    fn agent(id: &str) -> AgentId {
        AgentId::new(id).expect("valid")
    }

    #[test]
    fn only_the_newest_measurement_of_an_agent_counts() {
        let usages = Usages::default();
        usages.note(&agent("a"), &usage(&[("t1", 0.5, 10), ("t2", 0.25, 5)]));
        usages.note(&agent("b"), &usage(&[("t3", 1.0, 1)]));
        usages.note(&agent("a"), &usage(&[("t2", 0.75, 7)]));
        assert_eq!(usages.total(|_| true), total(1.75, 8, 2));
        assert_eq!(usages.of_agent(&agent("a")), total(0.75, 7, 1));
        assert_eq!(usages.total(|id| id.as_str() == "b"), total(1.0, 1, 1));
        usages.retain(|id| id.as_str() == "a");
        assert_eq!(usages.total(|_| true), total(0.75, 7, 1));
    }

    #[test]
    fn an_agent_whose_tasks_have_all_ended_has_changed_too() {
        let usages = Usages::default();
        usages.note(&agent("a"), &usage(&[("t1", 0.5, 10)]));
        assert_eq!(usages.take_changed().tasks.len(), 1);
        usages.note(&agent("a"), &usage(&[]));
        let changed = usages.take_changed();
        assert!(changed.tasks.is_empty() && changed.agents.contains(&agent("a")), "{changed:?}");
        assert_eq!(usages.of_agent(&agent("a")), Total::default());
        assert!(usages.take_changed().agents.is_empty());
    }

    #[test]
    fn what_an_agent_measured_of_the_task_of_another_is_not_shown_of_it() {
        let usages = Usages::default();
        let (framework, task) = (FrameworkId::new("f").expect("valid"), TaskId::new("t1").expect("valid"));
        let memory = || usages.of(&agent("a"), &framework, &task).map(|usage| usage.memory_bytes);
        usages.note(&agent("a"), &usage(&[("t1", 0.5, 10)]));
        usages.note(&agent("b"), &usage(&[("t1", 64.0, 99)]));
        assert_eq!(memory(), Some(10));
        usages.note(&agent("b"), &usage(&[]));
        assert_eq!(memory(), Some(10));
    }

    #[test]
    fn an_agent_that_tells_nonsense_does_not_spoil_the_sum() {
        let usages = Usages::default();
        usages.note(
            &agent("a"),
            &usage(&[("t1", f64::NAN, u64::MAX), ("t2", -3.0, u64::MAX), ("../t", 1.0, 1)]),
        );
        assert_eq!(usages.total(|_| true), total(0.0, u64::MAX, 2));
    }
}
