//! What must always hold, as code. Asked after every event by the tests and the simulator, never on the hot path.

use std::collections::{BTreeMap, BTreeSet};

use bourse_types::{AgentId, FrameworkId, Mono, OfferId, Quantities, Resources, Role};

use crate::account::scalars;
use crate::agents::{Agent, AgentState};
use crate::allocator::{Claim, ClaimId, REFUSALS_MAX};
use crate::frameworks::FrameworkState;
use crate::master::Master;
use crate::tasks::{Task, sum_held};

impl Master {
    /// Every broken promise, as a sentence. Empty when all is well.
    ///
    /// - Offered and allocated resources of an agent never exceed what it has, and nothing is in two offers. Tasks alone
    ///   may, where an agent told so itself; nothing of it is offered then.
    /// - What the records say is offered, allocated and held is what the offers and tasks add up to. What was lost with an
    ///   agent is what the frameworks' records say.
    /// - Offers are of connected agents that are not drained, and for connected frameworks in roles that they have.
    /// - A task stands in one place of its framework, and on the agent that it names; it holds resources exactly
    ///   until it has ended. While it is being resized it counts for the greater of both sizes.
    /// - An id is never both known and gone, or both known and removed.
    /// - Everything that waits has a deadline, and what is kept for people has its bound.
    pub fn violations(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_agents(&mut broken);
        self.check_offers_held(&mut broken);
        self.check_frameworks(&mut broken);
        self.check_pool(&mut broken);
        self.check_kept_beside(&mut broken);
        self.check_refusals(&mut broken);
        self.check_deadlines(&mut broken);
        broken
    }

    fn check_agents(&self, broken: &mut Vec<String>) {
        for agent in self.agents.values() {
            let id = &agent.id;
            let offers: Vec<&Resources> = agent
                .offers
                .iter()
                .filter_map(|id| self.offers.get(id))
                .map(|offer| &offer.resources)
                .collect();
            if offers.len() != agent.offers.len() {
                broken.push(format!("agent {id} lists offers that are not outstanding"));
            }
            let offered: Resources = offers.iter().copied().sum();
            if offered != agent.offered {
                broken
                    .push(format!("agent {id} says {} is offered, its offers hold {offered}", agent.offered));
            }
            let tasks: Vec<&Task> =
                agent.tasks.iter().filter_map(|(framework, task)| self.task(framework, task)).collect();
            if tasks.len() != agent.tasks.len() {
                broken.push(format!("agent {id} lists tasks that are not in the table"));
            }
            let allocated = sum_held(tasks.iter().copied().filter(|task| task.holds));
            if allocated != agent.allocated {
                broken.push(format!(
                    "agent {id} says {} is allocated, its tasks hold {allocated}",
                    agent.allocated
                ));
            }
            self.check_capacity(agent, &offers, broken);
            if !agent.offers.is_empty() && (agent.link().is_none() || agent.drain.is_some()) {
                broken.push(format!("agent {id} is {} and has offers", agent.word()));
            }
            if agent.link().is_none()
                && self.heard(id).is_none()
                && !matches!(agent.state, AgentState::Recovered { .. } | AgentState::Unreachable { .. })
            {
                broken.push(format!("agent {id} was connected and never heard"));
            }
            if agent.info.address.port != 0 && self.addresses.get(&agent.place()) != Some(id) {
                broken.push(format!(
                    "agent {id} is not the one of its owner at its address {}",
                    agent.info.address
                ));
            }
            if self.gone.contains_key(id) {
                broken.push(format!("agent {id} is known and gone"));
            }
        }
    }

    /// Taken one by one, so that a port in two offers is found even though it is in their sum once.
    fn check_capacity(&self, agent: &Agent, offers: &[&Resources], broken: &mut Vec<String>) {
        if offers.is_empty() {
            return;
        }
        let mut left = agent.info.total.checked_sub(&agent.allocated);
        for offer in offers {
            left = left.and_then(|left| left.checked_sub(offer));
        }
        if left.is_none() {
            let (total, offered, allocated) = (&agent.info.total, &agent.offered, &agent.allocated);
            broken.push(format!(
                "agent {} has {total}, but {offered} is offered and {allocated} allocated",
                agent.id
            ));
        }
    }

    fn check_offers_held(&self, broken: &mut Vec<String>) {
        for offer in self.offers.values() {
            let id = &offer.id;
            if !self.agents.get(&offer.agent).is_some_and(|agent| agent.offers.contains(id)) {
                broken.push(format!("offer {id} is not listed by its agent {}", offer.agent));
            }
            match self.frameworks.get(&offer.framework) {
                None => broken.push(format!("offer {id} is held by {}, which is not there", offer.framework)),
                Some(framework) => {
                    if framework.state.stream().is_none() {
                        broken.push(format!("offer {id} is held by {}, which is away", offer.framework));
                    }
                    if !framework.offers.contains(id) {
                        broken.push(format!("offer {id} is not listed by its framework {}", offer.framework));
                    }
                    if !framework.info.roles.contains(&offer.role) {
                        broken
                            .push(format!("offer {id} is for role {}, which its framework left", offer.role));
                    }
                }
            }
            if offer.resources.is_empty() {
                broken.push(format!("offer {id} holds nothing"));
            }
        }
    }

    fn check_frameworks(&self, broken: &mut Vec<String>) {
        for framework in self.frameworks.values() {
            let id = &framework.id;
            if self.removed.contains(id) {
                broken.push(format!("framework {id} is known and removed"));
            }
            if framework.info.id.as_ref() != Some(id) {
                broken.push(format!("framework {id} has another id in its description"));
            }
            if matches!(framework.state, FrameworkState::Disconnected { .. }) != framework.absence.is_some()
                && !matches!(framework.state, FrameworkState::Recovered { .. })
            {
                broken.push(format!(
                    "framework {id} is {} and the registry thinks otherwise",
                    framework.state.as_str()
                ));
            }
            for task in framework.tasks.values() {
                self.check_task_held(id, task, broken);
                if framework.unreachable.contains(&task.info.id) {
                    broken.push(format!("task {} of {id} is alive and unreachable", task.info.id));
                }
            }
            for task in framework.unreachable.values() {
                if task.holds {
                    broken.push(format!("task {} of {id} is unreachable and holds resources", task.info.id));
                }
            }
            if framework.completed.iter().any(|task| task.holds) {
                broken.push(format!("a task of {id} has ended and holds resources"));
            }
            if framework.completed.len() > self.config.completed_tasks_max
                || framework.unreachable.len() > self.config.unreachable_tasks_max
            {
                broken.push(format!("framework {id} keeps more tasks than its bound"));
            }
            self.check_holdings(id, broken);
        }
    }

    fn check_task_held(&self, framework: &FrameworkId, task: &Task, broken: &mut Vec<String>) {
        let id = &task.info.id;
        if task.holds == task.state.is_terminal() {
            let word = if task.holds { "holds" } else { "does not hold" };
            broken.push(format!("task {id} of {framework} is {} and {word} resources", task.state));
        }
        if task.resize.is_some() && !task.holds {
            broken.push(format!("task {id} of {framework} holds nothing and is being resized"));
        }
        let key = (framework.clone(), id.clone());
        if !self.agents.get(&task.agent).is_some_and(|agent| agent.tasks.contains(&key)) {
            broken.push(format!("task {id} of {framework} is not listed by its agent {}", task.agent));
        }
    }

    /// What a framework is said to hold in each role is what its tasks and offers add up to.
    fn check_holdings(&self, id: &FrameworkId, broken: &mut Vec<String>) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let mut sums: BTreeMap<&Role, Quantities> = BTreeMap::new();
        for task in framework.tasks.values().filter(|task| task.holds) {
            sums.entry(&task.role).or_default().add_all(&scalars(&task.held()));
        }
        for offer in framework.offers.iter().filter_map(|id| self.offers.get(id)) {
            sums.entry(&offer.role).or_default().add_all(&scalars(&offer.resources));
        }
        let roles: BTreeSet<&Role> = sums.keys().copied().chain(framework.holdings.keys()).collect();
        for role in roles {
            let sum = sums.get(role).cloned().unwrap_or_default();
            let said =
                framework.holdings.get(role).map(|holding| holding.amounts.clone()).unwrap_or_default();
            if sum != said {
                broken.push(format!("framework {id} is said to hold {said} in role {role}, and holds {sum}"));
            }
        }
    }

    fn check_pool(&self, broken: &mut Vec<String>) {
        let mut pool = Quantities::new();
        for agent in self.agents.values().filter(|agent| agent.state.in_pool()) {
            pool.add_all(&scalars(&agent.info.total));
        }
        if pool != self.pool {
            broken.push(format!("the pool is said to be {}, and is {pool}", self.pool));
        }
    }

    /// What is kept beside the records, so that nobody has to go through them all, says what they say.
    fn check_kept_beside(&self, broken: &mut Vec<String>) {
        if self.heard.keys().any(|slot| self.agents.at(*slot).is_none()) {
            broken.push("somebody was heard who is not in the table".to_owned());
        }
        let lost = self.lost_by_frameworks();
        if lost != self.lost {
            broken.push(format!("it is said that {:?} was lost with agents, and {lost:?} was", self.lost));
        }
        for framework in self.frameworks.values().filter(|framework| !framework.completed.is_counted()) {
            broken.push(format!("framework {} has miscounted the ends that are not settled", framework.id));
        }
    }

    /// What was declined is looked at when it ends, has its bound, and its framework knows of it.
    fn check_refusals(&self, broken: &mut Vec<String>) {
        for agent in self.agents.values() {
            let id = &agent.id;
            let look = agent.refusals.look();
            if look.is_some_and(|at| !self.deadlines.watches_refusals(at, id)) {
                broken.push(format!(
                    "nobody looks whether what was declined of agent {id} may be offered again"
                ));
            }
            let mut kept: BTreeMap<ClaimId, usize> = BTreeMap::new();
            for (claim, _, until) in agent.refusals.iter() {
                *kept.entry(claim).or_default() += 1;
                if look.is_none()
                    && until < Mono::MAX
                    && until > self.awake
                    && self.claims.get(claim).is_some()
                {
                    broken.push(format!("agent {id} was declined until {until:?}, and nobody looks then"));
                }
            }
            if kept.values().any(|kept| *kept > REFUSALS_MAX) {
                broken.push(format!("more refusals of agent {id} are kept than their bound"));
            }
        }
        for (claim, Claim { framework, role }) in self.claims.iter() {
            let known = self.frameworks.get(framework).and_then(|framework| framework.claims.get(role));
            if known != Some(&claim) {
                broken.push(format!("framework {framework} does not know what it declined in role {role}"));
            }
        }
    }

    /// Something that waits for ever is lost: a framework that is away, an agent that may be silent, an offer.
    fn check_deadlines(&self, broken: &mut Vec<String>) {
        let watched = self.deadlines.watched_agents();
        let may_be_silent = |agent: &&Agent| !matches!(agent.state, AgentState::Unreachable { .. });
        let agents = self.agents.values().filter(may_be_silent).map(|agent| &agent.id);
        let agents: Vec<&AgentId> = agents.filter(|id| !watched.contains(*id)).collect();
        if !agents.is_empty() {
            broken.push(format!("nobody watches agents {agents:?}"));
        }
        let away = self
            .frameworks
            .values()
            .filter_map(|framework| Some((framework.state.deadline()?, &framework.id)));
        for (at, id) in away {
            if !self.deadlines.watches_framework(at, id) {
                broken.push(format!("nobody watches framework {id}, which is away"));
            }
        }
        let offers: Vec<&OfferId> = self
            .offers
            .values()
            .filter(|offer| !self.deadlines.watches_offer(offer))
            .map(|offer| &offer.id)
            .collect();
        if !offers.is_empty() {
            broken.push(format!("nobody watches offers {offers:?}"));
        }
    }
}
