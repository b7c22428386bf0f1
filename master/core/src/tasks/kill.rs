//! Killing a task: said to its agent, and said again whenever that comes back, until the task has ended.
//!
//! Mesos forwards a kill once and leaves it to the scheduler to try again; keeping it on the task costs nothing and
//! means that a kill is not lost with a link.

use bourse_types::{AgentId, FrameworkId, KillPolicy, Now, Principal, Reason, TaskId};

use crate::effect::{Done, Effect, Effects, Refused, ToAgent};
use crate::frameworks::{Framework, no_such_framework};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::tasks::KillOrder;

impl Master {
    /// A scheduler kills a task. One that is not in the table is answered as a reconciliation would. A repeat is
    /// forwarded again: with its own policy it may shorten a kill that is under way.
    pub(crate) fn on_kill(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        task: &TaskId,
        agent: Option<&AgentId>,
        policy: Option<KillPolicy>,
        out: &mut Effects,
    ) {
        match self.task(framework, task) {
            None => self.answer_each(now, framework, &[(task.clone(), agent.cloned())], out),
            // Its end is on the way to the scheduler.
            Some(known) if known.state.is_terminal() => {}
            Some(_) => self.order_kill(framework, task, KillOrder { policy, reason: None }, out),
        }
    }

    /// An operator kills a task as its framework would.
    pub(crate) fn on_operator_kill(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        policy: Option<KillPolicy>,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) -> Result<Done, Refused> {
        let record = self.frameworks.get(framework).ok_or_else(|| no_such_framework(framework))?;
        match record.tasks.get(task) {
            None => return Err(not_killable(record, task)),
            Some(known) if known.state.is_terminal() => {
                return Err(Refused::Conflict(format!("task {task} has ended: it is {}", known.state)));
            }
            Some(_) => {}
        }
        self.order_kill(framework, task, KillOrder { policy, reason: None }, out);
        let entry = Entry::new(Kind::Operator, format!("task {task} is killed by an operator"));
        out.push(Effect::Record(entry.framework(framework).task(task).principal(principal)));
        Ok(Done::Killing { framework: framework.clone(), task: task.clone() })
    }

    pub(crate) fn order_kill(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        order: KillOrder,
        out: &mut Effects,
    ) {
        let record = self.task_mut(framework, task);
        let agent = record.agent.clone();
        record.kill = Some(order.clone());
        self.command(&agent, kill(framework, task, &order), out);
    }

    /// An agent that is back hears of the kills that it may have missed.
    pub(crate) fn repeat_kills(&self, agent: &AgentId, out: &mut Effects) {
        let record = self.agents.get(agent).expect("it has just registered");
        for (framework, id) in &record.tasks {
            let task = self.task(framework, id).expect("what stands on an agent is in the table");
            if let Some(order) = task.kill.as_ref().filter(|_| !task.state.is_terminal()) {
                self.command(agent, kill(framework, id, order), out);
            }
        }
    }
}

fn kill(framework: &FrameworkId, task: &TaskId, order: &KillOrder) -> ToAgent {
    let KillOrder { policy, reason } = order.clone();
    ToAgent::Kill { framework: framework.clone(), task: task.clone(), policy, reason }
}

fn not_killable(framework: &Framework, task: &TaskId) -> Refused {
    if let Some(lost) = framework.unreachable.get(task) {
        let why = format!(
            "task {task} is unreachable with its agent {}; it can be killed when that is back",
            lost.agent
        );
        return Refused::Conflict(why);
    }
    match framework.completed.iter().rev().find(|ended| ended.info.id == *task) {
        Some(ended) => Refused::Conflict(format!("task {task} has ended: it is {}", ended.state)),
        None => Refused::NotFound(format!(
            "framework {} has no task {task}; list them with `bourse ps`",
            framework.id
        )),
    }
}

/// The reason of kills by a drain.
pub(crate) const DRAINING: KillOrder = KillOrder { policy: None, reason: Some(Reason::AgentDraining) };
