//! Timers as data: what is due when.
//!
//! The shell asks for the first one and sends a tick; the handlers that a tick calls check the record itself before
//! they act, so an entry that outlived its reason does no harm. One entry a thing: an agent that is heard every
//! second does not move its entry every second; the entry fires, sees that the agent was heard, and is set again.

use std::collections::BTreeSet;

use bourse_types::{AgentId, FrameworkId, Mono, OfferId};
use imbl::OrdSet;

/// What a deadline is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The agent must have been heard, or be back, by then.
    Agent(AgentId),
    /// The framework must be back by then.
    Framework(FrameworkId),
    /// The offer expires.
    Offer(OfferId),
    /// What still runs on the draining agent is killed.
    Drain(AgentId),
    /// What was declined of the agent may be wanted again.
    Refusals(AgentId),
    /// What nobody asks about any more is forgotten.
    Forget,
}

/// All deadlines, the first to come in front.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines(OrdSet<(Mono, Due)>);

impl Deadlines {
    /// A repeat changes nothing. [`Mono::MAX`] never comes and is not kept.
    pub(crate) fn set(&mut self, at: Mono, due: Due) {
        if at < Mono::MAX {
            self.0.insert((at, due));
        }
    }

    pub(crate) fn clear(&mut self, at: Mono, due: Due) {
        self.0.remove(&(at, due));
    }

    /// All of them, the first to come in front.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Mono, Due)> {
        self.0.iter()
    }

    pub(crate) fn first(&self) -> Option<Mono> {
        self.0.get_min().map(|(at, _)| *at)
    }

    /// Takes the first one that is due.
    pub(crate) fn pop(&mut self, now: Mono) -> Option<Due> {
        if self.first()? > now {
            return None;
        }
        self.0.remove_min().map(|(_, due)| due)
    }
}

/// Questions of the invariants; not on any hot path.
impl Deadlines {
    pub(crate) fn watched_agents(&self) -> BTreeSet<&AgentId> {
        let agents = self.0.iter().map(|(_, due)| match due {
            Due::Agent(id) => Some(id),
            Due::Framework(_) | Due::Offer(_) | Due::Drain(_) | Due::Refusals(_) | Due::Forget => None,
        });
        agents.flatten().collect()
    }

    pub(crate) fn watches_framework(&self, at: Mono, id: &FrameworkId) -> bool {
        at == Mono::MAX || self.0.contains(&(at, Due::Framework(id.clone())))
    }

    pub(crate) fn watches_refusals(&self, at: Mono, agent: &AgentId) -> bool {
        at == Mono::MAX || self.0.contains(&(at, Due::Refusals(agent.clone())))
    }

    pub(crate) fn watches_offer(&self, offer: &crate::offers::Offer) -> bool {
        offer.expires == Mono::MAX || self.0.contains(&(offer.expires, Due::Offer(offer.id.clone())))
    }
}
