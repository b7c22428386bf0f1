//! What to do next: `plan(wanted, seen, offers, now)`, a pure function.
//!
//! It compares what is wanted with what is seen and answers with everything that follows: kills, launches, offers to
//! decline, when to look again. It remembers nothing: the plan for a state that a plan was applied to is empty, so
//! a message that was lost, repeated or came late is made good by the next look. Its promises, held by
//! `plan/tests.rs`:
//!
//! - a slot is filled only when every earlier instance of it has ended, or has been unreachable for as long as its
//!   service waits; of those that can be reached at most one is not being killed;
//! - an update or a drain takes one instance at a time, and only while all others of the service are well, as was told
//!   since the subscription began; so it is with a new size, which a running instance gets where it is if that can be;
//! - with resources enough, and agents that answer, every slot gets its instance.
//!
//! Which offer serves a slot is decided in [`place`]; sending anything is the scheduler's.

mod place;
mod roll;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_types::{AgentId, Milli, Mono, Name, Now, OfferId, Resources, Role, Size, TaskId, TaskState};

pub use roll::{ROOM, SETTLE};

use crate::seen::{Instance, KillReason, KillSent, Resizing, Seen, Slot, SlotName, UNREACHABLE_MAX};
use crate::wanted::{Definition, Wanted};

/// An offer is held for this long before it is used, so that those of other agents can arrive beside it: a service
/// that is spread over agents needs more than one to choose from.
pub const GATHER: Duration = Duration::from_millis(100);
/// An instance that was launched and not heard of for this long is asked about, and so is one out of reach: when its
/// launch was lost as well, its agent comes back without a word about it. All others are asked about by the SDK's
/// session, from time to time.
pub const ASK: Duration = Duration::from_secs(60);

/// An offer in hand, as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The offer.
    pub id: OfferId,
    /// Whose resources.
    pub agent: AgentId,
    /// That agent's host.
    pub hostname: String,
    /// The role it was made to.
    pub role: Role,
    /// What is offered.
    pub resources: Resources,
    /// When it arrived.
    pub since: Mono,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Tasks to kill.
    pub kills: Vec<Kill>,
    /// Tasks to give another size.
    pub resizes: Vec<Resize>,
    /// Tasks that wait from now on for their agent to offer what they are to gain, and by which version of their definition.
    pub waits: Vec<(TaskId, u64)>,
    /// Tasks to launch, on offers that are then used up.
    pub launches: Vec<Launch>,
    /// Offers that serve nobody.
    pub declines: Vec<OfferId>,
    /// Tasks to ask about.
    pub asks: Vec<TaskId>,
    /// Unreachable instances that nobody waits for any more.
    pub forgets: Vec<TaskId>,
    /// What was missing for slots that none of the offers could serve, in words.
    pub lacks: BTreeMap<SlotName, String>,
    /// Slots that are ready to be filled and were not, by role.
    pub open: BTreeMap<Role, BTreeSet<SlotName>>,
    /// Roles to ask offers for, whatever was declined before.
    pub revive: Vec<Role>,
    /// Roles that need no offers.
    pub suppress: Vec<Role>,
    /// When the next plan may differ though nothing is heard.
    pub wait_until: Option<Mono>,
}

/// A task to kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The task.
    pub task: TaskId,
    /// Where it runs.
    pub agent: AgentId,
    /// Whose it is.
    pub slot: SlotName,
    /// Told to people, and kept until the instance has ended.
    pub why: KillReason,
}

/// A task to give another size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resize {
    /// The task.
    pub task: TaskId,
    /// Where it runs.
    pub agent: AgentId,
    /// The offer that it gains from, which is then used up; `None`: it gains nothing.
    pub offer: Option<OfferId>,
    /// What it holds.
    pub has: Resources,
    /// The amounts that it is to have.
    pub wanted: Resources,
    /// All that it is to have.
    pub size: Size,
}

/// A task to launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The slot it fills.
    pub slot: SlotName,
    /// Its id, used by no task before.
    pub task: TaskId,
    /// The offer it is launched on.
    pub offer: OfferId,
    /// The offer's agent.
    pub agent: AgentId,
    /// That agent's host.
    pub hostname: String,
    /// Exactly what it takes of the offer.
    pub resources: Resources,
    /// What it may use at most, where that is not what it takes.
    pub limits: BTreeMap<Name, Option<Milli>>,
    /// Its ports, in the order of the file.
    pub ports: Vec<u16>,
    /// The version of the definition it is made of.
    pub version: u64,
    /// Whether that definition has a health check.
    pub checked: bool,
}

/// Compares wanted with seen.
///
/// Every offer is in one of three hands afterwards: used by a launch, declined, or neither and to be kept until
/// `wait_until`. Two plans of the same arguments are equal.
pub fn plan(wanted: &Wanted, seen: &Seen, offers: &[Offered], now: Now) -> Plan {
    let mut pass = Pass { wanted, seen, now, plan: Plan::default(), open: Vec::new(), growing: Vec::new() };
    pass.kill_surplus();
    for definition in wanted.services.values() {
        pass.roll(definition);
        pass.find_open(definition);
    }
    pass.ask();
    pass.place(offers);
    pass.call_roles();
    pass.plan
}

impl Plan {
    /// Whether there is nothing to do but wait.
    pub fn is_empty(&self) -> bool {
        let Plan { kills, resizes, launches, declines, asks, forgets, revive, suppress, .. } = self;
        let Plan { lacks: _, open: _, waits: _, wait_until: _, .. } = self;
        kills.is_empty()
            && resizes.is_empty()
            && launches.is_empty()
            && declines.is_empty()
            && asks.is_empty()
            && forgets.is_empty()
            && revive.is_empty()
            && suppress.is_empty()
    }

    /// Writes into what is seen that this plan is being carried out. Done before anything is sent.
    pub fn apply(&self, seen: &mut Seen, now: Now) {
        for kill in &self.kills {
            if let Some(instance) = seen.instance_mut(&kill.task) {
                instance.kill = Some(KillSent { why: kill.why, sent: true });
            }
        }
        for (task, version) in &self.waits {
            if let Some(instance) = seen.instance_mut(task) {
                instance.resize = Some(Resizing::Waiting { version: *version, since: now.mono });
            }
        }
        for resize in &self.resizes {
            if let Some(instance) = seen.instance_mut(&resize.task) {
                instance.resize = Some(Resizing::Asked(resize.size.clone()));
            }
        }
        for task in &self.asks {
            if let Some(instance) = seen.instance_mut(task) {
                instance.heard = now.mono;
            }
        }
        for task in &self.forgets {
            seen.forget(task);
        }
        for (name, lack) in &self.lacks {
            seen.slots.entry(name.clone()).or_default().lack = Some(lack.clone());
        }
        for launch in &self.launches {
            if seen.slots.get(&launch.slot).is_some_and(|slot| slot.retry.is_some()) {
                seen.note_restart(&launch.slot.service, now);
            }
            seen.next_task += 1;
            seen.enter(launch.slot.clone(), launch.instance(now));
        }
        for role in &self.suppress {
            seen.suppressed.insert(role.clone());
        }
        for role in &self.revive {
            seen.suppressed.remove(role);
        }
        seen.asked = self.open.clone();
    }
}

impl Launch {
    fn instance(&self, now: Now) -> Instance {
        Instance {
            task: self.task.clone(),
            agent: self.agent.clone(),
            hostname: self.hostname.clone(),
            ports: self.ports.clone(),
            version: self.version,
            size: Some(Size { resources: self.resources.clone(), limits: self.limits.clone() }),
            resize: None,
            checked: self.checked,
            state: TaskState::Staging,
            healthy: None,
            message: None,
            launched: now.wall,
            running: None,
            since: now.mono,
            since_wall: now.wall,
            heard: now.mono,
            told: true,
            kill: None,
        }
    }
}

/// An instance that is to have more than it has.
type Growing<'a> = (&'a SlotName, &'a Definition, &'a Instance);

/// One look at everything.
struct Pass<'a> {
    wanted: &'a Wanted,
    seen: &'a Seen,
    now: Now,
    plan: Plan,
    /// Slots that could be filled right now.
    open: Vec<(SlotName, &'a Definition)>,
    /// Instances that are to gain something which their agents have to offer.
    growing: Vec<Growing<'a>>,
}

impl<'a> Pass<'a> {
    fn wait_until(&mut self, at: Mono) {
        self.plan.wait_until = Some(self.plan.wait_until.map_or(at, |earlier| earlier.min(at)));
    }

    fn kill(&mut self, slot: &SlotName, instance: &Instance, why: KillReason) {
        let (task, agent) = (instance.task.clone(), instance.agent.clone());
        self.plan.kills.push(Kill { task, agent, slot: slot.clone(), why });
    }

    /// Whatever runs beyond what is wanted, highest slots first; and kills that an earlier process asked for.
    fn kill_surplus(&mut self) {
        let seen = self.seen;
        for (name, slot) in seen.slots.iter().rev() {
            let definition = self.wanted.services.get(&name.service);
            let surplus = match definition {
                None => Some(KillReason::Removed),
                Some(definition) if definition.removing => Some(KillReason::Removed),
                Some(definition) if name.index >= definition.count => Some(KillReason::ScaledDown),
                Some(_) => None,
            };
            // One that nobody has told of yet may be the one that is out of reach.
            let keeper = slot.keeper().filter(|keeper| keeper.told).map(|keeper| &keeper.task);
            for instance in slot.instances.iter().filter(|instance| instance.is_reachable()) {
                let duplicate =
                    keeper.is_some_and(|keeper| *keeper != instance.task).then_some(KillReason::Duplicate);
                let why = match instance.kill {
                    Some(KillSent { sent: true, .. }) => None,
                    Some(KillSent { why, sent: false }) => Some(why),
                    None => surplus.or(duplicate),
                };
                if let Some(why) = why {
                    self.kill(name, instance, why);
                }
            }
            self.forget_unreachable(slot, definition, surplus.is_some());
        }
    }

    /// An instance out of reach is waited for, but not for ever.
    fn forget_unreachable(&mut self, slot: &Slot, definition: Option<&Definition>, surplus: bool) {
        let unreachable = || slot.instances.iter().filter(|instance| !instance.is_reachable());
        let patience =
            definition.map_or(Duration::ZERO, |definition| definition.spec.replace_unreachable_after);
        let mut over = unreachable().count().saturating_sub(UNREACHABLE_MAX);
        for instance in unreachable() {
            let given_up = instance.since + patience;
            if surplus && given_up > self.now.mono {
                self.wait_until(given_up);
            } else if surplus || over > 0 {
                over = over.saturating_sub(1);
                self.plan.forgets.push(instance.task.clone());
            }
        }
    }

    /// The slots of a service that are empty and whose time has come.
    fn find_open(&mut self, definition: &'a Definition) {
        let patience = definition.spec.replace_unreachable_after;
        for index in 0..definition.wanted() {
            let name = SlotName { service: definition.spec.name.clone(), index };
            let Some(slot) = self.seen.slots.get(&name) else {
                self.open.push((name, definition));
                continue;
            };
            let held = slot.instances.iter().any(Instance::is_reachable);
            let given_up = slot.instances.iter().map(|instance| instance.since + patience).max();
            let retry = slot.retry.map(|retry| retry.at);
            match given_up.max(retry) {
                _ if held => {}
                Some(later) if later > self.now.mono => self.wait_until(later),
                _ => self.open.push((name, definition)),
            }
        }
    }

    /// Whoever should have been heard of by now is asked about.
    fn ask(&mut self) {
        let seen = self.seen;
        let unsure =
            |instance: &Instance| matches!(instance.state, TaskState::Staging | TaskState::Unreachable);
        for (_, instance) in seen.instances().filter(|(_, instance)| unsure(instance)) {
            let due = instance.heard + ASK;
            if due <= self.now.mono {
                self.plan.asks.push(instance.task.clone());
            }
            self.wait_until(if due <= self.now.mono { self.now.mono + ASK } else { due });
        }
    }

    /// Offers are wanted for a role exactly while one of its slots is open. A slot that became open since the last
    /// call needs a revive: what was declined for others may suit it.
    fn call_roles(&mut self) {
        let nothing = BTreeSet::new();
        for role in &self.wanted.roles {
            let open = self.plan.open.get(role).unwrap_or(&nothing);
            let asked = self.seen.asked.get(role).unwrap_or(&nothing);
            let suppressed = self.seen.suppressed.contains(role);
            if open.is_empty() && !suppressed {
                self.plan.suppress.push(role.clone());
            } else if !open.is_empty() && (suppressed || !open.is_subset(asked)) {
                self.plan.revive.push(role.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
