//! A master is put together again.

use std::sync::Arc;

use bourse_types::{AgentId, FrameworkId, Mono, Quantities, Resources, Role};
use imbl::{OrdMap, Vector};

use super::{AgentPart, BadState, FrameworkPart, Head, Part, Place};
use crate::agents::Agent;
use crate::allocator::{Claims, Dirty};
use crate::deadlines::{Deadlines, Due};
use crate::frameworks::{Framework, Holding, Removed};
use crate::master::Master;
use crate::random::Random;
use crate::slots::{Beside, SlotTable};
use crate::table::Table;
use crate::tasks::Task;

impl Master {
    /// The master that was taken apart. From then on it has the effects that the other one has.
    ///
    /// # Errors
    ///
    /// When parts are missing, are there twice, stand out of order, or make a master that breaks its
    /// [invariants](Master::violations).
    pub fn restore(parts: impl IntoIterator<Item = Part>) -> Result<Master, BadState> {
        let mut parts = parts.into_iter();
        let Some(Part::Head(head)) = parts.next() else { return Err(BadState::Headless) };
        let mut assembly = Assembly::new(*head);
        for part in parts {
            assembly.take(part)?;
        }
        assembly.finish()
    }
}

/// The groups in which parts come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Head,
    Agents,
    Gone,
    Removed,
    Weights,
    Frameworks,
    Filters,
    Offers,
    Deadlines,
    Marks,
}

impl Part {
    /// The group, and the word for a part of this kind.
    fn group(&self) -> (Group, &'static str) {
        match self {
            Part::Head(_) => (Group::Head, "the head"),
            Part::Agent(_) => (Group::Agents, "an agent"),
            Part::Gone { .. } => (Group::Gone, "an agent that is gone"),
            Part::Removed { .. } => (Group::Removed, "a framework that was removed"),
            Part::Weight { .. } => (Group::Weights, "a weight"),
            Part::Framework(_) => (Group::Frameworks, "a framework"),
            Part::Task { .. } => (Group::Frameworks, "a task"),
            Part::Filter { framework: None, .. } => (Group::Frameworks, "a filter"),
            Part::Filter { framework: Some(_), .. } => (Group::Filters, "a filter"),
            Part::Offer(_) => (Group::Offers, "an offer"),
            Part::Deadline { .. } => (Group::Deadlines, "a deadline"),
            Part::Mark { .. } => (Group::Marks, "a mark"),
        }
    }
}

/// What a framework declined.
struct Filter {
    framework: FrameworkId,
    role: Role,
    agent: AgentId,
    resources: Resources,
    until: Mono,
}

/// A master that is being put together.
struct Assembly {
    master: Master,
    /// The framework whose tasks may come next, and whether it was torn down.
    framework: Option<(Framework, bool)>,
    /// Filters, each with its framework. They are set when all frameworks are there.
    filters: Vec<Filter>,
    /// What came last.
    last: (Group, &'static str),
}

impl Assembly {
    fn new(head: Head) -> Assembly {
        let Head {
            config,
            epoch,
            id,
            started,
            random,
            agents_named,
            frameworks_named,
            offers_named,
            round,
            awake,
            pass_allowed,
            emptied,
            deposed_by,
        } = head;
        let master = Master {
            config: Arc::new(config),
            epoch,
            id,
            started,
            random: Random::new(random),
            agents_named,
            frameworks_named,
            offers_named,
            agents: SlotTable::new(),
            heard: Beside::new(),
            addresses: OrdMap::new(),
            gone: OrdMap::new(),
            lost: OrdMap::new(),
            frameworks: SlotTable::new(),
            completed: Vector::new(),
            removed: Removed::default(),
            claims: Claims::default(),
            offers: Table::new(),
            weights: OrdMap::new(),
            deadlines: Deadlines::default(),
            pool: Quantities::new(),
            dirty: Dirty::of_round(round),
            awake,
            pass_allowed,
            emptied,
            deposed_by,
        };
        Assembly { master, framework: None, filters: Vec::new(), last: (Group::Head, "the head") }
    }

    fn take(&mut self, part: Part) -> Result<(), BadState> {
        let (group, word) = part.group();
        let out_of_order = BadState::Order { part: word, behind: self.last.1 };
        if group < self.last.0 {
            return Err(out_of_order);
        }
        self.last = (group, word);
        match part {
            Part::Head(_) => Err(out_of_order),
            Part::Agent(part) => self.take_agent(*part),
            Part::Gone { id, at } => once(self.master.gone.insert(id.clone(), at).is_none(), || {
                format!("agent {id}, which is gone")
            }),
            Part::Removed { id, at } => {
                let new = self.master.removed.put(id.clone(), at);
                once(new, || format!("framework {id}, which was removed"))
            }
            Part::Weight { role, weight } => {
                let new = self.master.weights.insert(role.clone(), weight).is_none();
                once(new, || format!("the weight of role {role}"))
            }
            Part::Framework(part) => self.take_framework(*part),
            Part::Task { place, task } => match &mut self.framework {
                Some((framework, torn_down)) => take_task(framework, *torn_down, place, task),
                None => Err(out_of_order),
            },
            Part::Filter { framework, role, agent, resources, until } => {
                let before = || self.framework.as_ref().map(|(framework, _)| framework.id.clone());
                let framework = framework.or_else(before).ok_or(out_of_order)?;
                self.filters.push(Filter { framework, role, agent, resources, until });
                Ok(())
            }
            Part::Offer(offer) => {
                let id = offer.id.clone();
                once(self.master.offers.put(id.clone(), Arc::new(offer)), || format!("offer {id}"))
            }
            Part::Deadline { at, due } => {
                if let Due::Refusals(agent) = &due {
                    self.master.put_look(agent, at);
                }
                self.master.deadlines.set(at, due);
                Ok(())
            }
            Part::Mark { round, lot, agent } => {
                let new = self.master.dirty.put(round, lot, agent.clone());
                once(new, || format!("the mark of agent {agent}, or its place {lot} in round {round},"))
            }
        }
    }

    fn take_agent(&mut self, part: AgentPart) -> Result<(), BadState> {
        let AgentPart { id, info, state, admitted, heard, drain, capabilities, principal } = part;
        let agent = Agent::new(id.clone(), info, principal, state, admitted);
        let agent = Agent { drain, capabilities, ..agent };
        self.master.addresses.insert(agent.place(), id.clone());
        let new = self.master.agents.put(id.clone(), Arc::new(agent));
        if let (Some(slot), Some(heard)) = (self.master.agents.slot(&id), heard) {
            self.master.heard.insert(slot, heard);
        }
        once(new, || format!("agent {id}"))
    }

    fn take_framework(&mut self, part: FrameworkPart) -> Result<(), BadState> {
        let FrameworkPart { id, info, state, absence, registered, suppressed, served, unserved, torn_down } =
            part;
        let holding = |(role, served)| (role, Holding { amounts: Quantities::new(), served });
        let framework = Framework {
            absence,
            suppressed,
            holdings: served.into_iter().map(holding).collect(),
            unserved,
            ..Framework::new(id, info, state, registered)
        };
        let before = self.framework.replace((framework, torn_down));
        self.keep_framework(before)
    }

    /// A framework has all its tasks.
    fn keep_framework(&mut self, framework: Option<(Framework, bool)>) -> Result<(), BadState> {
        match framework {
            None => Ok(()),
            Some((framework, true)) => {
                self.master.completed.push_back(Arc::new(framework));
                Ok(())
            }
            Some((framework, false)) => {
                let id = framework.id.clone();
                once(self.master.frameworks.put(id.clone(), Arc::new(framework)), || {
                    format!("framework {id}")
                })
            }
        }
    }

    fn finish(mut self) -> Result<Master, BadState> {
        let last = self.framework.take();
        self.keep_framework(last)?;
        for Filter { framework, role, agent, resources, until } in self.filters {
            if !self.master.frameworks.contains(&framework) {
                let part = format!("a filter of role {role} on agent {agent}");
                return Err(BadState::Foreign { part, framework });
            }
            self.master.put_refusal(&framework, &role, &agent, resources, until);
        }
        self.master.add_up();
        let broken = self.master.violations();
        match broken.is_empty() {
            true => Ok(self.master),
            false => Err(BadState::Broken(broken)),
        }
    }
}

fn take_task(
    framework: &mut Framework,
    torn_down: bool,
    place: Place,
    task: Arc<Task>,
) -> Result<(), BadState> {
    let id = task.info.id.clone();
    let twice = || format!("task {id} of framework {}", task.framework);
    if task.framework != framework.id || (torn_down && place != Place::Completed) {
        return Err(BadState::Foreign { part: twice(), framework: framework.id.clone() });
    }
    match place {
        Place::Live => once(framework.tasks.put(id.clone(), Arc::clone(&task)), twice),
        Place::Unreachable => once(framework.unreachable.put(id.clone(), Arc::clone(&task)), twice),
        Place::Completed => {
            framework.completed.push(task);
            Ok(())
        }
    }
}

/// `new`, or an error that says what is there a second time.
fn once(new: bool, what: impl FnOnce() -> String) -> Result<(), BadState> {
    match new {
        true => Ok(()),
        false => Err(BadState::Twice(what())),
    }
}
