//! Registration: an agent is admitted or comes back, tells what it runs, and is told what the master believes.

use bourse_types::{AgentId, AgentInfo, Epoch, FrameworkId, Now, Principal, TaskId};

use crate::agents::{Agent, AgentInput, AgentState};
use crate::deadlines::Due;
use crate::effect::{AgentRefused, Effect, Effects, ToAgent};
use crate::event::{LinkId, Registration};
use crate::history::{Entry, Kind};
use crate::master::Master;
use crate::registry::Change;
use crate::tasks::GivenUp;

impl Master {
    /// An agent registers: the first time, again after its link broke or the master restarted, or a second time by a
    /// newer link, which replaces the older one. A repeat tells it the same again.
    ///
    /// Refused are one that comes with the id of an agent of somebody else's (nothing of that agent changes), an agent that
    /// follows a newer master (it is left alone from then on), one that was marked gone (it shall kill what it runs and
    /// stop), and one that claims an id which this master has yet to give.
    pub(crate) fn on_agent_registers(
        &mut self,
        now: Now,
        link: LinkId,
        registration: Registration,
        out: &mut Effects,
    ) {
        let Registration { id, info, tasks, frameworks, epoch, capabilities, principal } = registration;
        let owner = id.as_ref().and_then(|id| self.agents.get(id)).and_then(|agent| agent.principal.clone());
        // Before anything else that is said in the agent's name is believed.
        if let (Some(id), Some(owner)) = (&id, &owner)
            && principal.as_ref() != Some(owner)
        {
            return refuse_foreigner(link, id, owner, principal.as_ref(), out);
        }
        if epoch > self.epoch {
            return self.refuse_follower_of_newer_master(now, link, id.as_ref(), principal, epoch, out);
        }
        if let Some(id) = id.as_ref().filter(|id| self.gone.contains_key(*id)) {
            out.push(Effect::CloseLink { link, refused: Some(marked_gone(id)) });
            return;
        }
        let never_given = |id: &&AgentId| !self.agents.contains(*id) && self.never_gave_agent(id);
        if let Some(id) = id.as_ref().filter(never_given) {
            let refused = not_given(id);
            let entry = Entry::new(Kind::Agent, format!("an agent was refused: {}", refused.message));
            out.push(Effect::Record(entry.reason(refused.reason)));
            out.push(Effect::CloseLink { link, refused: Some(refused) });
            return;
        }
        let named = id.is_some();
        let id = id.unwrap_or_else(|| self.next_agent_id());
        let owner = owner.or(principal);
        self.remove_predecessor(now, &id, &info, owner.as_ref(), out);
        let before = self.agents.get(&id).map(|agent| agent.state);
        match before {
            None => self.admit(now, &id, info, owner, out),
            Some(_) => self.update_agent(&id, info, owner, out),
        }
        self.connect(now, &id, link, out);
        self.agent_mut(&id).capabilities = capabilities;
        self.adopt_frameworks(now, frameworks, out);
        let given_up = match before {
            // By this master or one before it, which alone knew of its tasks.
            Some(AgentState::Unreachable { .. }) => GivenUp::All,
            // It was removed or forgotten, or the registry was lost.
            None if named => GivenUp::All,
            Some(AgentState::Recovered { .. }) => GivenUp::MaybeUnkept,
            Some(AgentState::Disconnected { .. }) => GivenUp::Unkept,
            Some(AgentState::Active { .. }) | None => GivenUp::Known,
        };
        let orders = self.adopt_tasks(now, &id, given_up, tasks, out);

        let registered = ToAgent::Registered {
            agent: id.clone(),
            master: self.id.clone(),
            heartbeat: self.config.agent_heartbeat(self.agents.len()),
            known: self.known_tasks(&id),
            reconnect: self.config.agent_reconnect(self.agents.len()),
        };
        self.command(&id, registered, out);
        for order in orders {
            self.command(&id, order, out);
        }
        self.repeat_kills(&id, out);
        self.repeat_resizes(now, &id, out);
        self.drain_on_return(now, &id, out);
        self.mark_dirty(&id);

        let summary = match before {
            None => format!("agent {id} was admitted"),
            Some(AgentState::Recovered { .. }) => {
                format!("agent {id} is back after the restart of the master")
            }
            Some(AgentState::Unreachable { .. }) => format!("agent {id} is reachable again"),
            Some(AgentState::Disconnected { .. } | AgentState::Active { .. }) => {
                format!("agent {id} connected again")
            }
        };
        out.push(Effect::Record(Entry::new(Kind::Agent, summary).agent(&id)));
    }

    /// Somebody newer commands this agent: this master must not, and does not believe its older link either.
    fn refuse_follower_of_newer_master(
        &mut self,
        now: Now,
        link: LinkId,
        id: Option<&AgentId>,
        principal: Option<Principal>,
        epoch: Epoch,
        out: &mut Effects,
    ) {
        if let Some(older) = id.and_then(|id| self.agents.get(id)).and_then(Agent::link) {
            let id = id.expect("its record was just found");
            out.push(Effect::CloseLink { link: older, refused: None });
            self.on_agent_link_closed(now, id, older, out);
        }
        let told = self.deposed_by.entry(principal.clone()).or_default();
        *told = epoch.max(*told);
        let message = format!(
            "this master has epoch {} and the agent follows a master with epoch {}; stop this master, or when the newer \
             one was given up or lost its registry, set this machine's clock right and start this master again, as an \
             epoch is at least the seconds since 1970",
            self.epoch.0, epoch.0
        );
        let mut entry =
            Entry::new(Kind::Agent, format!("an agent was refused: {message}")).reason("STALE_MASTER");
        (entry.agent, entry.principal) = (id.cloned(), principal);
        let refused = AgentRefused { reason: "STALE_MASTER", message, shut_down: false };
        out.push(Effect::CloseLink { link, refused: Some(refused) });
        out.push(Effect::Record(entry));
    }

    /// An agent of the same owner with another id at the same address is the same machine before it lost its work
    /// directory. Port 0 is no address: an agent whose API does not listen. An agent of somebody else's stays: an address is
    /// only what an agent says, and would otherwise be enough to have any agent removed.
    fn remove_predecessor(
        &mut self,
        now: Now,
        id: &AgentId,
        info: &AgentInfo,
        owner: Option<&Principal>,
        out: &mut Effects,
    ) {
        let there = self.addresses.get(&(info.address.clone(), owner.cloned()));
        let there = there.filter(|there| *there != id && info.address.port != 0).cloned();
        if let Some(predecessor) = there {
            let why = format!("agent {id} registered at the same address {}", info.address);
            self.remove_agent(now, &predecessor, &why, out);
        }
    }

    fn admit(
        &mut self,
        now: Now,
        id: &AgentId,
        info: AgentInfo,
        principal: Option<Principal>,
        out: &mut Effects,
    ) {
        out.push(Effect::Persist(Change::AgentAdmitted {
            id: id.clone(),
            info: info.clone(),
            principal: principal.clone(),
            at: now.wall,
        }));
        let waiting = AgentState::Recovered { deadline: now.mono };
        let agent = Agent::new(id.clone(), info, principal, waiting, now.wall);
        self.addresses.insert(agent.place(), id.clone());
        self.agents.insert(id.clone(), agent);
    }

    /// What the agent says about itself may have changed, and one that was nobody's may be somebody's now. Its offers and
    /// the filters on it were about what it was.
    fn update_agent(
        &mut self,
        id: &AgentId,
        info: AgentInfo,
        principal: Option<Principal>,
        out: &mut Effects,
    ) {
        if self.agents.get(id).is_some_and(|agent| agent.info == info && agent.principal == principal) {
            return;
        }
        out.push(Effect::Persist(Change::AgentUpdated {
            id: id.clone(),
            info: info.clone(),
            principal: principal.clone(),
        }));
        self.rescind_offers_of_agent(id, "its agent changed", out);
        self.forget_refusals_of_agent(id);
        self.leave_pool(id);
        self.leave_address(id);
        let agent = self.agent_mut(id);
        (agent.info, agent.principal) = (info, principal);
        let place = agent.place();
        self.addresses.insert(place, id.clone());
        self.join_pool(id);
    }

    /// The agent is not at its address any more, if it was.
    pub(crate) fn leave_address(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let place = agent.place();
        if self.addresses.get(&place) == Some(id) {
            self.addresses.remove(&place);
        }
    }

    fn connect(&mut self, now: Now, id: &AgentId, link: LinkId, out: &mut Effects) {
        let before = self.agents.get(id).expect("it was just admitted or found").state;
        match before {
            AgentState::Active { link: older } if older != link => {
                out.push(Effect::CloseLink { link: older, refused: None });
            }
            AgentState::Unreachable { .. } => {
                out.push(Effect::Persist(Change::AgentReachable { id: id.clone() }))
            }
            AgentState::Active { .. } | AgentState::Recovered { .. } | AgentState::Disconnected { .. } => {}
        }
        self.leave_pool(id);
        self.agent_mut(id).state =
            before.step(AgentInput::Registers { link }).expect("an agent may register in every state");
        let slot = self.agents.slot(id).expect("its record was just changed");
        self.heard.insert(slot, now);
        self.join_pool(id);
        // A connected agent has its entry already. A second one would do no harm, but there would be one for each
        // of its reconnects.
        match before {
            AgentState::Active { .. } | AgentState::Disconnected { .. } => {}
            AgentState::Recovered { deadline } => {
                self.deadlines.clear(deadline, Due::Agent(id.clone()));
                self.watch_agent(now, id);
            }
            AgentState::Unreachable { .. } => self.watch_agent(now, id),
        }
    }

    /// The next time to look whether the agent was silent for too long.
    pub(crate) fn watch_agent(&mut self, heard: Now, id: &AgentId) {
        let silence = self.config.agent_silence(self.agents.len());
        self.deadlines.set(heard.mono + silence, Due::Agent(id.clone()));
    }

    /// What the master believes to run there. The agent answers with TASK_DROPPED for those it does not know: their
    /// launch was lost with an earlier link.
    fn known_tasks(&self, id: &AgentId) -> Vec<(FrameworkId, TaskId)> {
        let agent = self.agents.get(id).expect("it has just registered");
        agent
            .tasks
            .iter()
            .filter(|(framework, task)| {
                self.task(framework, task).is_some_and(|task| !task.state.is_terminal())
            })
            .cloned()
            .collect()
    }
}

/// Nothing changes for the agent, or for whoever has it: somebody else came with its id.
fn refuse_foreigner(
    link: LinkId,
    id: &AgentId,
    owner: &Principal,
    caller: Option<&Principal>,
    out: &mut Effects,
) {
    let refused = not_yours(id, owner, caller);
    let entry = Entry::new(Kind::Agent, format!("an agent was refused: {}", refused.message));
    out.push(Effect::Record(entry.reason(refused.reason).agent(id).principal(caller)));
    out.push(Effect::CloseLink { link, refused: Some(refused) });
}

fn not_yours(id: &AgentId, owner: &Principal, caller: Option<&Principal>) -> AgentRefused {
    let caller =
        caller.map_or("of nobody".to_owned(), |caller| format!("with a token of principal {caller}"));
    AgentRefused {
        reason: "NOT_YOURS",
        message: format!(
            "agent id {id} belongs to principal {owner}, and this agent came {caller}; give it a token of {owner} (who may have several), or, to let its machine join as a new agent, mark agent {id} gone and remove the work directory"
        ),
        shut_down: false,
    }
}

fn not_given(id: &AgentId) -> AgentRefused {
    AgentRefused {
        reason: "UNKNOWN_ID",
        message: format!(
            "agent id {id} is one that this master gives, and it has not given it; remove the agent's work directory to \
             let the machine join as a new agent"
        ),
        shut_down: false,
    }
}

fn marked_gone(id: &AgentId) -> AgentRefused {
    AgentRefused {
        reason: "AGENT_GONE",
        message: format!(
            "agent {id} was marked gone by an operator, and its tasks were reported as gone; remove its work \
             directory to let the machine join as a new agent"
        ),
        shut_down: true,
    }
}
