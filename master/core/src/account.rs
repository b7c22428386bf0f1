//! The one account of who holds what.
//!
//! What is offered and what is allocated stands on the agent's record; what a framework holds, as amounts by role,
//! stands on the framework's, for its share. Both change here and nowhere else, together with the pool that shares
//! are measured by. `invariants` adds the tasks and offers up again and compares.

use bourse_types::{AgentId, FrameworkId, Quantities, ResourceValue, Resources, Role};

use crate::frameworks::Framework;
use crate::master::Master;
use crate::tasks::sum_held;

/// The amounts that count for a share: scalars. Ports and sets are not scarce in a way that shares could balance;
/// Mesos leaves them out too.
pub(crate) fn scalars(resources: &Resources) -> Quantities {
    let mut scalars = Quantities::new();
    for resource in resources {
        match &resource.value {
            ResourceValue::Scalar(amount) if !resource.key.shared => scalars.add(&resource.key.name, *amount),
            ResourceValue::Scalar(_) | ResourceValue::Ranges(_) | ResourceValue::Set(_) => {}
        }
    }
    scalars
}

impl Master {
    /// These resources of the agent are in an offer to the framework from now on.
    pub(crate) fn hold_offered(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        role: &Role,
        held: &Resources,
    ) {
        self.agent_mut(agent).offered.add(held);
        self.hold(framework, role, held);
    }

    /// They are no longer.
    pub(crate) fn release_offered(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        role: &Role,
        held: &Resources,
    ) {
        let record = self.agent_mut(agent);
        let left = record.offered.checked_sub(held);
        record.offered = left.expect("what an outstanding offer holds was added when it was made");
        self.release(framework, role, held);
        self.mark_dirty(agent);
    }

    /// A task of the framework holds these resources of the agent from now on.
    pub(crate) fn hold_allocated(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        role: &Role,
        held: &Resources,
    ) {
        self.agent_mut(agent).allocated.add(held);
        self.hold(framework, role, held);
    }

    /// It does no longer.
    pub(crate) fn release_allocated(
        &mut self,
        agent: &AgentId,
        framework: &FrameworkId,
        role: &Role,
        held: &Resources,
    ) {
        // Two tasks that an agent told with the same port hold it once in the sum, and the first to end must not free
        // it: agents are believed when they tell what runs, however odd. Plain amounts need no such care.
        let counted = held.iter().all(|resource| matches!(resource.value, ResourceValue::Scalar(_)));
        let left = if counted { self.agent_mut(agent).allocated.checked_sub(held) } else { None };
        let left = left.unwrap_or_else(|| self.sum_of_tasks(agent));
        self.agent_mut(agent).allocated = left;
        self.release(framework, role, held);
        self.mark_dirty(agent);
    }

    /// Tasks that hold something, added up; the one that ends does not hold any more.
    fn sum_of_tasks(&self, agent: &AgentId) -> Resources {
        let record = self.agents.get(agent).expect("the caller holds resources of it");
        let tasks = record.tasks.iter().filter_map(|(framework, task)| self.task(framework, task));
        sum_held(tasks.filter(|task| task.holds))
    }

    /// Adds up what tasks and offers hold, agent by agent and framework by framework, what was lost, and the pool, where
    /// nothing was added up yet: for a master that is put together from its records. What names an agent, a framework or a role that is not
    /// there counts for nothing; the invariants tell of it.
    pub(crate) fn add_up(&mut self) {
        let Master { agents, frameworks, offers, pool, .. } = self;
        let ids: Vec<FrameworkId> = frameworks.keys().cloned().collect();
        for id in &ids {
            let framework = frameworks.get_mut(id).expect("its key was just read");
            let Framework { tasks, holdings, .. } = framework;
            for task in tasks.values() {
                let Some(agent) = agents.get_mut(&task.agent) else { continue };
                agent.tasks.insert((id.clone(), task.info.id.clone()));
                if task.holds {
                    let held = task.held();
                    agent.allocated.add(&held);
                    if let Some(holding) = holdings.get_mut(&task.role) {
                        holding.amounts.add_all(&scalars(&held));
                    }
                }
            }
        }
        for offer in offers.values() {
            let (agent, framework) = (agents.get_mut(&offer.agent), frameworks.get_mut(&offer.framework));
            let (Some(agent), Some(framework)) = (agent, framework) else { continue };
            agent.offers.insert(offer.id.clone());
            agent.offered.add(&offer.resources);
            framework.offers.insert(offer.id.clone());
            if let Some(holding) = framework.holdings.get_mut(&offer.role) {
                holding.amounts.add_all(&scalars(&offer.resources));
            }
        }
        for agent in agents.values().filter(|agent| agent.state.in_pool()) {
            pool.add_all(&scalars(&agent.info.total));
        }
        self.lost = self.lost_by_frameworks();
    }

    fn hold(&mut self, framework: &FrameworkId, role: &Role, held: &Resources) {
        let holding = self.framework_mut(framework).holdings.entry(role.clone()).or_default();
        holding.amounts.add_all(&scalars(held));
    }

    /// Saturating, as the sum may have been: a hostile agent can tell of more than fits, and must not stop the master.
    fn release(&mut self, framework: &FrameworkId, role: &Role, held: &Resources) {
        if let Some(holding) = self.framework_mut(framework).holdings.get_mut(role) {
            holding.amounts = holding.amounts.saturating_sub(&scalars(held));
        }
    }

    /// The agent's resources count as the cluster's. Changes nothing for one that is not connected.
    pub(crate) fn join_pool(&mut self, agent: &AgentId) {
        if let Some(agent) = self.agents.get(agent).filter(|agent| agent.state.in_pool()) {
            self.pool.add_all(&scalars(&agent.info.total));
        }
    }

    /// They do not any longer. Called before the agent's state changes.
    pub(crate) fn leave_pool(&mut self, agent: &AgentId) {
        if let Some(agent) = self.agents.get(agent).filter(|agent| agent.state.in_pool()) {
            self.pool = self.pool.saturating_sub(&scalars(&agent.info.total));
        }
    }
}
