//! What survives a restart of the master, and how it changes.
//!
//! The core never writes: it says a [`Change`], and the shell makes it durable before anything that was decided with
//! it is spoken. [`Snapshot::apply`] is what a change means; the master's own tables agree with it at any time
//! ([`Master::snapshot`](crate::Master::snapshot)), which the story and property tests check after every event.
//!
//! Running tasks and what they hold are not here: agents tell them again.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_types::{
    AgentId, AgentInfo, Epoch, FrameworkId, FrameworkInfo, MasterId, Milli, Principal, Role, Wall,
};

/// Ids of frameworks that were torn down are refused as long as they are remembered: so many of them, the newest.
pub const REMOVED_FRAMEWORKS_MAX: usize = 10_000;

/// The weight of a role that nobody weighed: 1.
pub const DEFAULT_WEIGHT: Milli = Milli::new(1_000);

/// One change of what survives.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Change {
    /// A master took over. Written by the shell before it makes the core.
    EpochStarted {
        /// Higher than every epoch before.
        epoch: Epoch,
        /// The incarnation that took over.
        master: MasterId,
    },
    /// An agent registered for the first time, or is known again after it had been forgotten.
    AgentAdmitted {
        /// The agent.
        id: AgentId,
        /// What it says about itself.
        info: AgentInfo,
        /// Whose it is from then on.
        principal: Option<Principal>,
        /// When.
        at: Wall,
    },
    /// An agent says something else about itself, or one that was nobody's has an owner now.
    AgentUpdated {
        /// The agent.
        id: AgentId,
        /// What it says now.
        info: AgentInfo,
        /// Whose it is.
        principal: Option<Principal>,
    },
    /// An agent did not answer in time.
    AgentUnreachable {
        /// The agent.
        id: AgentId,
        /// Since when.
        since: Wall,
    },
    /// An unreachable agent is back.
    AgentReachable {
        /// The agent.
        id: AgentId,
    },
    /// An operator said that the agent will never come back.
    AgentGone {
        /// The agent.
        id: AgentId,
        /// When.
        at: Wall,
    },
    /// An agent was replaced by a newer one, or is forgotten; also one that is gone.
    AgentRemoved {
        /// The agent.
        id: AgentId,
    },
    /// A framework subscribed for the first time, or says something else about itself. It is connected.
    FrameworkSubscribed {
        /// The framework.
        id: FrameworkId,
        /// What it says about itself.
        info: FrameworkInfo,
        /// When it subscribed for the first time.
        at: Wall,
    },
    /// A framework's scheduler went away.
    FrameworkDisconnected {
        /// The framework.
        id: FrameworkId,
        /// How long it may stay away from then on.
        left: Duration,
        /// When it went.
        at: Wall,
    },
    /// A framework's scheduler is back.
    FrameworkConnected {
        /// The framework.
        id: FrameworkId,
    },
    /// A framework was torn down.
    FrameworkRemoved {
        /// The framework.
        id: FrameworkId,
        /// When.
        at: Wall,
    },
    /// A role weighs so much from now on.
    WeightSet {
        /// The role.
        role: Role,
        /// In thousandths.
        weight: Milli,
    },
    /// An agent is being drained. A repeat sets a new deadline.
    DrainStarted {
        /// The agent.
        agent: AgentId,
        /// How long tasks may go on from then.
        left: Duration,
        /// When the drain started.
        at: Wall,
        /// Whether the agent is marked gone when nothing is left on it.
        mark_gone: bool,
    },
    /// Nothing is left on a draining agent.
    Drained {
        /// The agent.
        agent: AgentId,
    },
    /// An agent is offered again.
    DrainEnded {
        /// The agent.
        agent: AgentId,
    },
}

/// All that survives, as a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The last epoch that started.
    pub epoch: Epoch,
    /// The incarnation that started it; `None` in a new registry.
    pub master: Option<MasterId>,
    /// Agents that were admitted and are not gone.
    pub agents: BTreeMap<AgentId, KnownAgent>,
    /// Agents that an operator said will never come back, with the time of it.
    pub gone: BTreeMap<AgentId, Wall>,
    /// Frameworks that were not torn down.
    pub frameworks: BTreeMap<FrameworkId, KnownFramework>,
    /// Frameworks that were, with the time of it: the last [`REMOVED_FRAMEWORKS_MAX`].
    pub removed: BTreeMap<FrameworkId, Wall>,
    /// Weights that are not the default.
    pub weights: BTreeMap<Role, Milli>,
}

/// An agent that was admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownAgent {
    /// What it says about itself.
    pub info: AgentInfo,
    /// Whose it is: who registered it first. `None`: nobody was authenticated, or a release wrote it that kept no owners.
    /// The first who comes back with the id has it then.
    pub principal: Option<Principal>,
    /// When it was admitted.
    pub admitted: Wall,
    /// Since when it does not answer.
    pub unreachable: Option<Wall>,
    /// While it is drained.
    pub drain: Option<KnownDrain>,
}

/// A drain, as it survives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownDrain {
    /// How long tasks may go on from `at`.
    pub left: Duration,
    /// When the drain started.
    pub at: Wall,
    /// Whether the agent is marked gone when nothing is left on it.
    pub mark_gone: bool,
    /// Whether nothing is left on it.
    pub drained: bool,
}

/// A framework that was not torn down.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownFramework {
    /// What it says about itself, with its id.
    pub info: FrameworkInfo,
    /// When it subscribed for the first time.
    pub registered: Wall,
    /// While its scheduler is away.
    pub absence: Option<Absence>,
}

/// How long a scheduler may be away: what was left, and when that was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Absence {
    /// How long it may stay away from `at` on.
    pub left: Duration,
    /// When it went.
    pub at: Wall,
}

impl Snapshot {
    /// The epoch of a master that takes over now: higher than every one before it.
    ///
    /// Counting on is enough as long as the registry is there. When it was lost, or an older copy of it was put in its
    /// place, the agents have seen higher epochs than it has, and would refuse their own master for ever. So an epoch is
    /// also at least the seconds since 1970: a clock that is roughly right then says more than any epoch before. Starts
    /// in the same second, and a clock that is behind, still count on from the registry.
    pub fn next_epoch(&self, now: Wall) -> Epoch {
        Epoch((self.epoch.0 + 1).max(now.as_millis() / 1000))
    }

    /// What the change means. One about something that is not there changes nothing; a repeat changes nothing
    /// either, so a log may be replayed over a snapshot that has some of it already.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::EpochStarted { epoch, master } => {
                self.epoch = *epoch;
                self.master = Some(master.clone());
            }
            Change::AgentAdmitted { id, info, principal, at } => {
                let known = KnownAgent {
                    info: info.clone(),
                    principal: principal.clone(),
                    admitted: *at,
                    unreachable: None,
                    drain: None,
                };
                self.agents.insert(id.clone(), known);
            }
            Change::AgentUpdated { id, info, principal } => self.agent(id, |agent| {
                agent.info = info.clone();
                agent.principal.clone_from(principal);
            }),
            Change::AgentUnreachable { id, since } => {
                self.agent(id, |agent| agent.unreachable = Some(*since))
            }
            Change::AgentReachable { id } => self.agent(id, |agent| agent.unreachable = None),
            Change::AgentGone { id, at } => {
                self.agents.remove(id);
                self.gone.insert(id.clone(), *at);
            }
            Change::AgentRemoved { id } => {
                self.agents.remove(id);
                self.gone.remove(id);
            }
            Change::FrameworkSubscribed { id, info, at } => {
                let known = KnownFramework { info: info.clone(), registered: *at, absence: None };
                self.frameworks.insert(id.clone(), known);
            }
            Change::FrameworkDisconnected { id, left, at } => {
                self.framework(id, |framework| framework.absence = Some(Absence { left: *left, at: *at }));
            }
            Change::FrameworkConnected { id } => self.framework(id, |framework| framework.absence = None),
            Change::FrameworkRemoved { id, at } => {
                self.frameworks.remove(id);
                self.removed.insert(id.clone(), *at);
                if self.removed.len() > REMOVED_FRAMEWORKS_MAX {
                    let oldest =
                        self.removed.iter().min_by_key(|(id, at)| (**at, *id)).map(|(id, _)| id.clone());
                    self.removed.remove(&oldest.expect("there are more than the maximum"));
                }
            }
            Change::WeightSet { role, weight } => match *weight == DEFAULT_WEIGHT {
                true => _ = self.weights.remove(role),
                false => _ = self.weights.insert(role.clone(), *weight),
            },
            Change::DrainStarted { agent, left, at, mark_gone } => {
                let drain = KnownDrain { left: *left, at: *at, mark_gone: *mark_gone, drained: false };
                self.agent(agent, |agent| agent.drain = Some(drain));
            }
            Change::Drained { agent } => self.agent(agent, |agent| {
                if let Some(drain) = &mut agent.drain {
                    drain.drained = true;
                }
            }),
            Change::DrainEnded { agent } => self.agent(agent, |agent| agent.drain = None),
        }
    }

    fn agent(&mut self, id: &AgentId, change: impl FnOnce(&mut KnownAgent)) {
        if let Some(agent) = self.agents.get_mut(id) {
            change(agent);
        }
    }

    fn framework(&mut self, id: &FrameworkId, change: impl FnOnce(&mut KnownFramework)) {
        if let Some(framework) = self.frameworks.get_mut(id) {
            change(framework);
        }
    }
}
