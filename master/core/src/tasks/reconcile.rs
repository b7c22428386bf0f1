//! Reconciliation: a scheduler asks what is true, and hears it, or nothing while the master cannot know.

use std::collections::BTreeMap;

use bourse_types::{AgentId, FrameworkId, Now, Reason, Source, TaskId, TaskState, TaskStatus, Wall};

use crate::agents::{Agent, AgentState};
use crate::effect::Effects;
use crate::frameworks::Framework;
use crate::master::Master;
use crate::tasks::Task;

/// What the master knows about a task that somebody asks for.
enum Known {
    /// It stands in the table.
    Task(Box<TaskStatus>),
    /// Not in the table, and so this is its state.
    Absent { state: TaskState, since: Option<Wall> },
    /// An agent that may run it is not back yet, or its end is about to be told: no answer is better than a wrong one.
    Silence,
}

/// What is looked for once for all tasks of a call: of a large cluster it would be the most of the work.
struct Gathered<'a> {
    /// Whether an agent is yet to come back, on which a task may be that is asked for without one.
    awaits_agents: bool,
    /// Ends that their frameworks have not acknowledged, of agents that have left for good: nobody else tells them.
    left_over: BTreeMap<&'a TaskId, &'a Task>,
}

impl Master {
    /// Without tasks: the newest state of each that has not ended. With tasks: an answer to each, or silence. Answers
    /// carry REASON_RECONCILIATION and no uuid: nobody acknowledges them. A repeat is answered again.
    pub(crate) fn on_reconcile(
        &self,
        now: Now,
        framework: &FrameworkId,
        tasks: &[(TaskId, Option<AgentId>)],
        out: &mut Effects,
    ) {
        if !tasks.is_empty() {
            return self.answer_each(now, framework, tasks, out);
        }
        let record = self.frameworks.get(framework).expect("the caller accepted its call");
        let alive = record.tasks.values().filter(|task| !task.state.is_terminal());
        for status in alive.filter_map(|task| answer(task, now.wall)) {
            self.tell_status(framework, status, out);
        }
    }

    pub(crate) fn answer_each(
        &self,
        now: Now,
        framework: &FrameworkId,
        asked: &[(TaskId, Option<AgentId>)],
        out: &mut Effects,
    ) {
        let record = self.frameworks.get(framework).expect("the caller accepted its call");
        let gathered = self.gather(record, asked);
        for (task, agent) in asked {
            let status = match self.look_up(now, record, &gathered, task, agent.as_ref()) {
                Known::Silence => continue,
                Known::Task(status) => *status,
                Known::Absent { state, since } => TaskStatus {
                    agent_id: agent.clone(),
                    reason: Some(Reason::Reconciliation),
                    unreachable_since: since,
                    ..TaskStatus::new(task.clone(), state, Source::Master, now.wall)
                },
            };
            self.tell_status(framework, status, out);
        }
    }

    fn gather<'a>(&self, framework: &'a Framework, asked: &[(TaskId, Option<AgentId>)]) -> Gathered<'a> {
        let awaits_agents =
            asked.iter().any(|(_, agent)| agent.is_none()) && self.agents.values().any(is_recovering);
        // Of an id that was given again the newest counts.
        let mut left_over: BTreeMap<&TaskId, &Task> =
            framework.completed.iter().map(|task| (&task.info.id, &**task)).collect();
        left_over.retain(|_, task| {
            task.state.is_terminal() && !task.is_settled() && !self.agents.contains(&task.agent)
        });
        Gathered { awaits_agents, left_over }
    }

    /// The table of the Mesos documentation, from top to bottom, after what Mesos forgets with an agent: the end that it
    /// told before it left.
    fn look_up(
        &self,
        now: Now,
        framework: &Framework,
        gathered: &Gathered<'_>,
        task: &TaskId,
        agent: Option<&AgentId>,
    ) -> Known {
        if let Some(task) = framework.tasks.get(task).or_else(|| framework.unreachable.get(task)) {
            return answer(task, now.wall).map_or(Known::Silence, |status| Known::Task(Box::new(status)));
        }
        let left_over = gathered.left_over.get(&task);
        if let Some(task) = left_over.filter(|task| agent.is_none_or(|agent| *agent == task.agent)) {
            return Known::Task(Box::new(end(task, now.wall)));
        }
        let Some(id) = agent else {
            return match gathered.awaits_agents {
                true => Known::Silence,
                false => Known::Absent { state: TaskState::Unknown, since: None },
            };
        };
        match self.agents.get(id).map(|agent| agent.state) {
            Some(AgentState::Recovered { .. }) => Known::Silence,
            Some(AgentState::Active { .. } | AgentState::Disconnected { .. }) => {
                Known::Absent { state: TaskState::Gone, since: None }
            }
            Some(AgentState::Unreachable { since }) => {
                Known::Absent { state: TaskState::Unreachable, since: Some(since) }
            }
            None if self.gone.contains_key(id) => {
                Known::Absent { state: TaskState::GoneByOperator, since: None }
            }
            None => Known::Absent { state: TaskState::Unknown, since: None },
        }
    }
}

fn is_recovering(agent: &Agent) -> bool {
    match agent.state {
        AgentState::Recovered { .. } => true,
        AgentState::Active { .. } | AgentState::Disconnected { .. } | AgentState::Unreachable { .. } => false,
    }
}

/// What is known of a task, without data and message: those belong to the update that brought them.
///
/// So do exit and reason of an end. Until the update that brings it is on its way to the framework, the answer is what
/// is on its way before it, or `None`: a scheduler that heard of the end here would take the update for old news. Mesos
/// answers with the state of the update on its way too (`status_update_state`).
fn answer(task: &Task, at: Wall) -> Option<TaskStatus> {
    let ended = task.state.is_terminal();
    let told = if ended { Some(task.pending.as_ref()?) } else { task.latest() };
    let state = told.filter(|_| ended).map_or(task.state, |status| status.state);
    Some(in_short(task, state, told, at))
}

/// The end of a task whose agent will tell it no more: as it was told, or at least that it was.
fn end(task: &Task, at: Wall) -> TaskStatus {
    let told = task.statuses.iter().rev().find(|status| status.state.is_terminal());
    in_short(task, told.map_or(task.state, |status| status.state), told.or(task.latest()), at)
}

pub(super) fn in_short(task: &Task, state: TaskState, told: Option<&TaskStatus>, at: Wall) -> TaskStatus {
    TaskStatus {
        agent_id: Some(task.agent.clone()),
        executor_id: told.and_then(|status| status.executor_id.clone()),
        reason: Some(Reason::Reconciliation),
        healthy: told.and_then(|status| status.healthy),
        container: told.and_then(|status| status.container.clone()),
        exit: told.filter(|_| state.is_terminal()).and_then(|status| status.exit),
        unreachable_since: told
            .filter(|_| state == TaskState::Unreachable)
            .and_then(|status| status.unreachable_since),
        size: task.resized.then(|| Box::new(task.size())),
        ..TaskStatus::new(task.info.id.clone(), state, Source::Master, at)
    }
}
