//! The master as a value: its state, and the switchboard that names the handler of each event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bourse_types::{
    Address, AgentId, Epoch, FrameworkId, MasterId, Milli, Mono, Now, OfferId, Principal, Quantities, Role,
    Wall,
};
use imbl::{OrdMap, Vector};

use crate::agents::{Agent, AgentState, Drain};
use crate::allocator::{Claims, Dirty};
use crate::config::Config;
use crate::deadlines::{Deadlines, Due};
use crate::effect::Effects;
use crate::event::{Call, Event, StreamId};
use crate::frameworks::{Framework, FrameworkState, Removed};
use crate::offers::Offer;
use crate::random::Random;
use crate::registry::{Absence, KnownAgent, KnownFramework, Snapshot};
use crate::slots::{Beside, SlotTable};
use crate::table::Table;
use crate::tasks::Lost;

/// All that the master knows. A clone is cheap and shares what neither side changes.
#[derive(Clone, Debug)]
pub struct Master {
    pub(crate) config: Arc<Config>,
    pub(crate) epoch: Epoch,
    pub(crate) id: MasterId,
    pub(crate) started: Now,
    pub(crate) random: Random,
    /// Ids given by this incarnation so far, of each kind.
    pub(crate) agents_named: u64,
    pub(crate) frameworks_named: u64,
    pub(crate) offers_named: u64,

    pub(crate) agents: SlotTable<AgentId, Agent>,
    /// When each agent was last heard; nothing of one that this master never heard. Beside the records, as thousands are
    /// heard every second, and nobody who compares two pictures wants to look at those.
    pub(crate) heard: Beside<Now>,
    /// The agent at each address, by owner, so that a newcomer finds which of its owner's was there before it.
    pub(crate) addresses: OrdMap<(Address, Option<Principal>), AgentId>,
    pub(crate) gone: OrdMap<AgentId, Wall>,
    /// What was lost with each agent, also with one that was forgotten since.
    pub(crate) lost: OrdMap<AgentId, Lost>,
    pub(crate) frameworks: SlotTable<FrameworkId, Framework>,
    /// Frameworks that were torn down: for people, the newest last.
    pub(crate) completed: Vector<Arc<Framework>>,
    /// Their ids, which are refused.
    pub(crate) removed: Removed,
    /// Who declined something for a while.
    pub(crate) claims: Claims,
    pub(crate) offers: Table<OfferId, Offer>,
    pub(crate) weights: OrdMap<Role, Milli>,

    pub(crate) deadlines: Deadlines,
    /// Scalars of all agents that are connected or just disconnected: what shares are measured by.
    pub(crate) pool: Quantities,
    pub(crate) dirty: Dirty,
    /// When the last event was applied.
    pub(crate) awake: Mono,
    /// No pass of the allocator before then.
    pub(crate) pass_allowed: Mono,
    /// Agents from which the present event took a task.
    pub(crate) emptied: BTreeSet<AgentId>,
    /// The highest epoch of a newer master, of which agents told, by their owner: one of them may lie.
    pub(crate) deposed_by: BTreeMap<Option<Principal>, Epoch>,
}

impl Master {
    /// A master of this epoch and incarnation, as its registry remembers the cluster. Frameworks and agents of before
    /// get time to come back; what runs is told by the agents.
    ///
    /// The epoch must be higher than every epoch before it, and durable. Ids are made from the incarnation's id, so it
    /// must never have been used before, and be short enough (200 bytes) to have a number put behind it.
    pub fn new(
        config: Config,
        epoch: Epoch,
        id: MasterId,
        seed: u64,
        recovered: Snapshot,
        now: Now,
    ) -> Master {
        let mut master = Master {
            epoch,
            id,
            started: now,
            random: Random::new(seed),
            agents_named: 0,
            frameworks_named: 0,
            offers_named: 0,
            agents: SlotTable::new(),
            heard: Beside::new(),
            addresses: OrdMap::new(),
            gone: recovered.gone.into_iter().collect(),
            lost: OrdMap::new(),
            frameworks: SlotTable::new(),
            completed: Vector::new(),
            removed: recovered.removed.into_iter().collect(),
            claims: Claims::default(),
            offers: Table::new(),
            weights: recovered.weights.into_iter().collect(),
            deadlines: Deadlines::default(),
            pool: Quantities::new(),
            dirty: Dirty::default(),
            awake: now.mono,
            pass_allowed: Mono::ZERO,
            emptied: BTreeSet::new(),
            deposed_by: BTreeMap::new(),
            config: Arc::new(config),
        };
        for (id, known) in recovered.agents {
            master.recover_agent(now, id, known);
        }
        for (id, known) in recovered.frameworks {
            master.recover_framework(now, id, known);
        }
        master.deadlines.set(now.mono + master.config.forget_interval, Due::Forget);
        master
    }

    fn recover_agent(&mut self, now: Now, id: AgentId, known: KnownAgent) {
        let KnownAgent { info, principal, admitted, unreachable, drain } = known;
        let deadline = now.mono + self.config.reregister_timeout;
        let state = match unreachable {
            Some(since) => AgentState::Unreachable { since },
            None => AgentState::Recovered { deadline },
        };
        if unreachable.is_none() {
            self.deadlines.set(deadline, Due::Agent(id.clone()));
        }
        let mut agent = Agent::new(id.clone(), info, principal, state, admitted);
        agent.drain = drain.map(|known| Drain::recovered(known, now));
        if let Some(drain) = &agent.drain {
            self.start_drain_timer(&id, drain);
        }
        self.addresses.insert(agent.place(), id.clone());
        self.agents.insert(id, agent);
    }

    /// A framework that was connected could not know that the master would stop, and gets the time of everybody. One
    /// that was away has what was left, but never less than a short grace: it could not come back meanwhile.
    fn recover_framework(&mut self, now: Now, id: FrameworkId, known: KnownFramework) {
        let KnownFramework { info, registered, absence } = known;
        let left = match absence {
            None => info.failover_timeout.max(self.config.reregister_timeout),
            Some(Absence { left, at }) => {
                left.saturating_sub(now.wall.since(at)).max(left.min(self.config.return_grace))
            }
        };
        let deadline = now.mono + left;
        self.deadlines.set(deadline, Due::Framework(id.clone()));
        let mut framework =
            Framework::new(id.clone(), info, FrameworkState::Recovered { deadline }, registered);
        framework.absence = absence;
        self.frameworks.insert(id, framework);
    }

    /// The only way in. Same state, same `now`, same event: same effects, on any machine.
    ///
    /// `now` never goes back between calls. Effects are added to `out` in the order in which they are to happen.
    pub fn apply(&mut self, now: Now, event: Event, out: &mut Effects) {
        self.wake(now);
        match event {
            Event::AgentRegisters { link, registration } => {
                self.on_agent_registers(now, link, *registration, out)
            }
            Event::AgentsHeard { agents } => self.on_agents_heard(now, &agents),
            Event::AgentLinkClosed { agent, link } => self.on_agent_link_closed(now, &agent, link, out),
            Event::StatusUpdate { agent, link, update } => {
                self.on_status_update(now, &agent, link, *update, out)
            }
            Event::TaskResized { agent, link, resized } => self.on_task_resized(&agent, link, *resized, out),
            Event::Subscribes { stream, subscription } => self.on_subscribes(now, stream, *subscription, out),
            Event::StreamClosed { framework, stream } => self.on_stream_closed(now, &framework, stream, out),
            Event::Call { framework, stream, call } => self.on_call(now, &framework, stream, call, out),
            Event::Operate { request, principal, command } => {
                self.on_operate(now, request, principal.as_ref(), command, out);
            }
            Event::Tick => self.on_tick(now, out),
        }
        self.settle_drains(now, out);
        self.allocate(now, out);
    }

    /// A call by a subscription that is not the framework's newest is dropped.
    fn on_call(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        stream: StreamId,
        call: Call,
        out: &mut Effects,
    ) {
        if self.frameworks.get(framework).and_then(|framework| framework.state.stream()) != Some(stream) {
            return;
        }
        match call {
            Call::Accept(accept) => self.on_accept(now, framework, accept, out),
            Call::Decline { offers, refuse } => self.on_decline(now, framework, &offers, refuse),
            Call::Revive { roles } => self.on_revive(framework, &roles),
            Call::Suppress { roles } => self.on_suppress(framework, &roles),
            Call::Kill { task, agent, policy } => {
                self.on_kill(now, framework, &task, agent.as_ref(), policy, out)
            }
            Call::Acknowledge { agent, task, uuid } => {
                self.on_acknowledge(framework, &agent, &task, uuid, out)
            }
            Call::Reconcile { tasks } => self.on_reconcile(now, framework, &tasks, out),
            Call::UpdateFramework { info, suppressed } => {
                self.on_update_framework(framework, *info, suppressed, out)
            }
            Call::Teardown => self.remove_framework(now, framework, "it asked for it", None, out),
        }
    }

    /// Everything that is due takes effect, in the order of the deadlines.
    fn on_tick(&mut self, now: Now, out: &mut Effects) {
        while let Some(due) = self.deadlines.pop(now.mono) {
            match due {
                Due::Agent(agent) => self.on_agent_due(now, &agent, out),
                Due::Framework(framework) => self.on_framework_due(now, &framework, out),
                Due::Offer(offer) => self.on_offer_due(now, &offer, out),
                Due::Drain(agent) => self.on_drain_due(now, &agent, out),
                Due::Refusals(agent) => self.on_refusals_due(now, &agent),
                Due::Forget => self.on_forget_due(now, out),
            }
        }
    }

    /// When the next [`Event::Tick`] is due. It may be in the past: then it is due now. Never far away, also when nothing
    /// happens: by a tick that comes late the master notices that it stood still.
    pub fn next_deadline(&self) -> Option<Mono> {
        [self.deadlines.first(), self.next_pass(), Some(self.next_pulse())].into_iter().flatten().min()
    }

    /// This master's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// This incarnation's id.
    pub fn id(&self) -> &MasterId {
        &self.id
    }

    /// What must survive, as the tables have it: the same as all changes so far, applied to what was recovered.
    pub fn snapshot(&self) -> Snapshot {
        let agent = |agent: &Agent| KnownAgent {
            info: agent.info.clone(),
            principal: agent.principal.clone(),
            admitted: agent.admitted,
            unreachable: match agent.state {
                AgentState::Unreachable { since } => Some(since),
                AgentState::Recovered { .. }
                | AgentState::Active { .. }
                | AgentState::Disconnected { .. } => None,
            },
            drain: agent.drain.as_ref().map(Drain::known),
        };
        let framework = |framework: &Framework| KnownFramework {
            info: framework.info.clone(),
            registered: framework.registered,
            absence: framework.absence,
        };
        Snapshot {
            epoch: self.epoch,
            master: Some(self.id.clone()),
            agents: self.agents.iter().map(|(id, record)| (id.clone(), agent(record))).collect(),
            gone: self.gone.iter().map(|(id, at)| (id.clone(), *at)).collect(),
            frameworks: self.frameworks.iter().map(|(id, record)| (id.clone(), framework(record))).collect(),
            removed: self.removed.iter().map(|(id, at)| (id.clone(), *at)).collect(),
            weights: self.weights.iter().map(|(role, weight)| (role.clone(), *weight)).collect(),
        }
    }
}
