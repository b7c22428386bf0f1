//! What others may see of the agent without asking the driver: a picture that is replaced when something changed.

use std::sync::Arc;

use bourse_agent_core::{Record, State, Task, TaskKey};
use bourse_types::{AgentId, ContainerId, Milli};
use imbl::OrdMap;
use tokio::sync::watch;

/// The newest picture, and a way to wait for the next.
pub type Views = watch::Receiver<Arc<View>>;

/// The agent at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Absent until a master has given one.
    pub agent: Option<AgentId>,
    /// Every task whose end is not acknowledged. A picture has most of them in common with the one before.
    pub tasks: OrdMap<TaskKey, TaskView>,
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
        let tasks = state.tasks.iter().map(|(key, task)| (key.clone(), TaskView::of(task)));
        View { agent: state.agent.clone(), tasks: tasks.collect() }
    }

    /// Becomes the picture of a state of which it was one before these records, and tells whether that is another one. With
    /// thousands of tasks a whole new picture for each change of one would take longer than all else.
    pub fn follow<'a>(&mut self, state: &State, records: impl Iterator<Item = &'a Record>) -> bool {
        let mut changed = self.agent != state.agent;
        if changed {
            self.agent = state.agent.clone();
        }
        for key in records.filter_map(Record::task) {
            let now = state.tasks.get(key).map(TaskView::of);
            if self.tasks.get(key) == now.as_ref() {
                continue;
            }
            changed = true;
            match now {
                Some(task) => self.tasks.insert(key.clone(), task),
                None => self.tasks.remove(key),
            };
        }
        changed
    }
}

impl TaskView {
    fn of(task: &Task) -> TaskView {
        TaskView {
            container: task.container.clone(),
            started: task.started.is_some(),
            ended: task.has_ended(),
            disk_limit: task.disk_limit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_agent_core::{Assignment, Work};
    use bourse_types::{FrameworkId, Resources, Role, Source, TaskId, TaskState, TaskStatus, Wall};
    use bytes::Bytes;

    fn key(task: &str) -> TaskKey {
        TaskKey { framework: FrameworkId::new("F").expect("valid"), task: TaskId::new(task).expect("valid") }
    }

    fn accepted(task: &str, container: &str) -> Record {
        let assignment = Assignment {
            key: key(task),
            role: Role::any(),
            resources: Resources::new(),
            message: Bytes::new(),
            work: Work::Refuse("it is only looked at".into()),
        };
        let container = ContainerId::new(container).expect("valid");
        Record::TaskAccepted { assignment: Box::new(assignment), container }
    }

    #[test]
    fn a_picture_that_follows_records_is_the_one_of_the_state_that_they_add_up_to() {
        let now = Wall::from_millis(1);
        let update = |task: &str, state| {
            let status = TaskStatus::new(key(task).task, state, Source::Executor, now);
            Record::UpdateMade { task: key(task), status: Box::new(status) }
        };
        let batches = [
            (vec![Record::Admitted { agent: AgentId::new("S1").expect("valid") }], true),
            (vec![accepted("t1", "c1"), accepted("t2", "c2")], true),
            (vec![Record::TaskStarted { task: key("t1"), pid: 1, at: now }], true),
            (vec![update("t1", TaskState::Running)], false),
            (vec![update("t1", TaskState::Finished), update("t2", TaskState::Failed)], true),
            (vec![Record::TaskForgotten { task: key("t1") }, accepted("t1", "c3")], true),
            (vec![Record::TaskForgotten { task: key("t2") }], true),
            (vec![Record::TaskForgotten { task: key("t2") }], false),
        ];
        let (mut state, mut view) = (State::default(), View::default());
        for (records, changes) in batches {
            records.iter().for_each(|record| state.apply(record));
            assert_eq!(view.follow(&state, records.iter()), changes, "{records:?}");
            assert_eq!(view, View::of(&state), "{records:?}");
        }
    }
}
