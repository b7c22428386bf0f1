//! An agent leaves for good: marked gone by an operator, replaced by a newer one, or forgotten.

use std::time::Duration;

use bourse_types::{AgentId, Now, Principal, Reason, TaskState, Wall};

use crate::agents::{Agent, AgentState};
use crate::deadlines::Due;
use crate::effect::{AgentRefused, Done, Effect, Effects, Refused};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::registry::Change;
use crate::tasks::Fate;

impl Master {
    /// The operator says that the machine will never come back. Cannot be undone. A repeat is answered the same.
    pub(crate) fn on_mark_gone(
        &mut self,
        now: Now,
        id: &AgentId,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) -> Result<Done, Refused> {
        if !self.gone.contains_key(id) {
            self.agents.get(id).ok_or_else(|| no_such_agent(id))?;
            self.mark_gone(now, id, principal, out);
        }
        Ok(Done::MarkedGone { agent: id.clone() })
    }

    /// Registry first; then its offers, its tasks (also those that were unreachable with it), and word to every
    /// framework. Should it come back, it is told to kill what it runs and stop.
    pub(crate) fn mark_gone(
        &mut self,
        now: Now,
        id: &AgentId,
        principal: Option<&Principal>,
        out: &mut Effects,
    ) {
        let Some(agent) = self.agents.get(id) else { return };
        out.push(Effect::Persist(Change::AgentGone { id: id.clone(), at: now.wall }));
        if let Some(link) = agent.link() {
            let refused = AgentRefused {
                reason: "AGENT_GONE",
                message: format!(
                    "agent {id} was marked gone by an operator; remove its work directory to join anew"
                ),
                shut_down: true,
            };
            out.push(Effect::CloseLink { link, refused: Some(refused) });
        }
        let fate = Fate {
            state: TaskState::GoneByOperator,
            reason: Reason::AgentRemovedByOperator,
            message: format!("agent {id} was marked gone by an operator"),
            since: None,
        };
        self.forget_agent(now, id, &fate, out);
        self.gone.insert(id.clone(), now.wall);
        let entry =
            Entry::new(Kind::Operator, format!("agent {id} was marked gone")).agent(id).principal(principal);
        out.push(Effect::Record(entry));
    }

    /// The agent's machine registered under another id: this one does not come back.
    pub(crate) fn remove_agent(&mut self, now: Now, id: &AgentId, why: &str, out: &mut Effects) {
        let Some(agent) = self.agents.get(id) else { return };
        out.push(Effect::Persist(Change::AgentRemoved { id: id.clone() }));
        if let Some(link) = agent.link() {
            out.push(Effect::CloseLink { link, refused: None });
        }
        let fate = Fate {
            state: TaskState::Gone,
            reason: Reason::AgentRemoved,
            message: format!("agent {id} was removed: {why}"),
            since: None,
        };
        self.forget_agent(now, id, &fate, out);
        let entry = Entry::new(Kind::Agent, format!("agent {id} was removed: {why}")).agent(id);
        out.push(Effect::Record(entry));
    }

    fn forget_agent(&mut self, now: Now, id: &AgentId, fate: &Fate, out: &mut Effects) {
        self.clear_agent(now, id, fate, out);
        self.end_unreachable_on(now, id, fate, out);
        self.forget_refusals_of_agent(id);
        self.leave_pool(id);
        self.leave_address(id);
        self.remove_agent_record(id);
        self.dirty.forget(id);
        self.tell_agent_failed(id, out);
    }

    /// Forgets unreachable and gone agents that nobody asks about any more: those away for too long, and the oldest
    /// beyond the maximum. Reconciliation says UNKNOWN of their tasks from then on. Done now and then.
    pub(crate) fn on_forget_due(&mut self, now: Now, out: &mut Effects) {
        // Without a pause this would be due again for ever.
        let pause = self.config.forget_interval.max(Duration::from_secs(1));
        self.deadlines.set(now.mono + pause, Due::Forget);
        let unreachable = self.agents.values().filter_map(|agent: &Agent| match agent.state {
            AgentState::Unreachable { since } => Some((since, agent.id.clone())),
            AgentState::Recovered { .. } | AgentState::Active { .. } | AgentState::Disconnected { .. } => {
                None
            }
        });
        for id in self.outdated(now, unreachable.collect()) {
            out.push(Effect::Persist(Change::AgentRemoved { id: id.clone() }));
            let summary = format!("agent {id} was forgotten: it was unreachable for too long");
            out.push(Effect::Record(Entry::new(Kind::Agent, summary).agent(&id)));
            for (framework, task) in self.unreachable_on(&id) {
                self.take_unreachable(&framework, &task);
                let summary = format!("task {task} was forgotten with its agent, and is unknown from now on");
                out.push(Effect::Record(
                    Entry::new(Kind::Task, summary).agent(&id).framework(&framework).task(&task),
                ));
            }
            self.forget_refusals_of_agent(&id);
            self.leave_address(&id);
            self.remove_agent_record(&id);
        }
        let gone = self.gone.iter().map(|(id, since)| (*since, id.clone())).collect();
        for id in self.outdated(now, gone) {
            out.push(Effect::Persist(Change::AgentRemoved { id: id.clone() }));
            self.gone.remove(&id);
        }
    }

    fn outdated(&self, now: Now, mut away: Vec<(Wall, AgentId)>) -> Vec<AgentId> {
        away.sort();
        let beyond = away.len().saturating_sub(self.config.forgotten_beyond);
        let old = |since: Wall| now.wall.since(since) >= self.config.forget_after;
        away.into_iter()
            .enumerate()
            .filter(|(i, (since, _))| *i < beyond || old(*since))
            .map(|(_, (_, id))| id)
            .collect()
    }
}

/// The refusal of a command about an agent that is not in the table.
pub(crate) fn no_such_agent(id: &AgentId) -> Refused {
    Refused::NotFound(format!("there is no agent {id}; list them with `bourse agents`"))
}
