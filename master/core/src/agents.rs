//! Agents: the table's record, the one lifecycle, and who may be commanded.
//!
//! The record holds the one account of its machine: what there is, what is offered, what is allocated. Only
//! `account` changes the last two.

mod away;
mod gone;
mod register;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bourse_types::{
    Address, AgentCapability, AgentId, AgentInfo, FrameworkId, Mono, Now, OfferId, Principal, Resources,
    TaskId, Wall,
};
use imbl::OrdSet;

use crate::allocator::Refusals;
use crate::effect::{Effect, Effects, ToAgent};
use crate::event::LinkId;
use crate::master::Master;
use crate::registry::KnownDrain;

pub(crate) use gone::no_such_agent;

/// One agent that was admitted and is not gone.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// What it says about itself.
    pub info: AgentInfo,
    /// Whose it is: who registered it first. Nobody else's token may register it. `None`: nobody was authenticated, or a
    /// release wrote it that kept no owners; the first who comes back with the id has it then.
    pub principal: Option<Principal>,
    /// What it can do, as it told when it registered last; nothing before this master heard it.
    pub capabilities: BTreeSet<AgentCapability>,
    /// Where it is in its life.
    pub state: AgentState,
    /// When it was admitted.
    pub admitted: Wall,
    /// While an operator drains it.
    pub drain: Option<Drain>,
    /// What is in its outstanding offers.
    pub offered: Resources,
    /// What its tasks hold.
    pub allocated: Resources,
    /// Its outstanding offers.
    pub offers: OrdSet<OfferId>,
    /// Its tasks that are alive, or whose end its framework has not acknowledged.
    pub tasks: OrdSet<(FrameworkId, TaskId)>,
    /// What frameworks declined of it for a while.
    pub(crate) refusals: Arc<Refusals>,
}

/// An agent that cannot do what it would be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incapable {
    /// Which.
    pub agent: AgentId,
    /// Its release.
    pub version: String,
    /// The names of what it cannot do.
    pub lacks: String,
}

impl fmt::Display for Incapable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incapable { agent, version, lacks } = self;
        write!(f, "agent {agent} runs release {version}, which cannot do {lacks}")
    }
}

/// Where an agent is in its life. One that is gone has no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// In the registry, and not heard by this master yet: it must be back by then.
    Recovered {
        /// When it becomes unreachable.
        deadline: Mono,
    },
    /// Connected by this link.
    Active {
        /// The newest link.
        link: LinkId,
    },
    /// Its link broke; it may come back until its silence has lasted too long.
    Disconnected {
        /// When the link broke.
        since: Wall,
    },
    /// It was silent for too long. Its resources have left the pool.
    Unreachable {
        /// When that was decided.
        since: Wall,
    },
}

/// What moves an agent through its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentInput {
    /// It opened this link and registered.
    Registers { link: LinkId },
    /// This link broke.
    LinkCloses { link: LinkId, at: Wall },
    /// It was silent for too long, or did not come back.
    TimesOut { at: Wall },
}

impl AgentState {
    /// The whole life of an agent, in one place. `None`: stale or a repeat, nothing changes.
    pub(crate) fn step(self, input: AgentInput) -> Option<AgentState> {
        use AgentState::*;
        match (self, input) {
            (
                Recovered { .. } | Active { .. } | Disconnected { .. } | Unreachable { .. },
                AgentInput::Registers { link },
            ) => Some(Active { link }),
            // An older link that breaks after its successor was opened.
            (Active { link: newest }, AgentInput::LinkCloses { link, .. }) if newest != link => None,
            (Active { .. }, AgentInput::LinkCloses { at, .. }) => Some(Disconnected { since: at }),
            (Recovered { .. } | Disconnected { .. } | Unreachable { .. }, AgentInput::LinkCloses { .. }) => {
                None
            }
            (Recovered { .. } | Active { .. } | Disconnected { .. }, AgentInput::TimesOut { at }) => {
                Some(Unreachable { since: at })
            }
            (Unreachable { .. }, AgentInput::TimesOut { .. }) => None,
        }
    }

    /// The word for it, without regard to a drain.
    pub const fn as_str(self) -> &'static str {
        match self {
            AgentState::Recovered { .. } => "recovering",
            AgentState::Active { .. } => "active",
            AgentState::Disconnected { .. } => "disconnected",
            AgentState::Unreachable { .. } => "unreachable",
        }
    }

    /// Whether its resources count as the cluster's.
    pub(crate) fn in_pool(self) -> bool {
        match self {
            AgentState::Active { .. } | AgentState::Disconnected { .. } => true,
            AgentState::Recovered { .. } | AgentState::Unreachable { .. } => false,
        }
    }
}

/// A drain: no more offers; what still runs at the deadline is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How far it is.
    pub phase: DrainPhase,
    /// How long tasks may go on from `started`.
    pub left: Duration,
    /// When the drain started.
    pub started: Wall,
    /// The agent is marked gone when nothing is left on it.
    pub mark_gone: bool,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainPhase {
    /// Tasks may go on until then.
    Waiting {
        /// When what still runs is killed.
        deadline: Mono,
    },
    /// What still ran was told to end.
    Killing,
    /// Nothing is left.
    Drained,
}

impl Drain {
    /// When what still runs is killed, for people.
    pub fn until(&self) -> Wall {
        self.started + self.left
    }

    pub(crate) fn known(&self) -> KnownDrain {
        KnownDrain {
            left: self.left,
            at: self.started,
            mark_gone: self.mark_gone,
            drained: self.phase == DrainPhase::Drained,
        }
    }
}

impl Agent {
    pub(crate) fn new(
        id: AgentId,
        info: AgentInfo,
        principal: Option<Principal>,
        state: AgentState,
        admitted: Wall,
    ) -> Agent {
        Agent {
            id,
            info,
            principal,
            capabilities: BTreeSet::new(),
            state,
            admitted,
            drain: None,
            offered: Resources::new(),
            allocated: Resources::new(),
            offers: OrdSet::new(),
            tasks: OrdSet::new(),
            refusals: Arc::default(),
        }
    }

    /// One word for how it is: `recovering`, `active`, `disconnected`, `unreachable`, `draining`, `drained`. A drain
    /// is told of an active agent only: that another one does not answer matters more.
    pub fn word(&self) -> &'static str {
        match (self.state, &self.drain) {
            (AgentState::Active { .. }, Some(Drain { phase: DrainPhase::Drained, .. })) => "drained",
            (AgentState::Active { .. }, Some(_)) => "draining",
            (state, _) => state.as_str(),
        }
    }

    /// Refuses what needs more than it can do: its release would not see the request, or only a part of it.
    pub(crate) fn can(&self, needs: &BTreeSet<AgentCapability>) -> Result<(), Incapable> {
        let lacks: Vec<&str> = needs.difference(&self.capabilities).map(|need| need.as_str()).collect();
        match lacks.is_empty() {
            true => Ok(()),
            false => Err(Incapable {
                agent: self.id.clone(),
                version: self.info.version.clone(),
                lacks: lacks.join(", "),
            }),
        }
    }

    /// Where it says it is, among the agents of its owner: what others say of the same address is no business of theirs.
    pub(crate) fn place(&self) -> (Address, Option<Principal>) {
        (self.info.address.clone(), self.principal.clone())
    }

    /// The link to command it by.
    pub fn link(&self) -> Option<LinkId> {
        match self.state {
            AgentState::Active { link } => Some(link),
            AgentState::Recovered { .. }
            | AgentState::Disconnected { .. }
            | AgentState::Unreachable { .. } => None,
        }
    }

    /// What is neither offered nor allocated. Nothing, when tasks hold more than the agent says it has: that is
    /// possible after it came back with a smaller machine.
    pub fn available(&self) -> Resources {
        self.info
            .total
            .checked_sub(&self.allocated)
            .and_then(|left| left.checked_sub(&self.offered))
            .unwrap_or_default()
    }
}

impl Master {
    /// Says something to an agent; nothing is said to one that is not connected.
    pub(crate) fn command(&self, agent: &AgentId, message: ToAgent, out: &mut Effects) {
        if let Some(link) = self.agents.get(agent).and_then(Agent::link) {
            out.push(Effect::ToAgent { agent: agent.clone(), link, message });
        }
    }

    /// Whether a message that came by this link counts: it is the agent's newest.
    pub(crate) fn is_current(&self, agent: &AgentId, link: LinkId) -> bool {
        self.agents.get(agent).and_then(Agent::link) == Some(link)
    }

    /// These agents were heard. One whose link has closed since was heard before that, which may have been long after the
    /// last time: a master that stood still reads both at once. Ids of agents that are away, or unknown, change nothing.
    pub(crate) fn on_agents_heard(&mut self, now: Now, agents: &[AgentId]) {
        for id in agents {
            let Some(slot) = self.agents.slot(id) else { continue };
            let state = self.agents.at(slot).map(|agent| agent.state);
            if let Some(AgentState::Active { .. } | AgentState::Disconnected { .. }) = state {
                self.heard.insert(slot, now);
            }
        }
    }

    /// When the agent was last heard; `None` when this master never heard it.
    pub(crate) fn heard(&self, id: &AgentId) -> Option<Now> {
        self.heard.get(&self.agents.slot(id)?).copied()
    }

    /// Takes the agent's record out of the table, with what is kept beside it.
    pub(crate) fn remove_agent_record(&mut self, id: &AgentId) {
        if let Some(slot) = self.agents.slot(id) {
            self.heard.remove(&slot);
            self.agents.remove(id);
        }
    }

    /// The record of an agent that the caller has seen in the table.
    pub(crate) fn agent_mut(&mut self, id: &AgentId) -> &mut Agent {
        self.agents.get_mut(id).expect("the caller has just found this agent in the table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_link_that_breaks_late_does_not_disconnect_the_agent() {
        let active = AgentState::Active { link: LinkId(2) };
        assert_eq!(active.step(AgentInput::LinkCloses { link: LinkId(1), at: Wall(5) }), None);
        assert_eq!(
            active.step(AgentInput::LinkCloses { link: LinkId(2), at: Wall(5) }),
            Some(AgentState::Disconnected { since: Wall(5) })
        );
    }

    #[test]
    fn an_agent_comes_back_from_every_state() {
        let states = [
            AgentState::Recovered { deadline: Mono(1) },
            AgentState::Active { link: LinkId(1) },
            AgentState::Disconnected { since: Wall(1) },
            AgentState::Unreachable { since: Wall(1) },
        ];
        for state in states {
            assert_eq!(
                state.step(AgentInput::Registers { link: LinkId(9) }),
                Some(AgentState::Active { link: LinkId(9) })
            );
        }
    }
}
