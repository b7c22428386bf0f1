//! What others may see of the agent without asking the driver: a picture that is replaced when something changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bourse_agent_core::{State, TaskKey};
use bourse_types::{AgentId, ContainerId, Milli};
use tokio::sync::watch;

/// The newest picture, and a way to wait for the next.
pub type Views = watch::Receiver<Arc<View>>;

/// The agent at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Absent until a master has given one.
    pub agent: Option<AgentId>,
    /// Every task whose end is not acknowledged.
    pub tasks: BTreeMap<TaskKey, TaskView>,
}

/// One task at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// Where it runs.
    pub container: ContainerId,
    /// Its first process was started.
    pub started: bool,
    /// No process of it is left.
    pub ended: bool,
    /// What its sandbox may hold, in MiB. Absent: no limit.
    pub disk_limit: Option<Milli>,
}

impl View {
    pub fn of(state: &State) -> View {
        let task = |task: &bourse_agent_core::Task| TaskView {
            container: task.container.clone(),
            started: task.started.is_some(),
            ended: task.has_ended(),
            disk_limit: task.disk_limit(),
        };
        let tasks = state.tasks.iter().map(|(key, of)| (key.clone(), task(of)));
        View { agent: state.agent.clone(), tasks: tasks.collect() }
    }
}
