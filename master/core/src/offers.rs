//! Offers: the record, and the ways by which one ends.
//!
//! An offer ends exactly once: accepted, declined, rescinded (its framework hears of it), or taken back silently when
//! there is nobody to hear. Its resources are free in the same moment.

mod accept;

use std::sync::Arc;
use std::time::Duration;

use bourse_types::{AgentId, FrameworkId, Mono, Now, OfferId, Resources, Role, Wall};

use crate::deadlines::Due;
use crate::effect::{Effect, Effects, OfferMade, ToScheduler};
use crate::history::{Entry, Kind};
use crate::master::Master;

pub use accept::{BadOffers, LAUNCHES_PER_ACCEPT_MAX, TASKS_PER_AGENT_MAX, TooMany};

/// One outstanding offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its id, never given twice.
    pub id: OfferId,
    /// Who holds it.
    pub framework: FrameworkId,
    /// For which of the framework's roles.
    pub role: Role,
    /// Whose resources.
    pub agent: AgentId,
    /// What is offered.
    pub resources: Resources,
    /// When it was made.
    pub made: Wall,
    /// When it is rescinded unless it was answered; [`Mono::MAX`]: never.
    pub expires: Mono,
}

impl Master {
    /// Makes an offer. The allocator has found the resources available.
    pub(crate) fn make_offer(
        &mut self,
        now: Now,
        agent: &AgentId,
        framework: &FrameworkId,
        role: &Role,
        resources: Resources,
    ) -> OfferMade {
        let number = self.offers_named;
        self.offers_named += 1;
        let id = OfferId::new(format!("{}-O{number}", self.id))
            .expect("a master id with a number behind it is an id");
        let expires = self.config.offer_timeout.map_or(Mono::MAX, |timeout| now.mono + timeout);
        self.deadlines.set(expires, Due::Offer(id.clone()));
        self.hold_offered(agent, framework, role, &resources);
        self.agent_mut(agent).offers.insert(id.clone());
        let record = self.framework_mut(framework);
        record.offers.insert(id.clone());
        record.holdings.entry(role.clone()).or_default().served += 1;
        let made = OfferMade {
            id: id.clone(),
            agent: agent.clone(),
            role: role.clone(),
            resources: resources.clone(),
            unavailable_from: None,
        };
        let offer = Offer {
            id: id.clone(),
            framework: framework.clone(),
            role: role.clone(),
            agent: agent.clone(),
            resources,
            made: now.wall,
            expires,
        };
        self.offers.insert(id, offer);
        made
    }

    /// The offer is no more, and its resources are free. `None` when there is no such offer.
    pub(crate) fn take_back(&mut self, id: &OfferId) -> Option<Arc<Offer>> {
        let offer = self.offers.remove(id)?;
        self.deadlines.clear(offer.expires, Due::Offer(id.clone()));
        self.agent_mut(&offer.agent).offers.remove(id);
        self.framework_mut(&offer.framework).offers.remove(id);
        self.release_offered(&offer.agent, &offer.framework, &offer.role, &offer.resources);
        Some(offer)
    }

    /// Takes an offer back and tells its framework. A repeat changes nothing.
    pub(crate) fn rescind(&mut self, id: &OfferId, why: &str, out: &mut Effects) {
        if let Some(offer) = self.take_back(id) {
            self.tell(&offer.framework, ToScheduler::Rescind { offer: id.clone() }, out);
            let entry = Entry::new(Kind::Offer, format!("offer {id} was rescinded: {why}"));
            out.push(Effect::Record(entry.framework(&offer.framework).agent(&offer.agent).role(&offer.role)));
        }
    }

    pub(crate) fn rescind_offers_of_agent(&mut self, agent: &AgentId, why: &str, out: &mut Effects) {
        let Some(record) = self.agents.get(agent) else { return };
        for id in record.offers.clone() {
            self.rescind(&id, why, out);
        }
    }

    /// Offers for roles that the framework does not have any more.
    pub(crate) fn rescind_offers_of_left_roles(&mut self, framework: &FrameworkId, out: &mut Effects) {
        let record = self.frameworks.get(framework).expect("the caller accepted its call");
        for id in record.offers.clone() {
            let record = self.frameworks.get(framework).expect("rescinding does not end a framework");
            let role = self.offers.get(&id).map(|offer| offer.role.clone());
            if role.is_some_and(|role| !record.info.roles.contains(&role)) {
                self.rescind(&id, "its framework left the role", out);
            }
        }
    }

    /// Weights have changed: what was offered by the old ones is offered anew.
    pub(crate) fn rescind_all(&mut self, why: &str, out: &mut Effects) {
        let all: Vec<OfferId> = self.offers.keys().cloned().collect();
        for id in all {
            self.rescind(&id, why, out);
        }
    }

    /// The framework's scheduler went away, or a new instance came that does not know these offers. No filter is set.
    pub(crate) fn take_back_offers_of_framework(&mut self, framework: &FrameworkId) {
        let Some(record) = self.frameworks.get(framework) else { return };
        for id in record.offers.clone() {
            self.take_back(&id);
        }
    }

    /// An offer was not answered in time. No filter is set.
    pub(crate) fn on_offer_due(&mut self, now: Now, id: &OfferId, out: &mut Effects) {
        if self.offers.get(id).is_some_and(|offer| offer.expires <= now.mono) {
            self.rescind(id, "it was not answered in time", out);
        }
    }

    /// Gives offers back. What each held is not offered to the framework again for `refuse`, nor any part of it.
    /// Offers that are not outstanding, or another framework's, are left aside; so a repeat changes nothing.
    pub(crate) fn on_decline(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        offers: &[OfferId],
        refuse: Duration,
    ) {
        for id in offers {
            if self.offers.get(id).is_some_and(|offer| offer.framework == *framework) {
                let offer = self.take_back(id).expect("it was just found");
                self.add_refusal(now, framework, &offer.role, &offer.agent, offer.resources.clone(), refuse);
            }
        }
    }
}
