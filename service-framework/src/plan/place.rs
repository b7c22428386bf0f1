//! Which offer serves which slot, and what was missing where none does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bourse_types::{AgentId, Milli, Name, Ranges, Resource, Resources, Role, TaskId, units};

use super::{GATHER, Launch, Offered, Pass};
use crate::seen::SlotName;
use crate::spec::{Needs, ServiceName, Spread};
use crate::wanted::Definition;

/// An offer, what is left of it in this pass, and the amounts that are compared often.
struct Left<'a> {
    offer: &'a Offered,
    resources: Resources,
    cpus: Milli,
    mem: Milli,
    disk: Milli,
    ports: Ranges,
    used: bool,
}

/// How many instances there are, by service and agent.
#[derive(Default)]
struct Crowd {
    /// Those that stay; an instance that is being killed, or is out of reach, does not keep others away.
    staying: BTreeMap<(ServiceName, AgentId), u32>,
    /// All of them, for a limit that must hold.
    present: BTreeMap<(ServiceName, AgentId), u32>,
    /// Those of any service.
    anyone: BTreeMap<AgentId, u32>,
}

impl<'a> Pass<'a> {
    /// Deals the offers out to the open slots.
    pub(super) fn place(&mut self, offers: &[Offered]) {
        let mut open = std::mem::take(&mut self.open);
        // Every service gets its first instance before any gets its second.
        open.sort_by(|(a, _), (b, _)| (a.index, &a.service).cmp(&(b.index, &b.service)));
        let mut crowd = Crowd::of(self.seen);
        let mut launched = 0;
        for role in &self.wanted.roles {
            let wanted = self.wanted;
            let slots: Vec<_> =
                open.iter().filter(|(_, definition)| wanted.role_of(definition) == role).collect();
            let mine = || offers.iter().filter(|offer| &offer.role == role);
            if let Some(oldest) = mine().map(|offer| offer.since).min()
                && !slots.is_empty()
                && oldest + GATHER > self.now.mono
            {
                self.wait_until(oldest + GATHER);
                self.plan.open.insert(role.clone(), slots.iter().map(|(name, _)| name.clone()).collect());
                continue;
            }
            let usable = mine().filter(|offer| !self.seen.draining.contains(&offer.agent));
            let mut left: Vec<Left> = usable.map(|offer| Left::new(offer, role)).collect();
            let mut unserved = BTreeSet::new();
            for (name, definition) in slots {
                match self.serve(name, definition, role, &mut left, &mut crowd, launched) {
                    true => launched += 1,
                    false => {
                        if !left.is_empty() {
                            let lack = lack(definition, name, &left, &crowd);
                            if self.seen.slots.get(name).and_then(|slot| slot.lack.as_ref()) != Some(&lack) {
                                self.plan.lacks.insert(name.clone(), lack);
                            }
                        }
                        unserved.insert(name.clone());
                    }
                }
            }
            if !unserved.is_empty() {
                self.plan.open.insert(role.clone(), unserved);
            }
            let used: BTreeSet<_> = left.iter().filter(|left| left.used).map(|left| &left.offer.id).collect();
            self.plan.declines.extend(mine().map(|offer| &offer.id).filter(|id| !used.contains(id)).cloned());
        }
        // An offer of a role that we do not hold any more serves nobody.
        let strange = offers.iter().filter(|offer| !self.wanted.roles.contains(&offer.role));
        self.plan.declines.extend(strange.map(|offer| offer.id.clone()));
    }

    /// Launches on the best of the offers; answers whether there was one.
    fn serve(
        &mut self,
        name: &SlotName,
        definition: &Definition,
        role: &Role,
        left: &mut [Left],
        crowd: &mut Crowd,
        launched: u64,
    ) -> bool {
        let service = &name.service;
        let mut fitting: Vec<usize> = (0..left.len())
            .filter(|&at| left[at].fits(definition) && crowd.has_room(definition, &left[at].offer.agent))
            .collect();
        match definition.spec.spread {
            Spread::Agents { .. } => fitting.sort_by_key(|&at| {
                let agent = &left[at].offer.agent;
                (crowd.staying(service, agent), crowd.anyone(agent), Reverse(left[at].cpus), agent)
            }),
            Spread::None => fitting.sort_by_key(|&at| (left[at].cpus, left[at].mem, &left[at].offer.agent)),
        }
        for at in fitting {
            // The amounts fit; the pieces may still not, as when they are reserved to others.
            let Some((resources, ports)) = left[at].take(definition, role) else { continue };
            let Ok(task) = TaskId::new(format!("{name}.{}", self.seen.next_task + launched)) else {
                return false;
            };
            let offer = left[at].offer;
            crowd.enter(service, &offer.agent);
            self.plan.launches.push(Launch {
                slot: name.clone(),
                task,
                offer: offer.id.clone(),
                agent: offer.agent.clone(),
                hostname: offer.hostname.clone(),
                resources,
                ports,
                version: definition.version,
                checked: definition.spec.template.health.is_some(),
            });
            return true;
        }
        false
    }
}

impl<'a> Left<'a> {
    fn new(offer: &'a Offered, role: &Role) -> Left<'a> {
        // What may be taken back at any time is no ground for a service.
        let resources = offer.resources.allocatable_to(role).non_revocable();
        let mut left = Left {
            offer,
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

    /// Cuts one instance out.
    fn take(&mut self, definition: &Definition, role: &Role) -> Option<(Resources, Vec<u16>)> {
        let Needs { cpus, mem, disk } = definition.spec.template.resources;
        let ports = self.ports.take(definition.spec.template.ports.len() as u64);
        let wanted: Resources = [
            Resource::scalar(Name::cpus(), cpus),
            Resource::scalar(Name::mem(), mem),
            Resource::scalar(Name::disk(), disk),
            Resource::ranges(Name::ports(), ports.clone()),
        ]
        .into_iter()
        .collect();
        let found = self.resources.find(&wanted, role)?;
        self.resources = self.resources.checked_sub(&found)?;
        self.used = true;
        self.measure();
        Some((found, ports.values().filter_map(|port| u16::try_from(port).ok()).collect()))
    }
}

impl Crowd {
    fn of(seen: &crate::seen::Seen) -> Crowd {
        let mut crowd = Crowd::default();
        for (name, instance) in seen.instances() {
            let here = (name.service.clone(), instance.agent.clone());
            *crowd.present.entry(here.clone()).or_default() += 1;
            if instance.is_reachable() && instance.kill.is_none() {
                *crowd.staying.entry(here).or_default() += 1;
                *crowd.anyone.entry(instance.agent.clone()).or_default() += 1;
            }
        }
        crowd
    }

    fn enter(&mut self, service: &ServiceName, agent: &AgentId) {
        let here = (service.clone(), agent.clone());
        *self.present.entry(here.clone()).or_default() += 1;
        *self.staying.entry(here).or_default() += 1;
        *self.anyone.entry(agent.clone()).or_default() += 1;
    }

    fn staying(&self, service: &ServiceName, agent: &AgentId) -> u32 {
        self.staying.get(&(service.clone(), agent.clone())).copied().unwrap_or(0)
    }

    fn anyone(&self, agent: &AgentId) -> u32 {
        self.anyone.get(agent).copied().unwrap_or(0)
    }

    fn has_room(&self, definition: &Definition, agent: &AgentId) -> bool {
        let Spread::Agents { max_per_agent: Some(most) } = definition.spec.spread else { return true };
        let here = (definition.spec.name.clone(), agent.clone());
        self.present.get(&here).copied().unwrap_or(0) < most
    }
}

/// Why none of the offers served: the one that came nearest, and what it was short of.
fn lack(definition: &Definition, name: &SlotName, left: &[Left], crowd: &Crowd) -> String {
    let Needs { cpus, mem, disk } = definition.spec.template.resources;
    let ports = Milli::whole(definition.spec.template.ports.len() as u64);
    let mut nearest: Option<(usize, u64, String, String, &str)> = None;
    for left in left.iter().filter(|left| crowd.has_room(definition, &left.offer.agent)) {
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
            name.service
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
