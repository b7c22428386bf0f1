//! Accepting: several offers of one agent are taken together, tasks are launched in order, the rest is declined.

use std::collections::BTreeSet;
use std::sync::Arc;

use bourse_types::{
    AgentId, FrameworkId, Now, OfferId, Reason, Resources, Role, Source, TaskState, TaskStatus,
};

use crate::effect::Effects;
use crate::event::{Accept, Launch};
use crate::master::Master;
use crate::offers::Offer;
use crate::tasks::{BadResize, Place};

/// Why offers cannot be accepted together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOffers {
    /// None was named.
    #[error("no offer is named; name the offers that the tasks are to run on")]
    None,
    /// One was named twice.
    #[error("offer {0} is named twice; name each offer once")]
    Repeated(OfferId),
    /// Rescinded, expired, accepted before, or never made: the wording covers somebody else's too, as nobody needs
    /// to learn which offers others hold.
    #[error(
        "offer {0} is no longer valid: it was rescinded, expired, or answered before; wait for the next one"
    )]
    NotOutstanding(OfferId),
    /// Not of one machine.
    #[error("the offers are of agents {0} and {1}; accept offers of one agent at a time")]
    TwoAgents(AgentId, AgentId),
    /// Not for one role.
    #[error("the offers are for roles {0} and {1}; accept offers of one role at a time")]
    TwoRoles(Role, Role),
}

/// Tasks of one ACCEPT, launched and resized. What one call makes the master say to an agent must fit in the queue of its link: an agent whose
/// queue overflows is cut off, and everybody's tasks there with it.
pub const LAUNCHES_PER_ACCEPT_MAX: usize = 1_000;

/// Tasks on one agent. So all of them together can be launched, killed and acknowledged within one queue of a link, and a
/// returning agent can be told to kill every one. Kubernetes' documentation, for one, advises 110 pods on a node at most.
pub const TASKS_PER_AGENT_MAX: usize = 2_000;

/// Why a task of a good accept is not launched now, though it might be by another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// In one call.
    #[error(
        "the call launches {0} tasks and one may launch {LAUNCHES_PER_ACCEPT_MAX}; launch the rest from the next offer"
    )]
    InCall(usize),
    /// On one machine.
    #[error("agent {0} has {TASKS_PER_AGENT_MAX} tasks, and no agent may have more; launch on another agent")]
    OnAgent(AgentId),
}

impl Master {
    /// A scheduler takes offers. With one that is not outstanding any more, or offers that do not belong together,
    /// nothing is launched: every task is told as TASK_DROPPED with REASON_INVALID_OFFERS (one that runs already, with
    /// the state that it is in), and the valid offers are given back without a filter. So a repeat fails cleanly.
    ///
    /// Else each task is resized, and each new one launched, or refused, in order, each from what those before it left;
    /// what is left in the end is declined for `refuse`. Tasks beyond what one call may launch, and one agent have, are
    /// told as TASK_DROPPED. Without offers, tasks are resized to what they have or less.
    pub(crate) fn on_accept(&mut self, now: Now, framework: &FrameworkId, accept: Accept, out: &mut Effects) {
        let Accept { offers, launches, resizes, refuse } = accept;
        if offers.is_empty() && launches.is_empty() && !resizes.is_empty() {
            return self.resize_in_place(now, framework, resizes, out);
        }
        let checked = self.check_offers(framework, &offers);
        let taken: Vec<Arc<Offer>> = offers
            .iter()
            .filter(|id| self.offers.get(*id).is_some_and(|offer| offer.framework == *framework))
            .cloned()
            .collect::<BTreeSet<OfferId>>()
            .iter()
            .filter_map(|id| self.take_back(id))
            .collect();
        let (agent, role) = match checked {
            Ok(agent_and_role) => agent_and_role,
            Err(refusal) => {
                self.refuse_resizes(now, framework, &resizes, &refusal, out);
                return self.refuse_launches(now, framework, launches, &refusal, out);
            }
        };
        let mut left: Resources = taken.iter().map(|offer| &offer.resources).sum();
        let place = Place { framework, agent: &agent, role: &role };
        let (before, count) = (resizes.len(), resizes.len() + launches.len());
        for (number, resize) in resizes.into_iter().enumerate() {
            match number >= LAUNCHES_PER_ACCEPT_MAX {
                true => {
                    let why = BadResize::InCall(count).to_string();
                    let reason = Reason::ContainerUpdateFailed;
                    self.refuse_resize(now, framework, &resize.task, reason, &why, out);
                }
                false => left = self.resize(now, &place, left, resize, out),
            }
        }
        for (number, launch) in launches.into_iter().enumerate() {
            let full = self.agents.get(&agent).is_some_and(|it| it.tasks.len() >= TASKS_PER_AGENT_MAX);
            let too_many = match before + number >= LAUNCHES_PER_ACCEPT_MAX {
                true => Some(TooMany::InCall(count)),
                false => full.then(|| TooMany::OnAgent(agent.clone())),
            };
            match too_many {
                Some(refusal) => self.drop_launch(now, framework, launch, &refusal.to_string(), out),
                None => left = self.launch(now, &place, left, launch, out),
            }
        }
        if !left.is_empty() {
            self.add_refusal(now, framework, &role, &agent, left, refuse);
        }
    }

    /// The one agent and role of these offers.
    fn check_offers(
        &self,
        framework: &FrameworkId,
        offers: &[OfferId],
    ) -> Result<(AgentId, Role), BadOffers> {
        let mut seen = BTreeSet::new();
        let mut place: Option<(AgentId, Role)> = None;
        for id in offers {
            if !seen.insert(id) {
                return Err(BadOffers::Repeated(id.clone()));
            }
            let outstanding = self.offers.get(id).filter(|offer| offer.framework == *framework);
            let offer = outstanding.ok_or_else(|| BadOffers::NotOutstanding(id.clone()))?;
            let (agent, role) = place.get_or_insert_with(|| (offer.agent.clone(), offer.role.clone()));
            if offer.agent != *agent {
                return Err(BadOffers::TwoAgents(agent.clone(), offer.agent.clone()));
            }
            if offer.role != *role {
                return Err(BadOffers::TwoRoles(role.clone(), offer.role.clone()));
            }
        }
        place.ok_or(BadOffers::None)
    }

    fn refuse_launches(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        launches: Vec<Launch>,
        refusal: &BadOffers,
        out: &mut Effects,
    ) {
        for launch in launches {
            self.drop_launch(now, framework, launch, &refusal.to_string(), out);
        }
    }

    fn drop_launch(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        launch: Launch,
        why: &str,
        out: &mut Effects,
    ) {
        let (task, agent) = match launch {
            Launch::Task(info) => (info.id, Some(info.agent)),
            Launch::Invalid { task, agent, why: _ } => (task, agent),
        };
        // A call that arrived twice: to say of a task that runs that it was dropped would be a lie.
        let (state, agent, message) = match self.task(framework, &task) {
            Some(known) => {
                (known.state, Some(known.agent.clone()), format!("{why}; the task with this id goes on"))
            }
            None => (TaskState::Dropped, agent, why.to_owned()),
        };
        let status = TaskStatus {
            agent_id: agent,
            reason: Some(Reason::InvalidOffers),
            message: Some(message),
            ..TaskStatus::new(task, state, Source::Master, now.wall)
        };
        self.refuse_launch(framework, status, out);
    }
}
