//! An agent goes away: its link breaks, or it is silent for too long.

use bourse_types::{AgentId, FrameworkId, Now, Reason, TaskId, TaskState};

use crate::agents::{Agent, AgentInput, AgentState};
use crate::deadlines::Due;
use crate::effect::{Effect, Effects, ToScheduler};
use crate::event::LinkId;
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::registry::Change;
use crate::tasks::Fate;

impl Master {
    /// A link broke. Stale when the agent has a newer one; a repeat changes nothing.
    ///
    /// Its offers are rescinded and no more are made. Tasks of frameworks that checkpoint are left alone; those of
    /// the others are told as lost at once, as in Mesos, but may come back with their agent.
    pub(crate) fn on_agent_link_closed(&mut self, now: Now, id: &AgentId, link: LinkId, out: &mut Effects) {
        let Some(agent) = self.agents.get(id) else { return };
        let Some(next) = agent.state.step(AgentInput::LinkCloses { link, at: now.wall }) else { return };
        // What has ended is not lost: its end comes with the agent's own update.
        let fragile = |(framework, id): &&(FrameworkId, TaskId)| {
            !self.checkpoints(framework)
                && self.task(framework, id).is_some_and(|task| !task.state.is_terminal())
        };
        let fragile: Vec<(FrameworkId, TaskId)> = agent.tasks.iter().filter(fragile).cloned().collect();
        self.rescind_offers_of_agent(id, "its agent disconnected", out);
        self.agent_mut(id).state = next;
        let fate = Fate {
            state: TaskState::Unreachable,
            reason: Reason::AgentDisconnected,
            message: format!("agent {id} disconnected, and the framework does not checkpoint"),
            since: Some(now.wall),
        };
        for (framework, task) in fragile {
            self.take_off_agent(now, &framework, &task, &fate, out);
        }
        let entry = Entry::new(Kind::Agent, format!("agent {id} disconnected")).agent(id);
        out.push(Effect::Record(entry));
    }

    pub(crate) fn checkpoints(&self, framework: &FrameworkId) -> bool {
        self.frameworks.get(framework).is_some_and(|framework| framework.info.checkpoint)
    }

    /// An agent's entry among the deadlines fired: it was silent for too long, or was heard and gets a new entry.
    pub(crate) fn on_agent_due(&mut self, now: Now, id: &AgentId, out: &mut Effects) {
        let Some(agent) = self.agents.get(id) else { return };
        let silence = self.config.agent_silence(self.agents.len());
        let (deadline, why) = match agent.state {
            AgentState::Unreachable { .. } => return,
            AgentState::Recovered { deadline } => {
                (deadline, "it did not come back after the restart of the master")
            }
            AgentState::Active { .. } | AgentState::Disconnected { .. } => {
                let heard = self.heard(id).expect("a connected agent was heard when it registered");
                (heard.mono + silence, "it was silent for too long")
            }
        };
        if deadline > now.mono {
            self.deadlines.set(deadline, Due::Agent(id.clone()));
        } else {
            self.mark_unreachable(now, id, why, out);
        }
    }

    /// Registry first; then its offers, its tasks, and word to every framework. The agent may come back.
    fn mark_unreachable(&mut self, now: Now, id: &AgentId, why: &str, out: &mut Effects) {
        let Some(agent) = self.agents.get(id) else { return };
        let Some(next) = agent.state.step(AgentInput::TimesOut { at: now.wall }) else { return };
        out.push(Effect::Persist(Change::AgentUnreachable { id: id.clone(), since: now.wall }));
        if let Some(link) = agent.link() {
            out.push(Effect::CloseLink { link, refused: None });
        }
        let fate = Fate {
            state: TaskState::Unreachable,
            reason: Reason::AgentRemoved,
            message: format!("agent {id} is unreachable: {why}"),
            since: Some(now.wall),
        };
        self.clear_agent(now, id, &fate, out);
        self.leave_pool(id);
        self.agent_mut(id).state = next;
        self.tell_agent_failed(id, out);
        let entry = Entry::new(Kind::Agent, format!("agent {id} is unreachable: {why}")).agent(id);
        out.push(Effect::Record(entry));
    }

    /// Takes everything off an agent: its offers are rescinded, its tasks meet this fate.
    pub(crate) fn clear_agent(&mut self, now: Now, id: &AgentId, fate: &Fate, out: &mut Effects) {
        self.rescind_offers_of_agent(id, "its agent was removed", out);
        let tasks: Vec<(FrameworkId, TaskId)> = self
            .agents
            .get(id)
            .map(|agent: &Agent| agent.tasks.iter().cloned().collect())
            .unwrap_or_default();
        for (framework, task) in tasks {
            self.take_off_agent(now, &framework, &task, fate, out);
        }
    }

    /// Every connected framework hears that an agent failed, whether it has tasks there or not, as in Mesos.
    pub(crate) fn tell_agent_failed(&self, id: &AgentId, out: &mut Effects) {
        for framework in self.frameworks.keys() {
            self.tell(framework, ToScheduler::AgentFailed { agent: id.clone() }, out);
        }
    }
}
