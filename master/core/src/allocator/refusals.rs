//! What frameworks declined for a while; it stands with the agent.
//!
//! A refusal is of its resources and any part of them, of one agent, by one claim: a framework in one of its roles. What
//! is more passes. It ends when its time is over, when the framework revives the role, or when the agent or the framework
//! changes.
//!
//! There may be millions of them, so one is three numbers: everybody who declines an agent declines the same of it, and
//! that is kept once. Claims are numbered, and no number is given twice: who revives a role loses its number, and what was
//! refused under that says nothing any more, without a look at any agent. It is dropped when somebody looks whether
//! refusals of the agent have ended, or when its list has become long.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;
use std::time::Duration;

use bourse_types::{AgentId, FrameworkId, Mono, Now, Resources, Role};
use imbl::OrdMap;

use crate::agents::Agent;
use crate::deadlines::Due;
use crate::frameworks::Framework;
use crate::master::Master;

/// Refusals kept of one claim on one agent. The one that ends first makes room: a framework that declines ever larger
/// offers of one agent needs no more.
pub(crate) const REFUSALS_MAX: usize = 16;

/// The pause between two looks at an agent for refusals that have ended, so that those which end one after another are
/// seen together. The first end is seen at its time.
const LOOKS_APART: Duration = Duration::from_millis(100);

/// Of how many kinds of what was refused last it is seen that another refusal is of the same.
const SHAPES_COMPARED: usize = 16;

/// The number of a claim.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClaimId(u64);

/// Which one it is says nothing: a master that is put together from its parts gives other numbers.
impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claim")
    }
}

/// A framework in one of its roles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub framework: FrameworkId,
    pub role: Role,
}

/// The claims of one framework.
#[derive(Clone, Default)]
pub(crate) struct ClaimsByRole(BTreeMap<Role, ClaimId>);

impl Deref for ClaimsByRole {
    type Target = BTreeMap<Role, ClaimId>;

    fn deref(&self) -> &BTreeMap<Role, ClaimId> {
        &self.0
    }
}

impl DerefMut for ClaimsByRole {
    fn deref_mut(&mut self) -> &mut BTreeMap<Role, ClaimId> {
        &mut self.0
    }
}

/// A claim of which nothing is refused any more says nothing: whether it is there still is not to be seen.
impl fmt::Debug for ClaimsByRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }
}

/// Frameworks in roles in which they declined something and which they have not revived since.
#[derive(Clone, Default)]
pub(crate) struct Claims {
    claims: OrdMap<ClaimId, Claim>,
    next: ClaimId,
}

/// As of [`ClaimsByRole`].
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }
}

impl Claims {
    /// `None` when it was revived since, or its framework is no more.
    pub(crate) fn get(&self, id: ClaimId) -> Option<&Claim> {
        self.claims.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClaimId, &Claim)> {
        self.claims.iter().map(|(id, claim)| (*id, claim))
    }

    fn give(&mut self, claim: Claim) -> ClaimId {
        let id = self.next;
        self.next = ClaimId(id.0 + 1);
        self.claims.insert(id, claim);
        id
    }
}

/// What is refused of one agent.
#[derive(Clone, Default)]
pub(crate) struct Refusals {
    /// By claim, and those of one in the order in which they came, which decides between equals.
    all: Vec<Refusal>,
    /// What is refused.
    shapes: Vec<Resources>,
    /// When somebody looks whether some have ended.
    look: Option<Mono>,
    /// How many there were when those that say nothing were dropped last.
    dropped_to: usize,
}

/// Without what is refused, of which some says nothing any more: when that is dropped is not to be seen.
impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").field("look", &self.look).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    claim: ClaimId,
    until: Mono,
    /// Its place among the shapes.
    shape: u32,
}

impl Refusals {
    /// Until when this claim refuses these resources; `None` when they are welcome.
    pub(crate) fn refuses(&self, claim: ClaimId, offered: &Resources, now: Mono) -> Option<Mono> {
        self.all[self.of(claim)]
            .iter()
            .filter(|refusal| refusal.until > now && self.shape(refusal).contains(offered))
            .map(|refusal| refusal.until)
            .max()
    }

    /// All of them, by claim, and those of one in the order in which they came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClaimId, &Resources, Mono)> {
        self.all.iter().map(|refusal| (refusal.claim, self.shape(refusal), refusal.until))
    }

    /// When somebody looks whether some have ended.
    pub(crate) fn look(&self) -> Option<Mono> {
        self.look
    }

    fn of(&self, claim: ClaimId) -> Range<usize> {
        let from = self.all.partition_point(|refusal| refusal.claim < claim);
        let count = self.all[from..].partition_point(|refusal| refusal.claim == claim);
        from..from + count
    }

    fn shape(&self, refusal: &Refusal) -> &Resources {
        &self.shapes[refusal.shape as usize]
    }

    /// Answers whether it says something that was not said.
    fn add(&mut self, claim: ClaimId, resources: Resources, until: Mono, now: Mono) -> bool {
        let of = self.of(claim);
        let mut left: Vec<Refusal> =
            self.all[of.clone()].iter().filter(|refusal| refusal.until > now).copied().collect();
        // One that is covered by another that lasts as long says nothing.
        if left.iter().any(|refusal| refusal.until >= until && self.shape(refusal).contains(&resources)) {
            return false;
        }
        left.retain(|refusal| refusal.until > until || !resources.contains(self.shape(refusal)));
        if left.len() >= REFUSALS_MAX {
            let first = left.iter().enumerate().min_by_key(|(_, refusal)| refusal.until).map(|(at, _)| at);
            left.remove(first.expect("there are as many as the maximum"));
        }
        left.push(Refusal { claim, until, shape: self.shape_of(resources) });
        drop(self.all.splice(of, left));
        true
    }

    /// One as it was, behind those of this claim.
    fn put(&mut self, claim: ClaimId, resources: Resources, until: Mono) {
        let at = self.of(claim).end;
        let shape = self.shape_of(resources);
        self.all.insert(at, Refusal { claim, until, shape });
    }

    fn shape_of(&mut self, resources: Resources) -> u32 {
        let mut last = self.shapes.iter().enumerate().rev().take(SHAPES_COMPARED);
        let known = last.find(|(_, shape)| **shape == resources).map(|(at, _)| at);
        let at = known.unwrap_or(self.shapes.len());
        if known.is_none() {
            self.shapes.push(resources);
        }
        u32::try_from(at).expect("a claim has sixteen at most, and so many claims have no room in any memory")
    }

    /// Whether there are so many more than when they were dropped last, of them or of shapes, that it is worth another look
    /// at each.
    fn is_long(&self) -> bool {
        self.all.len().max(self.shapes.len()) >= 2 * self.dropped_to + 64
    }

    /// Drops those that say nothing any more, and the shapes that nobody refuses then.
    fn drop_all_but(&mut self, says: impl Fn(ClaimId, Mono) -> bool) {
        self.all.retain(|refusal| says(refusal.claim, refusal.until));
        self.all.shrink_to_fit();
        self.dropped_to = self.all.len();
        let shapes = std::mem::take(&mut self.shapes);
        let mut moved: Vec<Option<u32>> = vec![None; shapes.len()];
        for at in 0..self.all.len() {
            let before = self.all[at].shape as usize;
            let after = moved[before].unwrap_or_else(|| self.shape_of(shapes[before].clone()));
            moved[before] = Some(after);
            self.all[at].shape = after;
        }
    }
}

impl Framework {
    /// Until when the framework refuses these resources of the agent for the role; `None` when they are welcome.
    pub(crate) fn refuses(&self, role: &Role, agent: &Agent, offered: &Resources, now: Mono) -> Option<Mono> {
        agent.refusals.refuses(*self.claims.get(role)?, offered, now)
    }
}

impl Master {
    /// The framework does not want these resources of this agent for so long, within the configured bounds.
    pub(crate) fn add_refusal(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: Resources,
        refuse: Duration,
    ) {
        let until = now.mono + refuse.clamp(self.config.filter_min, self.config.filter_max);
        let claim = self.claim_of(framework, role);
        let Master { agents, claims, .. } = self;
        let Some(record) = agents.get_mut(agent) else { return };
        let refusals = Arc::make_mut(&mut record.refusals);
        if !refusals.add(claim, resources, until, now.mono) {
            return;
        }
        if refusals.is_long() {
            refusals.drop_all_but(|claim, until| claims.get(claim).is_some() && until > now.mono);
        }
        if refusals.look.is_none_or(|look| until < look) {
            self.look_at_refusals(agent, Some(until));
        }
    }

    /// A refusal of a master that is put together again. The caller has the framework in the table; of an agent that is
    /// not there nothing is refused.
    pub(crate) fn put_refusal(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: Resources,
        until: Mono,
    ) {
        let claim = self.claim_of(framework, role);
        if let Some(record) = self.agents.get_mut(agent) {
            Arc::make_mut(&mut record.refusals).put(claim, resources, until);
        }
    }

    /// The same of the entry among the deadlines: the first one counts.
    pub(crate) fn put_look(&mut self, agent: &AgentId, at: Mono) {
        if let Some(record) = self.agents.get_mut(agent) {
            let look = &mut Arc::make_mut(&mut record.refusals).look;
            *look = Some(look.map_or(at, |known| known.min(at)));
        }
    }

    /// The framework's claim in this role, with a number from now on.
    fn claim_of(&mut self, framework: &FrameworkId, role: &Role) -> ClaimId {
        if let Some(known) = self.frameworks.get(framework).and_then(|record| record.claims.get(role)) {
            return *known;
        }
        let id = self.claims.give(Claim { framework: framework.clone(), role: role.clone() });
        self.framework_mut(framework).claims.insert(role.clone(), id);
        id
    }

    /// Refusals of this agent may have ended: their frameworks may want it again.
    pub(crate) fn on_refusals_due(&mut self, now: Now, agent: &AgentId) {
        let Master { agents, claims, .. } = self;
        let Some(record) = agents.get_mut(agent) else { return };
        let refusals = Arc::make_mut(&mut record.refusals);
        refusals.drop_all_but(|claim, until| claims.get(claim).is_some() && until > now.mono);
        let next = refusals.all.iter().map(|refusal| refusal.until).min();
        self.look_at_refusals(agent, next.map(|end| end.max(now.mono + LOOKS_APART)));
        self.mark_dirty(agent);
    }

    /// Forgets what the framework refused in a role, or in all roles.
    pub(crate) fn forget_refusals(&mut self, framework: &FrameworkId, role: Option<&Role>) {
        let claims = &mut self.framework_mut(framework).claims;
        let forgotten: Vec<ClaimId> = match role {
            Some(role) => claims.remove(role).into_iter().collect(),
            None => std::mem::take(&mut claims.0).into_values().collect(),
        };
        for id in forgotten {
            self.claims.claims.remove(&id);
        }
    }

    /// The agent is not what it was when it was declined.
    pub(crate) fn forget_refusals_of_agent(&mut self, agent: &AgentId) {
        let declined = |record: &Agent| record.refusals.look.is_some() || !record.refusals.all.is_empty();
        if self.agents.get(agent).is_some_and(declined) {
            self.look_at_refusals(agent, None);
            self.agent_mut(agent).refusals = Arc::default();
        }
    }

    /// One entry among the deadlines for each agent.
    fn look_at_refusals(&mut self, agent: &AgentId, at: Option<Mono>) {
        let look = &mut Arc::make_mut(&mut self.agent_mut(agent).refusals).look;
        let before = std::mem::replace(look, at);
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.deadlines.clear(before, Due::Refusals(agent.clone()));
        }
        if let Some(at) = at {
            self.deadlines.set(at, Due::Refusals(agent.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
