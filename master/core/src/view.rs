//! Pictures for readers: the master as it was at one moment.
//!
//! A view is a clone of the master's tables, which shares them: taking one costs the writer a few pointers, whatever the
//! number of tasks, and reading one costs it nothing. Total, reserved, offered, allocated and available are told apart
//! everywhere; what tasks really use is measured by the agents, and added by the shell.

mod pictures;
mod problems;

use std::ops::Bound;

use bourse_types::{AgentId, Epoch, FrameworkId, MasterId, Now, OfferId, Resources, Role, TaskId, Wall};

use crate::agents::Agent;
use crate::frameworks::Framework;
use crate::master::Master;
use crate::offers::Offer;
use crate::table::beyond;
use crate::tasks::{Task, sum_held};

pub use pictures::{FrameworkPicture, RolePicture, Totals};
pub use problems::{Problem, Severity};

/// The master as it was at one moment. Cheap to take, to clone and to send to another thread.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) master: Master,
    pub(crate) now: Now,
}

impl Master {
    /// The master as it is now.
    pub fn view(&self, now: Now) -> View {
        View { master: self.clone(), now }
    }
}

impl View {
    /// When it was taken.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The master's epoch.
    pub fn epoch(&self) -> Epoch {
        self.master.epoch
    }

    /// The master's incarnation.
    pub fn master_id(&self) -> &MasterId {
        &self.master.id
    }

    /// When this incarnation started.
    pub fn started(&self) -> Wall {
        self.master.started.wall
    }

    /// What must survive a restart.
    pub fn snapshot(&self) -> crate::Snapshot {
        self.master.snapshot()
    }

    /// Agents that were admitted and are not gone, by id.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &Agent> {
        self.master.agents.values()
    }

    /// Those after this id, by id; all without one. As its likes below, for lists that are read page by page.
    pub fn agents_after(&self, id: Option<&AgentId>) -> impl Iterator<Item = &Agent> {
        self.master.agents.after(id)
    }

    /// One of them.
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.master.agents.get(id)
    }

    /// When it was last heard; `None` when this master never heard it.
    pub fn heard(&self, agent: &AgentId) -> Option<Now> {
        self.master.heard(agent)
    }

    /// Agents that were marked gone, by id, with the time of it.
    pub fn gone_agents(&self) -> impl ExactSizeIterator<Item = (&AgentId, Wall)> {
        self.master.gone.iter().map(|(id, at)| (id, *at))
    }

    /// Those after this id, by id, with the time of it; all without one.
    pub fn gone_agents_after(&self, id: Option<&AgentId>) -> impl Iterator<Item = (&AgentId, Wall)> {
        let range = (beyond(id), Bound::Unbounded);
        self.master.gone.range::<_, AgentId>(range).map(|(id, at)| (id, *at))
    }

    /// When the agent of this id was marked gone; `None` when it was not.
    pub fn gone_agent(&self, id: &AgentId) -> Option<Wall> {
        self.master.gone.get(id).copied()
    }

    /// Frameworks that were not torn down, by id.
    pub fn frameworks(&self) -> impl ExactSizeIterator<Item = &Framework> {
        self.master.frameworks.values()
    }

    /// Those after this id, by id; all without one.
    pub fn frameworks_after(&self, id: Option<&FrameworkId>) -> impl Iterator<Item = &Framework> {
        self.master.frameworks.after(id)
    }

    /// One of them.
    pub fn framework(&self, id: &FrameworkId) -> Option<&Framework> {
        self.master.frameworks.get(id)
    }

    /// Frameworks that this incarnation tore down, the newest last, as far as they are kept.
    pub fn completed_frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.master.completed.iter().map(|framework| &**framework)
    }

    /// Outstanding offers, by id.
    pub fn offers(&self) -> impl ExactSizeIterator<Item = &Offer> {
        self.master.offers.values()
    }

    /// Those after this id, by id; all without one.
    pub fn offers_after(&self, id: Option<&OfferId>) -> impl Iterator<Item = &Offer> {
        self.master.offers.after(id)
    }

    /// One of them.
    pub fn offer(&self, id: &OfferId) -> Option<&Offer> {
        self.master.offers.get(id)
    }

    /// Tasks that are alive, unreachable, or whose end is not acknowledged: by framework, within one those that are
    /// unreachable last, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.frameworks().flat_map(|framework| framework.tasks.values().chain(framework.unreachable.values()))
    }

    /// Tasks that ended, as far as they are kept, also of frameworks that were torn down: by framework, the newest
    /// last.
    pub fn completed_tasks(&self) -> impl Iterator<Item = &Task> {
        let ended = self.frameworks().chain(self.completed_frameworks());
        ended.flat_map(|framework| framework.completed.iter().map(|task| &**task))
    }

    /// A task: alive, unreachable, or else the last one of this id that ended, as far as it is kept.
    pub fn task(&self, framework: &FrameworkId, task: &TaskId) -> Option<&Task> {
        let gone = || self.completed_frameworks().find(|completed| completed.id == *framework);
        let record = self.framework(framework).or_else(gone)?;
        let alive = record.tasks.get(task).or_else(|| record.unreachable.get(task));
        alive.or_else(|| {
            record.completed.iter().rev().find(|ended| ended.info.id == *task).map(|ended| &**ended)
        })
    }

    /// The agent's hostname, as far as the agent is known.
    pub fn hostname(&self, agent: &AgentId) -> Option<&str> {
        self.agent(agent).map(|agent| agent.info.hostname.as_str())
    }

    /// What its outstanding offers to this framework hold, and what its tasks hold.
    pub(crate) fn held_by(&self, framework: &Framework, role: Option<&Role>) -> (Resources, Resources) {
        let counts = |held: &Role| role.is_none_or(|role| held.is_within(role));
        let offers =
            framework.offers.iter().filter_map(|id| self.offer(id)).filter(|offer| counts(&offer.role));
        let tasks = framework.tasks.values().filter(|task| task.holds && counts(&task.role));
        (offers.map(|offer| &offer.resources).sum(), sum_held(tasks))
    }
}

impl Agent {
    /// What it has.
    pub fn total(&self) -> &Resources {
        &self.info.total
    }

    /// What of it is set aside for roles.
    pub fn reserved(&self) -> Resources {
        self.info.total.filter(|key| key.role().is_some())
    }
}
