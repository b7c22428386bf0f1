//! Who holds what, by what one master hears and says: nothing is in two offers, offered and allocated never exceed what
//! an agent has, and what was declined is not offered again before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_master_core::{
    Accept, Call, Change, Config, Effect, Event, LinkId, OfferMade, StreamId, ToAgent, ToScheduler,
};
use bourse_types::{AgentId, AgentInfo, FrameworkId, Mono, Now, OfferId, Resources, Role, Size, TaskId};

type Key = (FrameworkId, TaskId);

/// The account of one incarnation.
#[derive(Debug, Default)]
pub struct OfferBook {
    agents: BTreeMap<AgentId, Known>,
    streams: BTreeMap<FrameworkId, StreamId>,
    /// Every offer that was ever made; `None` once it has ended.
    offers: BTreeMap<OfferId, Option<Live>>,
    held: BTreeMap<Key, (AgentId, Resources)>,
    /// What was ordered last, and not answered.
    resizing: BTreeMap<Key, Size>,
    /// By link, what came with a registration.
    registering: BTreeMap<LinkId, (AgentInfo, Vec<(Key, Resources)>)>,
    declined: BTreeMap<Place, Vec<(Resources, Mono)>>,
    /// What the accept that the core has before it left so far, and until when that is declined.
    accepting: Option<(Place, Resources, Mono)>,
}

/// Where something is declined: by whom, for which role, of which agent.
type Place = (FrameworkId, Role, AgentId);

/// The master keeps so many refusals for one place; the one that ends first makes room.
const DECLINED_MAX: usize = 16;

#[derive(Debug)]
struct Known {
    info: AgentInfo,
    link: Option<LinkId>,
}

#[derive(Clone, Debug)]
struct Live {
    framework: FrameworkId,
    role: Role,
    agent: AgentId,
    resources: Resources,
}

impl OfferBook {
    /// Before the core sees it.
    pub fn event(&mut self, now: Now, event: &Event) {
        self.accepted(now);
        match event {
            Event::AgentRegisters { link, registration } => {
                let told = registration.tasks.iter();
                let told = told.map(|task| {
                    let given = task.resizing.as_ref().map(|size| size.resources.clone()).unwrap_or_default();
                    let held = task.task.resources.covering(&given);
                    ((task.framework.clone(), task.task.id.clone()), held)
                });
                self.registering.insert(*link, (registration.info.clone(), told.collect()));
            }
            Event::AgentLinkClosed { agent, link } => {
                if let Some(known) = self.agents.get_mut(agent).filter(|known| known.link == Some(*link)) {
                    known.link = None;
                }
            }
            Event::StatusUpdate { agent, link, update } => {
                let current = self.agents.get(agent).is_some_and(|known| known.link == Some(*link));
                let key = (update.framework.clone(), update.latest.task_id.clone());
                let here = self.held.get(&key).is_some_and(|(on, _)| on == agent);
                if current && here && update.latest.state.is_terminal() {
                    self.held.remove(&key);
                }
            }
            Event::TaskResized { agent, link, resized } => {
                let current = self.agents.get(agent).is_some_and(|known| known.link == Some(*link));
                let key = (resized.framework.clone(), resized.task.clone());
                let awaited = self.resizing.get(&key) == Some(&resized.wanted);
                if let Some((on, held)) = self.held.get_mut(&key).filter(|_| current && awaited)
                    && *on == *agent
                {
                    held.clone_from(&resized.size.resources);
                    self.resizing.remove(&key);
                }
            }
            Event::StreamClosed { framework, stream } => {
                if self.streams.get(framework) == Some(stream) {
                    self.streams.remove(framework);
                    self.end_offers_of(framework);
                }
            }
            Event::Call { framework, stream, call } if self.streams.get(framework) == Some(stream) => {
                self.call(now, framework, call);
            }
            Event::Call { .. } | Event::AgentsHeard { .. } | Event::Subscribes { .. } => {}
            Event::Operate { .. } | Event::Tick => {}
        }
    }

    fn call(&mut self, now: Now, framework: &FrameworkId, call: &Call) {
        match call {
            Call::Accept(Accept { offers, refuse, .. }) => {
                let taken: Vec<Live> =
                    offers.iter().filter_map(|offer| self.take(framework, offer)).collect();
                let places: BTreeSet<Place> = taken
                    .iter()
                    .map(|live| (framework.clone(), live.role.clone(), live.agent.clone()))
                    .collect();
                // One that is not outstanding, or named twice, or of another place, spoils all: nothing is declined then.
                let good = taken.len() == offers.len() && places.len() == 1;
                let left: Resources = taken.iter().map(|live| &live.resources).sum();
                let until = until(now, *refuse);
                self.accepting = places.into_iter().next().filter(|_| good).map(|place| (place, left, until));
            }
            Call::Decline { offers, refuse } => {
                for offer in offers {
                    if let Some(live) = self.take(framework, offer) {
                        let place = (framework.clone(), live.role, live.agent);
                        self.declines(now, place, live.resources, until(now, *refuse));
                    }
                }
            }
            Call::Revive { roles } => {
                let revived = |role: &Role| roles.is_empty() || roles.contains(role);
                self.declined.retain(|(of, role, _), _| of != framework || !revived(role));
            }
            Call::UpdateFramework { .. } => self.declined.retain(|(of, _, _), _| of != framework),
            Call::Suppress { .. } | Call::Kill { .. } | Call::Acknowledge { .. } => {}
            Call::Reconcile { .. } | Call::Teardown => {}
        }
    }

    /// After the core wanted it.
    pub fn effect(&mut self, now: Now, effect: &Effect, found: &mut Vec<String>) {
        match effect {
            Effect::ToAgent { agent, link, message: ToAgent::Registered { known, .. } } => {
                self.registered(agent, *link, known);
            }
            Effect::ToAgent { agent, message: ToAgent::Run { framework, task, .. }, .. } => {
                let Some(framework) = framework.id.clone() else { return };
                if let Some(((by, _, of), left, _)) = &mut self.accepting
                    && (&*by, &*of) == (&framework, agent)
                {
                    *left = left.checked_sub(&task.resources).unwrap_or_default();
                }
                let key = (framework, task.id.clone());
                if let Some((on, _)) = self.held.insert(key, (agent.clone(), task.resources.clone())) {
                    found.push(format!("task {} is launched on {agent} while it is on {on}", task.id));
                }
            }
            Effect::ToAgent { agent, message: ToAgent::Resize { framework, task, size }, .. } => {
                let key = (framework.clone(), task.clone());
                let Some((_, held)) = self.held.get_mut(&key) else { return };
                let covering = held.covering(&size.resources);
                if let Some(((by, _, of), left, _)) = &mut self.accepting
                    && (&*by, &*of) == (framework, agent)
                {
                    *left = left.checked_sub(&covering.saturating_sub(held)).unwrap_or_default();
                }
                *held = covering;
                self.resizing.insert(key, size.clone());
            }
            Effect::ToScheduler { framework, stream, message } => match message {
                ToScheduler::Subscribed { .. } => {
                    self.streams.insert(framework.clone(), *stream);
                    self.end_offers_of(framework);
                    self.declined.retain(|(of, _, _), _| of != framework);
                }
                ToScheduler::Offers(offers) => {
                    self.accepted(now);
                    offers.iter().for_each(|offer| self.offered(now, framework, offer, found));
                }
                ToScheduler::Rescind { offer } => _ = self.take(framework, offer),
                ToScheduler::Update(_)
                | ToScheduler::AgentFailed { .. }
                | ToScheduler::AgentDraining { .. } => {}
            },
            Effect::Persist(Change::FrameworkRemoved { id, .. }) => {
                self.end_offers_of(id);
                self.streams.remove(id);
                self.held.retain(|(framework, _), _| framework != id);
                self.declined.retain(|(of, _, _), _| of != id);
            }
            Effect::Persist(Change::AgentUnreachable { id, .. }) => {
                self.held.retain(|_, (agent, _)| agent != id);
                if let Some(known) = self.agents.get_mut(id) {
                    known.link = None;
                }
            }
            Effect::Persist(Change::AgentGone { id, .. } | Change::AgentRemoved { id }) => {
                self.held.retain(|_, (agent, _)| agent != id);
                self.declined.retain(|(_, _, agent), _| agent != id);
                self.agents.remove(id);
            }
            Effect::Persist(Change::AgentUpdated { id, .. }) => {
                self.declined.retain(|(_, _, agent), _| agent != id);
            }
            _ => {}
        }
    }

    /// What the agent runs, as the master tells the agent, is what counts from now on.
    fn registered(&mut self, agent: &AgentId, link: LinkId, known: &[Key]) {
        let Some((info, told)) = self.registering.get(&link).cloned() else { return };
        let told: BTreeMap<Key, Resources> = told.into_iter().collect();
        let before = std::mem::take(&mut self.held);
        for (key, (on, resources)) in before {
            if on != *agent || known.contains(&key) {
                self.held.insert(key, (on, resources));
            }
        }
        for key in known {
            if let Some(resources) = told.get(key) {
                self.held.insert(key.clone(), (agent.clone(), resources.clone()));
            }
        }
        self.agents.insert(agent.clone(), Known { info, link: Some(link) });
    }

    fn offered(&mut self, now: Now, framework: &FrameworkId, offer: &OfferMade, found: &mut Vec<String>) {
        let OfferMade { id, agent, role, resources, .. } = offer;
        let live = Live {
            framework: framework.clone(),
            role: role.clone(),
            agent: agent.clone(),
            resources: resources.clone(),
        };
        if self.offers.insert(id.clone(), Some(live)).is_some() {
            found.push(format!("offer {id} is made twice"));
        }
        let Some(known) = self.agents.get(agent).filter(|known| known.link.is_some()) else {
            return found.push(format!("offer {id} is of agent {agent}, which is not connected"));
        };
        let total = &known.info.total;
        let held = self.held.values().filter(|(on, _)| on == agent).map(|(_, resources)| resources);
        let offered =
            self.offers.values().flatten().filter(|live| live.agent == *agent).map(|live| &live.resources);
        let mut left = Some(total.clone());
        for part in held.chain(offered) {
            left = left.and_then(|left| left.checked_sub(part));
        }
        if left.is_none() {
            let held: Vec<_> =
                self.held.iter().filter(|(_, (on, _))| on == agent).map(|(key, (_, r))| (key, r)).collect();
            let live: Vec<_> = self
                .offers
                .iter()
                .filter(|(_, live)| live.as_ref().is_some_and(|l| l.agent == *agent))
                .collect();
            found.push(format!(
                "agent {agent} has {total}, and with offer {id} there are {held:?} held, {live:?} offered"
            ));
        }
        let declined = self.declined.get(&(framework.clone(), role.clone(), agent.clone()));
        if let Some((what, _)) =
            declined.into_iter().flatten().find(|(what, until)| *until > now.mono && what.contains(resources))
        {
            found.push(format!(
                "offer {id} of {agent} is made again to {framework}, which declined {what} for longer"
            ));
        }
    }

    /// All launches of the accept are through: the rest is declined.
    fn accepted(&mut self, now: Now) {
        if let Some((place, left, until)) = self.accepting.take() {
            self.declines(now, place, left, until);
        }
    }

    fn declines(&mut self, now: Now, place: Place, what: Resources, until: Mono) {
        let declined = self.declined.entry(place).or_default();
        let covers = |(a, longer): &(Resources, Mono), (b, shorter): &(Resources, Mono)| {
            longer >= shorter && a.contains(b)
        };
        let new = (what, until);
        declined.retain(|known| known.1 > now.mono && !covers(&new, known));
        if declined.iter().any(|known| covers(known, &new)) {
            return;
        }
        if declined.len() >= DECLINED_MAX {
            let first = declined.iter().enumerate().min_by_key(|(_, (_, until))| *until);
            declined.remove(first.expect("there are as many as the maximum").0);
        }
        declined.push(new);
    }

    fn take(&mut self, framework: &FrameworkId, offer: &OfferId) -> Option<Live> {
        let entry = self.offers.get_mut(offer)?;
        entry.take_if(|live| live.framework == *framework)
    }

    fn end_offers_of(&mut self, framework: &FrameworkId) {
        for entry in self.offers.values_mut() {
            entry.take_if(|live| live.framework == *framework);
        }
    }
}

/// Until when something is declined that is declined for so long.
fn until(now: Now, refuse: Duration) -> Mono {
    let config = Config::default();
    now.mono + refuse.clamp(config.filter_min, config.filter_max)
}
