//! What the service framework promises, by what people asked of it, what it was told of its tasks and what it asked for: an
//! instance that serves is taken away for another one only while all others of its service serve, no slot is filled twice,
//! and what somebody was told to be done is still wanted after any restart.

use std::collections::BTreeMap;

use bourse_types::{TaskId, TaskState, TaskStatus};

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

    /// It asks for this task to be launched, and has written that down. `slot`: the task's name, such as `web.0`.
    pub fn launches(
        &mut self,
        scheduler: usize,
        task: &TaskId,
        slot: &str,
        checked: bool,
        found: &mut Vec<String>,
    ) {
        let Some((name, slot)) = slot.rsplit_once('.') else { return };
        let Ok(slot) = slot.parse() else { return };
        let service = (scheduler, name.to_owned());
        let others = self.of(&service, slot).find(|(_, other)| !other.has_ended() && !other.lost);
        if let Some((other, _)) = others {
            found.push(format!("{task} fills {name}.{slot}, where {other} has not ended"));
        }
        let instance = Instance { service, slot, checked, told: None, lost: false, killed: None };
        self.instances.insert((scheduler, task.clone()), instance);
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
        if instance.told.is_some_and(|(_, state, _)| state.is_terminal()) {
            // A machine that lost power tells once more of the time before.
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_types::{Source, Wall};

    /// The services of scheduler 0, in the first life of its process, and what was found.
    #[derive(Default)]
    struct Book {
        services: Services,
        found: Vec<String>,
    }

    impl Book {
        fn wants(&mut self, count: u32, answered: bool) {
            let wish = Wish { text: "web".to_owned(), count, removing: false };
            self.services.wants(0, &BTreeMap::from([("web".to_owned(), wish)]), answered);
        }

        fn launches(&mut self, name: &str, slot: &str) {
            self.services.launches(0, &task(name), slot, false, &mut self.found);
        }

        fn told(&mut self, name: &str, state: TaskState) {
            self.services.shown(
                0,
                1,
                &TaskStatus::new(task(name), state, Source::Agent, Wall::from_millis(1)),
            );
        }

        fn kills(&mut self, name: &str) {
            self.services.kills(0, 1, &task(name), &mut self.found);
        }
    }

    fn task(name: &str) -> TaskId {
        TaskId::new(name).expect("valid")
    }

    fn two_that_serve() -> Book {
        let mut book = Book::default();
        book.wants(2, false);
        for (name, slot) in [("a", "web.0"), ("b", "web.1")] {
            book.launches(name, slot);
            book.told(name, TaskState::Running);
        }
        book
    }

    #[test]
    fn an_instance_that_is_ended_while_another_one_does_not_serve_is_found() {
        let mut book = two_that_serve();
        book.kills("a");
        assert_eq!(book.found, Vec::<String>::new());
        book.kills("b");
        assert_eq!(book.found, ["b serves as web.1 and is killed, while web.0 does not serve"]);

        let mut fewer = two_that_serve();
        fewer.kills("a");
        fewer.wants(1, false);
        fewer.kills("b");
        assert_eq!(fewer.found, Vec::<String>::new(), "it is beyond the count");
    }

    #[test]
    fn a_slot_that_is_filled_twice_is_found() {
        let mut book = two_that_serve();
        book.kills("a");
        book.told("a", TaskState::Killing);
        book.launches("c", "web.0");
        assert_eq!(book.found, ["c fills web.0, where a has not ended"]);

        let mut later = two_that_serve();
        later.told("a", TaskState::Failed);
        later.launches("c", "web.0");
        later.told("b", TaskState::Unreachable);
        later.launches("d", "web.1");
        assert_eq!(later.found, Vec::<String>::new());
    }

    #[test]
    fn a_wish_that_was_answered_and_is_not_there_after_a_restart_is_found() {
        let mut book = Book::default();
        book.wants(1, false);
        book.services.reads(0, &BTreeMap::new(), &mut book.found);
        assert_eq!(book.found, Vec::<String>::new(), "nobody was told that it is there");

        book.wants(1, false);
        book.wants(1, true);
        book.wants(2, false);
        book.services.reads(0, &BTreeMap::new(), &mut book.found);
        assert_eq!(book.found.len(), 1, "{:?}", book.found);
    }
}
