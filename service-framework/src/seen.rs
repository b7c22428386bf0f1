//! What is seen: every slot of every service, its instance, and what became of the earlier ones.
//!
//! A slot, `web.0` to `web.n-1`, is a place that is filled again and again; an instance is one task in it. Instances
//! enter here before their launch leaves the process, and leave when a terminal status says so, so that a task that
//! was launched is never forgotten, and none is launched beside it by mistake.

mod instance;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use bourse_types::{AgentId, Mono, Now, Reason, Role, Size, TaskId, TaskState, TaskStatus, Wall};

use crate::spec::{Backoff, ServiceName};
use crate::wanted::Wanted;

pub use instance::{Instance, KillReason, KillSent, Resizing};

/// Ended attempts that a slot remembers.
pub const ATTEMPTS_MAX: usize = 5;
/// Restarts that a service remembers; more in an hour are shown as this many.
pub const RESTARTS_MAX: usize = 1_000;
/// How long a restart is remembered.
const RESTARTS_FOR: Duration = Duration::from_secs(3600);
/// Unreachable instances that a slot remembers beside the present one. One that is forgotten and returns is killed
/// as unknown.
pub const UNREACHABLE_MAX: usize = 4;

/// `web.0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName {
    /// The service.
    pub service: ServiceName,
    /// From 0.
    pub index: u32,
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.index)
    }
}

impl fmt::Debug for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything that is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Slots that hold an instance or a memory. A wanted slot without an entry was never filled.
    pub slots: BTreeMap<SlotName, Slot>,
    /// Whose each task is.
    tasks: BTreeMap<TaskId, SlotName>,
    /// The number that the next task id ends with. Never goes back: ids are unique over the framework's life.
    pub next_task: u64,
    /// Agents that are about to lose their tasks.
    pub draining: BTreeSet<AgentId>,
    /// By role: the slots that offers were asked for with the last revive; absent after a suppress or before the
    /// first call.
    pub asked: BTreeMap<Role, BTreeSet<SlotName>>,
    /// Roles that were suppressed.
    pub suppressed: BTreeSet<Role>,
    /// When instances were started again, oldest first, by service; an hour's worth.
    pub restarts: BTreeMap<ServiceName, VecDeque<Wall>>,
}

/// One place of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slot {
    /// Tasks that have not ended, oldest first. More than one only while an unreachable one has been replaced, or
    /// has come back and is being killed.
    pub instances: Vec<Instance>,
    /// What ended, newest first; at most [`ATTEMPTS_MAX`].
    pub attempts: VecDeque<Attempt>,
    /// How many ended in a row without a good run between them.
    pub ends: u32,
    /// Not before then again.
    pub retry: Option<Retry>,
    /// What the last look at offers was missing, in words.
    pub lack: Option<String>,
}

/// When a slot is tried again: on both clocks, as one drives it and the other survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// For deciding.
    pub at: Mono,
    /// For people and for the state file.
    pub wall: Wall,
}

/// One try that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// Where it ran.
    pub hostname: String,
    /// How it ended.
    pub state: TaskState,
    /// The stable word, if one was given.
    pub reason: Option<Reason>,
    /// The same for people: `exited with 1`.
    pub message: String,
    /// When it was launched.
    pub started: Wall,
    /// When its end was said.
    pub ended: Wall,
}

/// What a status meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An instance changed.
    Changed(SlotName),
    /// An instance ended.
    Ended(SlotName),
    /// A task that is alive and not ours to know: it must be killed.
    Stranger,
    /// Nothing new.
    Nothing,
}

impl Seen {
    /// Finds a task.
    pub fn instance(&self, task: &TaskId) -> Option<(&SlotName, &Instance)> {
        let slot = self.tasks.get(task)?;
        let found = self.slots.get(slot)?.instances.iter().find(|instance| &instance.task == task)?;
        Some((slot, found))
    }

    /// Finds a task, to change it.
    pub fn instance_mut(&mut self, task: &TaskId) -> Option<&mut Instance> {
        let slot = self.slots.get_mut(self.tasks.get(task)?)?;
        slot.instances.iter_mut().find(|instance| &instance.task == task)
    }

    /// The slots of one service, lowest first.
    pub fn slots_of<'a>(
        &'a self,
        service: &ServiceName,
    ) -> impl DoubleEndedIterator<Item = (&'a SlotName, &'a Slot)> {
        let first = SlotName { service: service.clone(), index: 0 };
        let last = SlotName { service: service.clone(), index: u32::MAX };
        self.slots.range(first..=last)
    }

    /// Every instance that has not ended.
    pub fn instances(&self) -> impl Iterator<Item = (&SlotName, &Instance)> {
        self.slots.iter().flat_map(|(name, slot)| slot.instances.iter().map(move |instance| (name, instance)))
    }

    /// Enters an instance: it counts from now on, whatever becomes of its launch.
    pub fn enter(&mut self, name: SlotName, instance: Instance) {
        self.tasks.insert(instance.task.clone(), name.clone());
        let slot = self.slots.entry(name).or_default();
        slot.retry = None;
        slot.lack = None;
        slot.instances.push(instance);
    }

    /// Enters an instance of an earlier process: it neither ends a wait nor is news.
    pub fn restore(&mut self, name: SlotName, instance: Instance) {
        self.avoid(&instance.task);
        self.tasks.insert(instance.task.clone(), name.clone());
        self.slots.entry(name).or_default().instances.push(instance);
    }

    /// An id is never given twice, even if the counter of tasks, or all of the state, was lost.
    fn avoid(&mut self, task: &TaskId) {
        // No counter of ours gets further; what is beyond was not counted, and must not bring it to its end.
        const LARGEST: u64 = 1 << 48;
        let number = task.as_str().rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        self.next_task =
            self.next_task.max(number.filter(|number| *number < LARGEST).map_or(0, |number| number + 1));
    }

    /// Takes in a status. A repeat, or one that comes late, changes nothing.
    pub fn hear(&mut self, wanted: &Wanted, now: Now, status: &TaskStatus) -> Heard {
        let Some(name) = self.tasks.get(&status.task_id).cloned() else {
            self.avoid(&status.task_id);
            // Only what still runs needs an answer. `Unknown` is the answer to a question about a task that ended.
            return match status.state {
                TaskState::Staging | TaskState::Starting | TaskState::Running | TaskState::Killing => {
                    Heard::Stranger
                }
                TaskState::Unreachable
                | TaskState::Unknown
                | TaskState::Finished
                | TaskState::Failed
                | TaskState::Killed
                | TaskState::Error
                | TaskState::Lost
                | TaskState::Dropped
                | TaskState::Gone
                | TaskState::GoneByOperator => Heard::Nothing,
            };
        };
        let Some(slot) = self.slots.get_mut(&name) else { return Heard::Nothing };
        let Some(at) = slot.instances.iter().position(|instance| instance.task == status.task_id) else {
            return Heard::Nothing;
        };
        // The master knows neither task nor agent: nothing will ever come of it.
        if status.state.is_terminal() || status.state == TaskState::Unknown {
            let instance = slot.instances.remove(at);
            self.tasks.remove(&status.task_id);
            let restart = wanted.services.get(&name.service).map(|definition| definition.spec.restart);
            slot.end(now, instance, status, restart);
            return Heard::Ended(name);
        }
        let instance = &mut slot.instances[at];
        let moved = instance.hear(now, status);
        let definition = wanted.services.get(&name.service);
        let resized = status.size.as_deref().is_some_and(|size| instance.measure(now, size, definition));
        match moved || resized {
            true => Heard::Changed(name),
            false => Heard::Nothing,
        }
    }

    /// A resize to this was not done. It is tried again, or else the instance is replaced by one of that size, if its
    /// definition still wants it.
    pub fn not_resized(&mut self, wanted: &Wanted, task: &TaskId, size: &Size, again: bool, why: &str) {
        let Some(name) = self.tasks.get(task) else { return };
        let definition = wanted.services.get(&name.service);
        let version =
            definition.filter(|it| it.spec.template.is_size(size) && !again).map(|it| it.size_version);
        let Some(instance) = self.instance_mut(task) else { return };
        if matches!(&instance.resize, Some(Resizing::Asked(asked)) if asked == size) {
            instance.resize = version.map(|version| Resizing::Refused { version, why: why.to_owned() });
        }
    }

    /// Forgets an instance that may still run somewhere out of reach; when it returns it is a stranger.
    pub fn forget(&mut self, task: &TaskId) {
        if let Some(name) = self.tasks.remove(task)
            && let Some(slot) = self.slots.get_mut(&name)
        {
            slot.instances.retain(|instance| &instance.task != task);
        }
    }

    /// Drops what nobody wants to know any more: empty slots beyond the count, and restarts of more than an hour
    /// ago. Answers which slots are gone, and which services: those being removed whose last instance ended.
    pub fn tidy(&mut self, wanted: &Wanted, now: Now) -> (Vec<SlotName>, Vec<ServiceName>) {
        let mut empty = Vec::new();
        self.slots.retain(|name, slot| {
            let count = wanted.services.get(&name.service).map_or(0, |definition| definition.wanted());
            let keep = name.index < count || !slot.instances.is_empty();
            if !keep {
                empty.push(name.clone());
            }
            keep
        });
        for restarts in self.restarts.values_mut() {
            while restarts.front().is_some_and(|&at| now.wall.since(at) >= RESTARTS_FOR) {
                restarts.pop_front();
            }
        }
        self.restarts
            .retain(|service, restarts| wanted.services.contains_key(service) && !restarts.is_empty());
        let removing = wanted.services.iter().filter(|(_, definition)| definition.removing);
        let gone = removing.map(|(name, _)| name).filter(|name| self.slots_of(name).next().is_none());
        (empty, gone.cloned().collect())
    }

    /// A new definition deserves a fresh start: waits and counted ends were those of the old one.
    pub fn pardon(&mut self, service: &ServiceName) {
        for (_, slot) in self.slots.iter_mut().filter(|(name, _)| &name.service == service) {
            slot.ends = 0;
            slot.retry = None;
            slot.lack = None;
        }
    }

    /// How often instances of a service were started again within the last hour; at most [`RESTARTS_MAX`].
    pub fn restarts_of(&self, service: &ServiceName, now: Now) -> u32 {
        let restarts = self.restarts.get(service).into_iter().flatten();
        restarts.filter(|&&at| now.wall.since(at) < RESTARTS_FOR).count() as u32
    }

    /// Notes that an instance is started again.
    pub fn note_restart(&mut self, service: &ServiceName, now: Now) {
        let restarts = self.restarts.entry(service.clone()).or_default();
        if restarts.len() >= RESTARTS_MAX {
            restarts.pop_front();
        }
        restarts.push_back(now.wall);
    }

    /// A subscription begins: nobody has been told of in it, and nothing was said in it to the master.
    pub fn begin(&mut self) {
        self.tell_all(false);
        for instance in self.slots.values_mut().flat_map(|slot| &mut slot.instances) {
            // No offer could come meanwhile.
            instance.resize = instance.resize.take().filter(|it| !matches!(it, Resizing::Waiting { .. }));
        }
        self.asked.clear();
        self.suppressed.clear();
    }

    /// Everybody has been told of since the subscription began.
    pub fn reconciled(&mut self) {
        self.tell_all(true);
    }

    fn tell_all(&mut self, told: bool) {
        let slots = self.slots.values_mut();
        slots.flat_map(|slot| &mut slot.instances).for_each(|instance| instance.told = told);
    }

    /// Moves what was read from a file onto this process' clock. Waits go on with what was left of them by the
    /// wall clock, and are never longer than they were; what must be waited for in full starts anew.
    pub fn wake(&mut self, wanted: &Wanted, now: Now) {
        for (name, slot) in &mut self.slots {
            let longest = wanted.services.get(&name.service).map(|definition| definition.spec.restart.max);
            if let Some(retry) = &mut slot.retry {
                let left = retry.wall.since(now.wall).min(longest.unwrap_or_default());
                *retry = Retry { at: now.mono + left, wall: now.wall + left };
            }
            for instance in &mut slot.instances {
                instance.since = now.mono;
                instance.heard = now.mono;
                // Whether the kill left before the process ended is unknown; a second one is harmless.
                if let Some(kill) = &mut instance.kill {
                    kill.sent = false;
                }
            }
        }
    }

    /// Whether all that is derived agrees; for tests.
    pub fn check(&self) -> Result<(), String> {
        for (name, instance) in self.instances() {
            if self.tasks.get(&instance.task) != Some(name) {
                return Err(format!("{} of {name} is not in the index", instance.task));
            }
        }
        let count = self.instances().count();
        if count != self.tasks.len() {
            return Err(format!("{count} instances and {} tasks in the index", self.tasks.len()));
        }
        Ok(())
    }
}

impl Slot {
    /// The instance that fills the slot: the newest that can be reached and is not being killed.
    pub fn keeper(&self) -> Option<&Instance> {
        self.instances.iter().rev().find(|instance| instance.is_reachable() && instance.kill.is_none())
    }

    /// Writes an end down, and decides when the slot is tried again.
    fn end(&mut self, now: Now, instance: Instance, status: &TaskStatus, restart: Option<Backoff>) {
        let fault = instance.is_fault(status);
        let ran = instance.running.map(|since| now.wall.since(since)).unwrap_or_default();
        self.attempts.push_front(Attempt {
            task: instance.task,
            hostname: instance.hostname,
            state: status.state,
            reason: status.reason,
            message: words(status),
            started: instance.launched,
            ended: now.wall,
        });
        self.attempts.truncate(ATTEMPTS_MAX);
        if !fault {
            return;
        }
        let Some(restart) = restart else { return };
        self.ends = if instance.running.is_some() && ran >= restart.reset_after {
            1
        } else {
            self.ends.saturating_add(1)
        };
        let wait = restart.wait(self.ends);
        self.retry = Some(Retry { at: now.mono + wait, wall: now.wall + wait });
    }
}

/// An end in words: how the process ended, else what was said about it, else the reason.
fn words(status: &TaskStatus) -> String {
    const SHOWN_CHARS: usize = 300;
    let text = match (&status.exit, &status.message, status.reason) {
        (Some(exit), Some(message), _) if !message.is_empty() && *message != exit.to_string() => {
            // An agent's message may well name the exit itself; it is not said twice.
            if message.contains(&exit.to_string()) { message.clone() } else { format!("{exit}: {message}") }
        }
        (Some(exit), _, _) => exit.to_string(),
        (None, Some(message), _) if !message.is_empty() => message.clone(),
        (None, _, Some(reason)) => reason.as_str().to_owned(),
        (None, _, None) => status.state.as_str().to_owned(),
    };
    text.chars().take(SHOWN_CHARS).collect()
}
