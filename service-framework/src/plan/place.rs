//! Which offer serves which slot, and what was missing where none does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bourse_sdk_core::resized;
use bourse_types::{AgentId, Milli, Name, Ranges, Resource, Resources, Role, Size, TaskId, units};

use super::{GATHER, Growing, Launch, Offered, Pass, Resize};
use crate::seen::{Seen, SlotName};
use crate::spec::{Needs, ServiceName, Spread};
use crate::wanted::Definition;

/// An offer, what is left of it in this pass, and the amounts that are compared often.
struct Left<'a> {
    offer: &'a Offered,
    /// Its agent's place in [`Crowd`].
    agent: usize,
    resources: Resources,
    cpus: Milli,
    mem: Milli,
    disk: Milli,
    ports: Ranges,
    used: bool,
}

/// How many instances there are on each agent that made an offer.
///
/// A pass compares every open slot with every offer, ten thousand with a thousand in the worst case; agents are
/// numbers here, in the order of their ids, so that one comparison is a few loads.
struct Crowd {
    agents: BTreeMap<AgentId, usize>,
    /// Instances of any service that stay.
    anyone: Vec<u32>,
    services: BTreeMap<ServiceName, Counts>,
}

/// Instances of one service, by agent.
#[derive(Clone)]
struct Counts {
    /// Those that stay; one that is being killed, or is out of reach, does not keep others away.
    staying: Vec<u32>,
    /// All of them, for a limit that must hold.
    present: Vec<u32>,
}

impl<'a> Pass<'a> {
    /// Deals the offers out to the open slots.
    pub(super) fn place(&mut self, offers: &[Offered]) {
        let mut open = std::mem::take(&mut self.open);
        // Every service gets its first instance before any gets its second.
        open.sort_by(|(a, _), (b, _)| (a.index, &a.service).cmp(&(b.index, &b.service)));
        let mut crowd = Crowd::of(self.seen, offers);
        for role in &self.wanted.roles {
            let wanted = self.wanted;
            let slots = open.iter().filter(|(_, definition)| wanted.role_of(definition) == role);
            let slots: Vec<&(SlotName, &Definition)> = slots.collect();
            let growing = self.growing.iter().filter(|(_, definition, _)| wanted.role_of(definition) == role);
            let growing: Vec<Growing> = growing.copied().collect();
            let mine: Vec<&Offered> = offers.iter().filter(|offer| &offer.role == role).collect();
            let oldest = mine.iter().map(|offer| offer.since).min();
            if let Some(ready) = oldest.map(|oldest| oldest + GATHER)
                && !slots.is_empty()
                && ready > self.now.mono
            {
                self.wait_until(ready);
                let names = slots.iter().map(|(name, _)| name).chain(growing.iter().map(|(name, ..)| *name));
                self.plan.open.insert(role.clone(), names.cloned().collect());
                continue;
            }
            let usable = mine.iter().filter(|offer| !self.seen.draining.contains(&offer.agent));
            let mut left: Vec<Left> = usable.map(|offer| Left::new(offer, role, &crowd)).collect();
            let waiting = self.grow(role, &growing, &mut left);
            self.deal(role, &slots, &mut left, &mut crowd);
            if !waiting.is_empty() {
                self.plan.open.entry(role.clone()).or_default().extend(waiting);
            }
            let used: BTreeSet<_> = left.iter().filter(|left| left.used).map(|left| &left.offer.id).collect();
            let unused = mine.iter().map(|offer| &offer.id).filter(|id| !used.contains(id));
            self.plan.declines.extend(unused.cloned());
        }
        // An offer of a role that we do not hold any more serves nobody.
        let strange = offers.iter().filter(|offer| !self.wanted.roles.contains(&offer.role));
        self.plan.declines.extend(strange.map(|offer| offer.id.clone()));
    }

    /// Lets instances gain what their agents offer. Answers whose agents do not offer it.
    fn grow(&mut self, role: &Role, growing: &[Growing<'a>], left: &mut [Left]) -> BTreeSet<SlotName> {
        let mut waiting = BTreeSet::new();
        for (name, definition, instance) in growing {
            let Some(has) = instance.size.as_ref().map(|size| &size.resources) else { continue };
            let template = &definition.spec.template;
            let wanted = template.resources.resources();
            let mut here = left.iter_mut().filter(|left| left.offer.agent == instance.agent);
            let found = here.find_map(|left| {
                let (resources, rest) = resized(has, &left.resources, &wanted, role)?;
                (left.resources, left.used) = (rest, true);
                left.measure();
                Some((resources, left.offer.id.clone()))
            });
            let Some((resources, offer)) = found else {
                waiting.insert((*name).clone());
                continue;
            };
            self.plan.resizes.push(Resize {
                task: instance.task.clone(),
                agent: instance.agent.clone(),
                offer: Some(offer),
                has: has.clone(),
                wanted,
                size: Size { resources, limits: template.limits.clone() },
            });
        }
        waiting
    }

    /// Deals the offers of one role out.
    fn deal(
        &mut self,
        role: &Role,
        slots: &[&(SlotName, &Definition)],
        left: &mut [Left],
        crowd: &mut Crowd,
    ) {
        // What one slot of a service did not find, the next will not find either: offers only shrink.
        let mut lacking: BTreeMap<&ServiceName, String> = BTreeMap::new();
        let mut unserved = BTreeSet::new();
        for (name, definition) in slots {
            if !lacking.contains_key(&name.service) {
                if self.serve(name, definition, role, left, crowd) {
                    continue;
                }
                lacking.insert(&name.service, lack(definition, left, crowd));
            }
            let lack = &lacking[&name.service];
            let known = self.seen.slots.get(name).and_then(|slot| slot.lack.as_ref());
            if !left.is_empty() && known != Some(lack) {
                self.plan.lacks.insert(name.clone(), lack.clone());
            }
            unserved.insert(name.clone());
        }
        if !unserved.is_empty() {
            self.plan.open.insert(role.clone(), unserved);
        }
    }

    /// Launches on the best of the offers; answers whether there was one.
    fn serve(
        &mut self,
        name: &SlotName,
        definition: &Definition,
        role: &Role,
        left: &mut [Left],
        crowd: &mut Crowd,
    ) -> bool {
        let ends = self.seen.slots.get(name).map_or(0, |slot| slot.ends);
        let mut refused = BTreeSet::new();
        crowd.know(&name.service);
        loop {
            let counts = &crowd.services[&name.service];
            let fitting = (0..left.len()).filter(|at| {
                !refused.contains(at)
                    && left[*at].fits(definition)
                    && counts.has_room(definition, left[*at].agent)
            });
            let best = match definition.spec.spread {
                Spread::Agents { .. } => fitting.min_by_key(|&at| {
                    let agent = left[at].agent;
                    (counts.staying[agent], crowd.anyone[agent], Reverse(left[at].cpus), agent)
                }),
                Spread::None => fitting.min_by_key(|&at| (left[at].cpus, left[at].mem, left[at].agent)),
            };
            let Some(best) = best else { return false };
            let Some((resources, ports)) = left[best].take(definition, role, ends) else {
                // The amounts fit, and the pieces do not, as when they are reserved to others.
                refused.insert(best);
                continue;
            };
            let number = self.seen.next_task + self.plan.launches.len() as u64;
            let Ok(task) = TaskId::new(format!("{name}.{number}")) else { return false };
            crowd.enter(&name.service, left[best].agent);
            let offer = left[best].offer;
            self.plan.launches.push(Launch {
                slot: name.clone(),
                task,
                offer: offer.id.clone(),
                agent: offer.agent.clone(),
                hostname: offer.hostname.clone(),
                resources,
                ports,
                limits: definition.spec.template.limits.clone(),
                version: definition.version,
                checked: definition.spec.template.health.is_some(),
            });
            return true;
        }
    }
}

impl<'a> Left<'a> {
    fn new(offer: &'a Offered, role: &Role, crowd: &Crowd) -> Left<'a> {
        // What may be taken back at any time is no ground for a service.
        let resources = offer.resources.allocatable_to(role).non_revocable();
        let mut left = Left {
            offer,
            agent: crowd.agents[&offer.agent],
            resources,
            cpus: Milli::ZERO,
            mem: Milli::ZERO,
            disk: Milli::ZERO,
            ports: Ranges::new(),
            used: false,
        };
        left.measure();
        left
    }

    fn measure(&mut self) {
        self.cpus = self.resources.cpus();
        self.mem = self.resources.mem();
        self.disk = self.resources.disk();
        self.ports = self.resources.ports().intersection(&Ranges::from(1..=u64::from(u16::MAX)));
    }

    fn fits(&self, definition: &Definition) -> bool {
        let Needs { cpus, mem, disk } = definition.spec.template.resources;
        let ports = definition.spec.template.ports.len() as u64;
        self.cpus >= cpus && self.mem >= mem && self.disk >= disk && self.ports.len() >= ports
    }

    /// Cuts one instance out, after so many that ended in a row.
    fn take(&mut self, definition: &Definition, role: &Role, ends: u32) -> Option<(Resources, Vec<u16>)> {
        let ports = self.choose_ports(definition.spec.template.ports.len() as u64, u64::from(ends));
        let mut wanted = definition.spec.template.resources.resources();
        wanted.insert(Resource::ranges(Name::ports(), ports.clone()));
        let found = self.resources.find(&wanted, role)?;
        self.resources = self.resources.checked_sub(&found)?;
        self.used = true;
        self.measure();
        Some((found, ports.values().filter_map(|port| u16::try_from(port).ok()).collect()))
    }

    /// The lowest ports, and others with every failed attempt: a port that a foreign process of the machine holds
    /// is offered all the same, and with it the instance would fail for ever.
    fn choose_ports(&self, count: u64, ends: u64) -> Ranges {
        let spare = self.ports.len().saturating_sub(count);
        let skip = ends.saturating_mul(count).checked_rem(spare + 1).unwrap_or(0);
        self.ports.difference(&self.ports.take(skip)).take(count)
    }
}

impl Crowd {
    fn of(seen: &Seen, offers: &[Offered]) -> Crowd {
        let agents: BTreeSet<&AgentId> = offers.iter().map(|offer| &offer.agent).collect();
        let agents: BTreeMap<AgentId, usize> =
            agents.into_iter().enumerate().map(|(at, agent)| (agent.clone(), at)).collect();
        let mut crowd = Crowd { anyone: vec![0; agents.len()], agents, services: BTreeMap::new() };
        for (name, instance) in seen.instances() {
            let Some(&agent) = crowd.agents.get(&instance.agent) else { continue };
            let stays = instance.is_reachable() && instance.kill.is_none();
            let counts = crowd.know(&name.service);
            counts.present[agent] += 1;
            counts.staying[agent] += u32::from(stays);
            crowd.anyone[agent] += u32::from(stays);
        }
        crowd
    }

    /// Makes room for a service's counts, zero where it has no instances.
    fn know(&mut self, service: &ServiceName) -> &mut Counts {
        let zero = || vec![0; self.anyone.len()];
        // No `entry`: it would clone the name for every look.
        if !self.services.contains_key(service) {
            self.services.insert(service.clone(), Counts { staying: zero(), present: zero() });
        }
        self.services.get_mut(service).expect("it was just put there")
    }

    fn enter(&mut self, service: &ServiceName, agent: usize) {
        let counts = self.know(service);
        counts.present[agent] += 1;
        counts.staying[agent] += 1;
        self.anyone[agent] += 1;
    }
}

impl Counts {
    fn has_room(&self, definition: &Definition, agent: usize) -> bool {
        match definition.spec.spread {
            Spread::Agents { max_per_agent: Some(most) } => self.present[agent] < most,
            Spread::Agents { max_per_agent: None } | Spread::None => true,
        }
    }
}

/// Why none of the offers served: the one that came nearest, and what it was short of.
fn lack(definition: &Definition, left: &[Left], crowd: &mut Crowd) -> String {
    let name = &definition.spec.name;
    let counts = crowd.know(name);
    let Needs { cpus, mem, disk } = definition.spec.template.resources;
    let ports = Milli::whole(definition.spec.template.ports.len() as u64);
    let mut nearest: Option<(usize, u64, String, String, &str)> = None;
    for left in left.iter().filter(|left| counts.has_room(definition, left.agent)) {
        let kinds: [(Milli, Milli, Words); 4] = [
            (cpus, left.cpus, |amount| format!("{amount} cpus")),
            (mem, left.mem, |amount| format!("{} of memory", units::format_size(amount))),
            (disk, left.disk, |amount| format!("{} of disk", units::format_size(amount))),
            (ports, Milli::whole(left.ports.len()), |amount| format!("{amount} ports")),
        ];
        let short: Vec<_> = kinds.into_iter().filter(|(needs, has, _)| has < needs).collect();
        let distance: u64 = short
            .iter()
            .map(|(needs, has, _)| {
                needs.saturating_sub(*has).thousandths() * 1000 / needs.thousandths().max(1)
            })
            .sum();
        if nearest.as_ref().is_none_or(|(kinds, near, ..)| (short.len(), distance) < (*kinds, *near)) {
            let needs = join(short.iter().map(|(needs, _, words)| words(*needs)));
            let has = join(short.iter().map(|(_, has, words)| words(*has)));
            nearest = Some((short.len(), distance, needs, has, &left.offer.hostname));
        }
    }
    match nearest {
        None => format!(
            "every agent that made an offer runs as many instances of {} as max_per_agent allows",
            name
        ),
        Some((0, ..)) => "the resources offered are reserved in pieces that do not serve together".to_owned(),
        Some((_, _, needs, has, hostname)) => {
            format!("no offer with {needs}; the nearest had {has}, on {hostname}")
        }
    }
}

/// An amount in words.
type Words = fn(Milli) -> String;

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" and ")
}
