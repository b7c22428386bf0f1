//! How agents, drains, frameworks and tasks go from one place of their lives to another: by the tables of each master and
//! each agent after every event. This checker looks at what a core believes, as a life is nothing else; by which ways lives
//! may go is known apart from the cores ([`crate::lifecycle`]).

use std::collections::BTreeMap;
use std::fmt;

use bourse_agent_core::{State, TaskKey};
use bourse_master_core::{Framework, View};
use bourse_types::{AgentId, FrameworkId, TaskId, TaskState};

use crate::coverage::Coverage;
use crate::lifecycle::{
    AgentPlace, DrainPlace, FrameworkPlace, TaskPlace, agent_edge, agent_task_edge, drain_edge,
    framework_edge, master_task_edge,
};

/// Where everybody was after the last event.
#[derive(Debug, Default)]
pub struct Lifecycles {
    /// By incarnation: each knows of what it has read and was told.
    masters: BTreeMap<u64, Tables>,
    /// By machine, the tasks of the agent's present life.
    agents: BTreeMap<usize, BTreeMap<TaskKey, TaskPlace>>,
}

#[derive(Debug, Default)]
struct Tables {
    agents: BTreeMap<AgentId, (AgentPlace, DrainPlace)>,
    frameworks: BTreeMap<FrameworkId, (FrameworkPlace, BTreeMap<TaskId, TaskPlace>)>,
}

/// Who writes down which ways were gone.
struct Log<'a> {
    coverage: &'a mut Coverage,
    found: &'a mut Vec<String>,
}

impl Log<'_> {
    /// Somebody went this way, or nobody can.
    fn went<P: Copy + fmt::Debug + PartialEq>(
        &mut self,
        edge: fn(P, P) -> Option<&'static str>,
        (from, to): (P, P),
        who: fmt::Arguments<'_>,
    ) {
        if from == to {
            return;
        }
        match edge(from, to) {
            Some(name) => self.coverage.note(name),
            None => self.found.push(format!("{who} went from {from:?} to {to:?}, where no way leads")),
        }
    }
}

impl Lifecycles {
    /// This incarnation of the master has started, or an event is over for it.
    pub fn master(&mut self, life: u64, view: &View, coverage: &mut Coverage, found: &mut Vec<String>) {
        let tables = self.masters.entry(life).or_default();
        let log = &mut Log { coverage, found };
        tables.agents(view, log);
        tables.frameworks(view, log);
    }

    /// An agent starts from this.
    pub fn agent_reads(&mut self, machine: usize, state: &State) {
        let places = state
            .tasks
            .iter()
            .filter_map(|(key, task)| Some((key.clone(), TaskPlace::of(task.latest.as_ref()?.state))));
        self.agents.insert(machine, places.collect());
    }

    /// It has started, or an event is over for it.
    pub fn agent(&mut self, machine: usize, state: &State, coverage: &mut Coverage, found: &mut Vec<String>) {
        let known = self.agents.entry(machine).or_default();
        let mut log = Log { coverage, found };
        for (key, task) in &state.tasks {
            let Some(place) = task.latest.as_ref().map(|latest| TaskPlace::of(latest.state)) else {
                continue;
            };
            let before = known.get(key).copied().unwrap_or(TaskPlace::Nowhere);
            if before != place {
                log.went(agent_task_edge, (before, place), format_args!("{key} on machine {machine}"));
                known.insert(key.clone(), place);
            }
        }
        if known.len() > state.tasks.len() {
            known.retain(|key, before| {
                let there = state.tasks.contains_key(key);
                if !there {
                    let way = (*before, TaskPlace::Nowhere);
                    log.went(agent_task_edge, way, format_args!("{key} on machine {machine}"));
                }
                there
            });
        }
    }
}

impl Tables {
    fn agents(&mut self, view: &View, log: &mut Log<'_>) {
        let mut count = 0;
        for agent in view.agents() {
            count += 1;
            let now = (AgentPlace::of(&agent.state), DrainPlace::of(agent.drain.as_ref()));
            let before = self.agents.get(&agent.id).copied();
            if before == Some(now) {
                continue;
            }
            let before = before.unwrap_or((AgentPlace::Absent, DrainPlace::Undrained));
            log.went(agent_edge, (before.0, now.0), format_args!("agent {}", agent.id));
            log.went(drain_edge, (before.1, now.1), format_args!("the drain of agent {}", agent.id));
            self.agents.insert(agent.id.clone(), now);
        }
        if self.agents.len() > count {
            self.agents.retain(|id, (before, _)| {
                let there = view.agent(id).is_some();
                if !there {
                    log.went(agent_edge, (*before, AgentPlace::Absent), format_args!("agent {id}"));
                }
                there
            });
        }
    }

    fn frameworks(&mut self, view: &View, log: &mut Log<'_>) {
        let mut count = 0;
        for framework in view.frameworks() {
            count += 1;
            let id = &framework.id;
            let new = || (FrameworkPlace::Absent, BTreeMap::new());
            let (before, tasks) = self.frameworks.entry(id.clone()).or_insert_with(new);
            let now = FrameworkPlace::of(&framework.state);
            log.went(framework_edge, (*before, now), format_args!("framework {id}"));
            *before = now;
            moves(tasks, framework, log);
            leave(tasks, id, view, log);
        }
        if self.frameworks.len() > count {
            self.frameworks.retain(|id, (before, tasks)| {
                let there = view.framework(id).is_some();
                if !there {
                    leave(tasks, id, view, log);
                    let way = (*before, FrameworkPlace::Absent);
                    log.went(framework_edge, way, format_args!("framework {id}"));
                }
                there
            });
        }
    }
}

/// The tasks of a framework that are alive, unreachable, or whose end is not acknowledged.
fn moves(known: &mut BTreeMap<TaskId, TaskPlace>, framework: &Framework, log: &mut Log<'_>) {
    for task in framework.tasks.values().chain(framework.unreachable.values()) {
        let (id, place) = (&task.info.id, TaskPlace::of(task.state));
        let before = known.get(id).copied().unwrap_or(TaskPlace::Nowhere);
        if before != place {
            log.went(master_task_edge, (before, place), format_args!("task {id} of {}", framework.id));
            known.insert(id.clone(), place);
        }
    }
}

/// Those that are not among them any more have ended, and that is settled.
fn leave(known: &mut BTreeMap<TaskId, TaskPlace>, of: &FrameworkId, view: &View, log: &mut Log<'_>) {
    let there = view.framework(of);
    if there.is_some_and(|there| known.len() == there.tasks.len() + there.unreachable.len()) {
        return;
    }
    known.retain(|id, before| {
        if there.is_some_and(|there| there.tasks.contains(id) || there.unreachable.contains(id)) {
            return true;
        }
        let end = view.task(of, id).map(|task| task.state).filter(|state| state.is_terminal());
        let end = end.map_or(*before, TaskPlace::of);
        // What has ended before keeps its end, though another task of this name may have ended since.
        let end = if is_an_end(*before) { *before } else { end };
        log.went(master_task_edge, (*before, end), format_args!("task {id} of {of}"));
        log.went(master_task_edge, (end, TaskPlace::Nowhere), format_args!("task {id} of {of}"));
        false
    });
}

fn is_an_end(place: TaskPlace) -> bool {
    TaskState::ALL.iter().any(|state| state.is_terminal() && TaskPlace::of(*state) == place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_counted_and_where_none_leads_is_found() {
        let (mut coverage, mut found) = (Coverage::default(), Vec::new());
        let mut log = Log { coverage: &mut coverage, found: &mut found };
        log.went(master_task_edge, (TaskPlace::Running, TaskPlace::Running), format_args!("task t"));
        log.went(master_task_edge, (TaskPlace::Running, TaskPlace::Finished), format_args!("task t"));
        log.went(master_task_edge, (TaskPlace::Finished, TaskPlace::Running), format_args!("task t"));
        assert_eq!(coverage.iter().collect::<Vec<_>>(), [("task.Running to Finished", 1)]);
        assert_eq!(found, ["task t went from Finished to Running, where no way leads"]);
    }
}
