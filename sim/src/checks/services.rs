//! What the service framework promises, by what people asked of it, what it was told of its tasks and what it asked for: an
//! instance that serves is taken away for another one only while all others of its service serve, no slot is filled twice,
//! and what somebody was told to be done is still wanted after any restart.

use std::collections::BTreeMap;

use bourse_types::{TaskId, TaskSpec, TaskState, TaskStatus};

/// What is wanted of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its file.
    pub text: String,
    /// How many instances.
    pub count: u32,
    /// None: it is on its way out.
    pub removing: bool,
}

/// A service, and whose it is.
type Service = (usize, String);

/// All services of all schedulers that are the service framework.
#[derive(Debug, Default)]
pub struct Services {
    /// What may be read back: what was wanted when somebody was answered last, and all that was since. `None`: no such
    /// service.
    wishes: BTreeMap<Service, Vec<Option<Wish>>>,
    instances: BTreeMap<(usize, TaskId), Instance>,
}

/// One instance that was launched.
#[derive(Debug)]
struct Instance {
    service: Service,
    slot: u32,
    /// It has a health check.
    checked: bool,
    /// By which life of the scheduler's process, what was told last, and whether it was well.
    told: Option<(u64, TaskState, Option<bool>)>,
    /// It was out of reach or unknown at some time: it may be forgotten and replaced, and come back.
    lost: bool,
    /// The last life of its scheduler's process that wanted it to end. Another one knows of that only if it was written.
    killed: Option<u64>,
}

impl Instance {
    /// Whether it serves, as far as this life of the process was told.
    fn serves(&self, life: u64) -> bool {
        let well = |healthy: Option<bool>| !self.checked || healthy == Some(true);
        self.killed != Some(life)
            && self.told.is_some_and(|(told, state, healthy)| {
                told == life && state == TaskState::Running && well(healthy)
            })
    }

    fn has_ended(&self) -> bool {
        self.told.is_some_and(|(_, state, _)| state.is_terminal() || state == TaskState::Unknown)
    }
}

impl Services {
    /// This is wanted now. `answered`: somebody was told that what was wanted until now is.
    pub fn wants(&mut self, scheduler: usize, wishes: &BTreeMap<String, Wish>, answered: bool) {
        for name in wishes.keys() {
            self.wishes.entry((scheduler, name.clone())).or_insert_with(|| vec![None]);
        }
        for ((_, name), known) in self.wishes.iter_mut().filter(|((of, _), _)| *of == scheduler) {
            if answered {
                known.drain(..known.len() - 1);
            }
            let wish = wishes.get(name);
            if known.last().is_some_and(|last| last.as_ref() != wish) {
                known.push(wish.cloned());
            }
        }
    }

    /// A new life of the process read this.
    pub fn reads(&mut self, scheduler: usize, wishes: &BTreeMap<String, Wish>, found: &mut Vec<String>) {
        for ((_, name), known) in self.wishes.iter_mut().filter(|((of, _), _)| *of == scheduler) {
            let read = wishes.get(name).cloned();
            if !known.contains(&read) {
                found.push(format!("of service {name} is read {read:?}, and these were wanted: {known:?}"));
            }
            *known = vec![read];
        }
    }

    /// It asks for this task to be launched, and has written that down.
    pub fn launches(&mut self, scheduler: usize, spec: &TaskSpec, found: &mut Vec<String>) {
        let Some((name, slot)) = spec.name.rsplit_once('.') else { return };
        let Ok(slot) = slot.parse() else { return };
        let service = (scheduler, name.to_owned());
        let others = self.of(&service, slot).find(|(_, other)| !other.has_ended() && !other.lost);
        if let Some((other, _)) = others {
            found.push(format!("{} fills {name}.{slot}, where {other} has not ended", spec.id));
        }
        let checked = spec.health.is_some();
        let instance = Instance { service, slot, checked, told: None, lost: false, killed: None };
        self.instances.insert((scheduler, spec.id.clone()), instance);
    }

    /// It wants this task to end.
    pub fn kills(&mut self, scheduler: usize, life: u64, task: &TaskId, found: &mut Vec<String>) {
        let key = (scheduler, task.clone());
        let Some(instance) = self.instances.get(&key) else { return };
        let (service, slot) = (instance.service.clone(), instance.slot);
        let excused = instance.killed.is_some() || instance.lost || !instance.serves(life);
        let wish = self.wishes.get(&service).and_then(|known| known.last()?.as_ref());
        let wanted = wish.filter(|wish| !wish.removing).map_or(0, |wish| wish.count);
        let twin = self.of(&service, slot).any(|(other, instance)| other != task && !instance.has_ended());
        // What is left is an update or a drain.
        if !excused && slot < wanted && !twin {
            let serves = |slot: u32| self.of(&service, slot).any(|(_, instance)| instance.serves(life));
            for missing in (0..wanted).filter(|other| *other != slot && !serves(*other)) {
                let name = &service.1;
                found.push(format!(
                    "{task} serves as {name}.{slot} and is killed, while {name}.{missing} does not serve"
                ));
            }
        }
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.killed = Some(life);
        }
    }

    /// It was told this.
    pub fn shown(&mut self, scheduler: usize, life: u64, status: &TaskStatus) {
        let Some(instance) = self.instances.get_mut(&(scheduler, status.task_id.clone())) else { return };
        let before = instance.told.filter(|(told, ..)| *told == life).and_then(|(_, _, healthy)| healthy);
        // A status without health says nothing about it.
        let healthy = status.healthy.or(before).filter(|_| status.state == TaskState::Running);
        instance.told = Some((life, status.state, healthy));
        instance.lost |= matches!(status.state, TaskState::Unreachable | TaskState::Unknown);
    }

    fn of<'a>(&'a self, service: &'a Service, slot: u32) -> impl Iterator<Item = (&'a TaskId, &'a Instance)> {
        let here = move |instance: &&Instance| instance.service == *service && instance.slot == slot;
        let instances = self.instances.iter().map(|((_, task), instance)| (task, instance));
        instances.filter(move |(_, instance)| here(instance))
    }
}
