//! The service framework itself: its scheduler, as its shell starts it, and people who deploy, scale and remove.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Scheduler};
use bourse_service_framework::scheduler::{Answer, Ask, Request, ServiceScheduler};
use bourse_service_framework::seen::SlotName;
use bourse_service_framework::wanted::{Definition, Refusal};
use bourse_types::{AgentId, Mono, Now, Role, TaskId, TaskState};
use bytes::Bytes;

use super::Poke;
use crate::checks::Wish;
use crate::machine::Program;
use crate::random::Random;

/// The services that people have to do with.
const NAMES: [&str; 2] = ["alpha", "beta"];

/// What every good instance does.
const GOOD: Program = Program { runs: None, code: 0, stubborn: false, sick: false, greedy: false };

/// The service framework's scheduler.
pub struct Services {
    scheduler: ServiceScheduler,
    /// How many questions were answered and not looked at: what they changed is durable.
    answered: Arc<AtomicU64>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("wanted", self.scheduler.wanted()).finish_non_exhaustive()
    }
}

impl Services {
    /// As the driver kept it.
    pub fn new(roles: Vec<Role>, memory: &BTreeMap<String, Bytes>) -> Services {
        let values = memory.iter().map(|(key, value)| (key.as_str(), &value[..]));
        let scheduler = ServiceScheduler::new(roles, values).expect("it reads what it has written");
        Services { scheduler, answered: Arc::default() }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.scheduler.next_deadline()
    }

    pub(super) fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        let event = match event {
            Event::Subscribed { framework, again } => Event::Subscribed { framework, again },
            Event::Disconnected => Event::Disconnected,
            Event::Reconciled => Event::Reconciled,
            Event::Offer(offer) => Event::Offer(offer),
            Event::Rescinded(offer) => Event::Rescinded(offer),
            Event::Update(status) => Event::Update(status),
            Event::ResizeFailed { task, wanted, has, reason, why } => {
                Event::ResizeFailed { task, wanted, has, reason, why }
            }
            Event::AgentFailed(agent) => Event::AgentFailed(agent),
            Event::AgentDraining { agent, deadline } => Event::AgentDraining { agent, deadline },
            Event::Error(why) => Event::Error(why),
            Event::Deadline => Event::Deadline,
            Event::Message(poke) => match self.asks(poke) {
                Some(ask) => Event::Message(ask),
                None => return,
            },
        };
        self.scheduler.on(now, event, calls);
    }

    fn asks(&self, poke: Poke) -> Option<Ask> {
        let request = match poke {
            Poke::Deploy(text) => Request::Deploy { text, file: "sim.toml".to_owned() },
            Poke::ScaleService { name, count } => Request::Scale { name: name.to_owned(), count },
            Poke::Remove(name) => Request::Remove { name: name.to_owned() },
            Poke::Scale(_) | Poke::Resize | Poke::LetGo => return None,
        };
        let answered = Arc::clone(&self.answered);
        let reply = Box::new(move |answer: Result<Answer, Refusal>| {
            if let Err(Refusal::Spec(bad)) = answer {
                unreachable!("the simulator writes right files: {bad}");
            }
            answered.fetch_add(1, Ordering::Relaxed);
        });
        Some(Ask { request, reply })
    }

    /// The tasks that it believes to be alive, each with its agent and what was told of it last.
    pub fn alive(&self) -> impl Iterator<Item = (TaskId, (AgentId, Option<TaskState>))> {
        let instances = self.scheduler.seen().instances();
        instances.map(|(_, i)| (i.task.clone(), (i.agent.clone(), Some(i.state))))
    }

    /// What is wanted of each service.
    pub fn wishes(&self) -> BTreeMap<String, Wish> {
        let wish = |definition: &Definition| Wish {
            text: definition.text.clone(),
            count: definition.count,
            removing: definition.removing,
        };
        let services = self.scheduler.wanted().services.iter();
        services.map(|(name, definition)| (name.as_str().to_owned(), wish(definition))).collect()
    }

    /// Whether somebody was answered since this was asked last.
    pub fn has_answered(&self) -> bool {
        self.answered.swap(0, Ordering::Relaxed) > 0
    }

    /// Which services are not as they shall be.
    pub fn wants(&self) -> Vec<String> {
        let mut wants = Vec::new();
        for (service, definition) in &self.scheduler.wanted().services {
            let settled = |index: u32| {
                let name = SlotName { service: service.clone(), index };
                let slot = self.scheduler.seen().slots.get(&name);
                let instances = slot.map(|slot| slot.instances.as_slice()).unwrap_or_default();
                matches!(instances, [one] if one.is_serving() && one.version >= definition.template_version)
            };
            for index in (0..definition.wanted()).filter(|index| !settled(*index)) {
                wants.push(format!("{service}.{index} does not serve"));
            }
            let count =
                self.scheduler.seen().slots_of(service).filter(|(_, slot)| !slot.instances.is_empty());
            let (count, wanted) = (count.count(), definition.wanted());
            if count > wanted as usize {
                wants.push(format!("{service} has {count} instances and wants {wanted}"));
            }
            if definition.removing {
                wants.push(format!("{service} is being removed"));
            }
        }
        wants
    }
}

/// What people want in the end: services that can be had.
pub fn in_the_end() -> impl Iterator<Item = Poke> {
    NAMES.into_iter().map(|name| Poke::Deploy(file(name, GOOD, name == NAMES[0], Some(2), 0)))
}

/// Something that somebody asks for; `number` tells one version from the other.
pub fn some_wish(number: u64, random: &mut Random) -> Poke {
    let name = NAMES[random.below(NAMES.len())];
    match random.below(10) {
        0 => Poke::Remove(name),
        1 | 2 => Poke::ScaleService { name, count: random.between(0, 3) as u32 },
        kind => {
            let runs = Some(random.millis(200, 8_000));
            let (program, checked) = match kind {
                3 => (Program { runs, code: 1, ..GOOD }, random.chance(0.5)),
                4 => (Program { sick: true, ..GOOD }, true),
                5 => (Program { stubborn: true, ..GOOD }, false),
                _ => (GOOD, random.chance(0.5)),
            };
            let count = random.chance(0.6).then(|| random.between(1, 3));
            // Now and then the same as before: only its count changes.
            let version = if random.chance(0.8) { number } else { 0 };
            Poke::Deploy(file(name, program, checked, count, version))
        }
    }
}

fn file(name: &str, program: Program, checked: bool, count: Option<u64>, version: u64) -> String {
    let count = count.map_or_else(String::new, |count| format!("count = {count}\n"));
    let health = "[health]\ntcp = true\ninterval = \"5s\"\ngrace = \"3s\"\nfailures = 2\n";
    let health = if checked { health } else { "" };
    format!(
        "name = \"{name}\"\ncommand = \"{program}\"\n{count}ports = 1\nkill_grace = \"2s\"\n\
         [resources]\ncpus = 0.05\nmem = \"32MiB\"\n[env]\nVERSION = \"{version}\"\n\
         [restart]\nmax = \"20s\"\n{health}"
    )
}

/// How long it is until somebody asks again.
pub fn pause(random: &mut Random) -> Duration {
    random.millis(3_000, 90_000)
}
