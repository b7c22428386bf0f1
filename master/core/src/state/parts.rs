//! A master is taken apart.

use std::iter;
use std::sync::Arc;

use bourse_types::{Mono, Now, Resources};

use super::{AgentPart, FrameworkPart, Head, Part, Place};
use crate::agents::Agent;
use crate::allocator::{Claim, Claims};
use crate::config::Config;
use crate::frameworks::Framework;
use crate::master::Master;
use crate::tasks::Task;

impl Master {
    /// All that this master is, record by record. Made one at a time, as they are asked for.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        // Named one by one, here and below: a field that is new does not compile until it is among the parts, or is added up.
        let Master {
            config,
            epoch,
            id,
            started,
            random,
            agents_named,
            frameworks_named,
            offers_named,
            agents,
            heard,
            addresses: _,
            gone,
            lost: _,
            frameworks,
            completed,
            removed,
            claims,
            offers,
            weights,
            deadlines,
            pool: _,
            dirty,
            awake,
            pass_allowed,
            emptied,
            deposed_by,
        } = self;
        let head = Head {
            config: Config::clone(config),
            epoch: *epoch,
            id: id.clone(),
            started: *started,
            random: random.state(),
            agents_named: *agents_named,
            frameworks_named: *frameworks_named,
            offers_named: *offers_named,
            round: dirty.round(),
            awake: *awake,
            pass_allowed: *pass_allowed,
            emptied: emptied.clone(),
            deposed_by: deposed_by.clone(),
        };
        let filters = agents.values().flat_map(move |agent| filter_parts(agent, claims, *awake));
        let agents =
            agents.with_slots().map(move |(_, slot, agent)| agent_part(agent, heard.get(&slot).copied()));
        iter::once(Part::Head(Box::new(head)))
            .chain(agents)
            .chain(gone.iter().map(|(id, at)| Part::Gone { id: id.clone(), at: *at }))
            .chain(removed.iter().map(|(id, at)| Part::Removed { id: id.clone(), at: *at }))
            .chain(weights.iter().map(|(role, weight)| Part::Weight { role: role.clone(), weight: *weight }))
            .chain(frameworks.values().flat_map(|framework| framework_parts(framework, false)))
            .chain(completed.iter().flat_map(|framework| framework_parts(framework, true)))
            .chain(filters)
            .chain(offers.values().map(|offer| Part::Offer(offer.clone())))
            .chain(deadlines.iter().map(|(at, due)| Part::Deadline { at: *at, due: due.clone() }))
            .chain(dirty.iter().map(|(round, lot, agent)| Part::Mark { round, lot, agent: agent.clone() }))
    }
}

fn agent_part(agent: &Agent, heard: Option<Now>) -> Part {
    let Agent {
        id,
        info,
        principal,
        state,
        admitted,
        drain,
        capabilities,
        offered: _,
        allocated: _,
        offers: _,
        tasks: _,
        refusals: _,
    } = agent;
    Part::Agent(Box::new(AgentPart {
        id: id.clone(),
        info: info.clone(),
        state: *state,
        admitted: *admitted,
        heard,
        drain: *drain,
        capabilities: capabilities.clone(),
        principal: principal.clone(),
    }))
}

fn framework_parts(framework: &Framework, torn_down: bool) -> impl Iterator<Item = Part> {
    let Framework {
        id,
        info,
        state,
        absence,
        registered,
        suppressed,
        holdings,
        offers: _,
        tasks,
        unreachable,
        completed,
        claims: _,
        unserved,
    } = framework;
    let part = FrameworkPart {
        id: id.clone(),
        info: info.clone(),
        state: *state,
        absence: *absence,
        registered: *registered,
        suppressed: suppressed.clone(),
        served: holdings.iter().map(|(role, holding)| (role.clone(), holding.served)).collect(),
        unserved: unserved.clone(),
        torn_down,
    };
    iter::once(Part::Framework(Box::new(part)))
        .chain(tasks.shared().map(task_part(Place::Live)))
        .chain(unreachable.shared().map(task_part(Place::Unreachable)))
        .chain(completed.iter().map(task_part(Place::Completed)))
}

/// What of the agent is declined, by framework and role. What is over, or was revived, says nothing: when that is dropped
/// is not to be seen.
fn filter_parts(agent: &Agent, claims: &Claims, now: Mono) -> impl Iterator<Item = Part> + use<> {
    let said = agent.refusals.iter().filter(|(_, _, until)| *until > now);
    let said = said.filter_map(|(claim, resources, until)| Some((claims.get(claim)?, resources, until)));
    let mut filters: Vec<(&Claim, &Resources, Mono)> = said.collect();
    filters.sort_by_key(|(claim, ..)| *claim);
    let part = |(claim, resources, until): (&Claim, &Resources, Mono)| Part::Filter {
        framework: Some(claim.framework.clone()),
        role: claim.role.clone(),
        agent: agent.id.clone(),
        resources: resources.clone(),
        until,
    };
    let parts: Vec<Part> = filters.into_iter().map(part).collect();
    parts.into_iter()
}

fn task_part(place: Place) -> impl Fn(&Arc<Task>) -> Part {
    move |task| Part::Task { place, task: Arc::clone(task) }
}
