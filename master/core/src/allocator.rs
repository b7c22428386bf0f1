//! The allocator: who is offered what.
//!
//! Events mark agents on which something may have come free; a pass takes them in an order that favours none, and
//! offers all that is free on one and may be offered to the framework that is first by its share. Passes are a little
//! apart, so that what comes free together is offered together, and look at a slice of the agents at most.
//!
//! There is no second account: what is free is what the agent's record says, and what a framework holds is what its
//! record says. The order of frameworks is made from the records for each pass and moved as the pass goes on.

mod candidates;
mod dirty;
mod drf;
#[cfg(test)]
mod oracle;
mod refusals;
mod roles;

use std::collections::{BTreeMap, BTreeSet};

use bourse_types::{AgentId, FrameworkId, Mono, Now, Role};

use crate::effect::{Effects, OfferMade, ToScheduler};
use crate::master::Master;

pub use candidates::Unserved;
pub(crate) use dirty::Dirty;
pub(crate) use drf::Order;
pub(crate) use drf::dominant;
pub(crate) use refusals::{Claim, ClaimId, Claims, ClaimsByRole, REFUSALS_MAX, Refusals};

/// What a pass has for each framework: offers, or reasons why not.
#[derive(Default)]
struct Pass {
    offers: BTreeMap<FrameworkId, Vec<OfferMade>>,
    reasons: BTreeMap<FrameworkId, BTreeSet<Unserved>>,
}

impl Master {
    /// Something on this agent may have come free, or somebody may want it now.
    pub(crate) fn mark_dirty(&mut self, agent: &AgentId) {
        self.dirty.mark(agent, &mut self.random);
    }

    /// Somebody may want any agent now. Agents with nothing to offer are left aside.
    pub(crate) fn mark_all_dirty(&mut self) {
        let Master { agents, dirty, random, .. } = self;
        for agent in agents.values().filter(|agent| agent.link().is_some() && agent.drain.is_none()) {
            if agent.info.total != agent.allocated {
                dirty.mark(&agent.id, random);
            }
        }
    }

    /// When the next pass shall be: `None` while no agent is marked.
    pub(crate) fn next_pass(&self) -> Option<Mono> {
        (!self.dirty.is_empty()).then_some(self.pass_allowed)
    }

    /// Offers what came free, if there was a pause since the last pass. One message for each framework.
    pub(crate) fn allocate(&mut self, now: Now, out: &mut Effects) {
        if self.next_pass().is_none_or(|due| due > now.mono) {
            return;
        }
        let slice = self.dirty.take(self.config.allocation_slice);
        // With agents left over the next slice follows at once, after the events that wait.
        let pause =
            if self.dirty.is_empty() { self.config.allocation_pause } else { std::time::Duration::ZERO };
        self.pass_allowed = now.mono + pause;
        let mut order = Order::new(self);
        let mut pass = Pass::default();
        for agent in slice {
            self.offer_agent(now, &agent, &mut order, &mut pass);
        }
        self.count_unserved(&order, &pass);
        for (framework, offers) in pass.offers {
            self.tell(&framework, ToScheduler::Offers(offers), out);
        }
    }

    /// Offers one agent: again and again to the first that may have some of it, until nobody may or nothing is left.
    /// A framework gets one offer of it for each of its roles, at most.
    fn offer_agent(&mut self, now: Now, agent: &AgentId, order: &mut Order, pass: &mut Pass) {
        let mut served: BTreeSet<(Role, FrameworkId)> = BTreeSet::new();
        loop {
            let Some(record) = self.agents.get(agent) else { return };
            let free = record.available();
            if free.is_empty() {
                return;
            }
            let first = order.find(|role, framework| {
                if served.contains(&(role.clone(), framework.clone())) {
                    return None;
                }
                let wants = self.frameworks.get(framework).expect("the order is made of the table");
                match self.offerable(now, record, &free, wants, role) {
                    Ok(resources) => Some(resources),
                    Err(reason) => {
                        pass.reasons.entry(framework.clone()).or_default().insert(reason);
                        None
                    }
                }
            });
            let Some((role, framework, resources)) = first else { return };
            order.serve(&role, &framework, &resources);
            let offer = self.make_offer(now, agent, &framework, &role, resources);
            pass.offers.entry(framework.clone()).or_default().push(offer);
            served.insert((role, framework));
        }
    }

    /// A framework that got nothing in a pass learns why: the reasons that were met, or that others were ahead.
    fn count_unserved(&mut self, order: &Order, pass: &Pass) {
        let waiting: BTreeSet<&FrameworkId> =
            order.candidates().filter(|framework| !pass.offers.contains_key(*framework)).collect();
        for framework in waiting {
            let counts = &mut self.framework_mut(framework).unserved;
            match pass.reasons.get(framework) {
                Some(reasons) => reasons.iter().for_each(|reason| *counts.entry(*reason).or_default() += 1),
                None => *counts.entry(Unserved::Share).or_default() += 1,
            }
        }
    }
}
