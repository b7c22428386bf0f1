//! What of an agent may be offered to a framework for one of its roles, and if nothing, why.

use bourse_types::{Now, Quantities, Resources, Role};

use crate::agents::{Agent, AgentState};
use crate::frameworks::Framework;
use crate::master::Master;

/// Why a framework is not offered an agent. Countable: each pass that gave it nothing adds to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unserved {
    /// The agent is not connected.
    AgentAway,
    /// The agent is drained.
    Draining,
    /// The framework is not connected.
    Inactive,
    /// The framework suppressed the role.
    Suppressed,
    /// The framework lacks a capability that the agent or its resources ask for.
    Capability,
    /// What is free is reserved to other roles.
    Reservation,
    /// All of it is allocated or offered.
    Held,
    /// What is free is less than is worth an offer, or than is wanted.
    TooSmall,
    /// The framework declined it for a while.
    Filter,
    /// Others were ahead by their share.
    Share,
}

impl Unserved {
    /// The stable word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unserved::AgentAway | Unserved::Inactive => "inactive",
            Unserved::Draining => "draining",
            Unserved::Suppressed => "suppressed",
            Unserved::Capability => "capability",
            Unserved::Reservation => "reservation",
            Unserved::Held => "held",
            Unserved::TooSmall => "too_small",
            Unserved::Filter => "filter",
            Unserved::Share => "share",
        }
    }
}

/// Whether offers are made of an agent at all.
pub(crate) fn agent_ready(agent: &Agent) -> Result<(), Unserved> {
    match (agent.state, &agent.drain) {
        (AgentState::Active { .. }, None) => Ok(()),
        (AgentState::Active { .. }, Some(_)) => Err(Unserved::Draining),
        (
            AgentState::Recovered { .. } | AgentState::Disconnected { .. } | AgentState::Unreachable { .. },
            _,
        ) => Err(Unserved::AgentAway),
    }
}

impl Master {
    /// What of these free resources of the agent the framework is offered for the role: all that it may have.
    pub(crate) fn offerable(
        &self,
        now: Now,
        agent: &Agent,
        free: &Resources,
        framework: &Framework,
        role: &Role,
    ) -> Result<Resources, Unserved> {
        agent_ready(agent)?;
        // No further offer of an agent with so many unanswered ones: what is free is held by them, in a way.
        if free.is_empty() || agent.offers.len() >= self.config.offers_per_agent_max {
            return Err(Unserved::Held);
        }
        let may_have = free.allocatable_to(role);
        if may_have.is_empty() {
            return Err(Unserved::Reservation);
        }
        let usable = self.usable(agent, &may_have, framework);
        if usable.is_empty() {
            return Err(Unserved::Capability);
        }
        if !self.worth_offering(&usable, framework, role) {
            return Err(Unserved::TooSmall);
        }
        match framework.refuses(role, agent, &usable, now.mono) {
            Some(_) => Err(Unserved::Filter),
            None => Ok(usable),
        }
    }

    /// What the framework's capabilities let it have.
    pub(crate) fn usable(&self, agent: &Agent, resources: &Resources, framework: &Framework) -> Resources {
        let can = framework.info.capabilities;
        if self.config.filter_gpu_resources && !can.gpu && !agent.info.total.gpus().is_zero() {
            return Resources::new();
        }
        resources.filter(|key| {
            (can.revocable || !key.revocable)
                && (can.shared || !key.shared)
                && (can.reservation_refinement || key.reservations.len() < 2)
        })
    }

    /// Whether it is more than crumbs, by the framework's own minimum for the role or else by the master's.
    pub(crate) fn worth_offering(&self, resources: &Resources, framework: &Framework, role: &Role) -> bool {
        let minimum: &[Quantities] =
            framework.info.min_allocatable.get(role).unwrap_or(&self.config.min_allocatable);
        if minimum.is_empty() {
            return true;
        }
        let quantities = resources.quantities();
        minimum.iter().any(|least| quantities.contains(least))
    }
}
