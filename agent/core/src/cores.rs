//! Cores that one task has for itself, and those that are left for the others.
//!
//! A task that asks for it gets as many of the agent's cores as it has cpus, the lowest that nobody has, until its end.
//! As long as there is such a task, all the others run on the rest, at least one core: those that run already are moved
//! there, and back onto all of them when the last such task has ended.
//!
//! The core that stays is there whether somebody needs it just now or not: a task without cores for itself can be launched
//! at any time, and its launch does not depend on who came before it. An agent that comes back with fewer cores holds to
//! that as well, and ends tasks that cannot have what they were given.

use std::collections::BTreeSet;

use bourse_types::{Now, TaskSpec};

use crate::agent::{Agent, Live};
use crate::checkpoint::{KillCause, Record, Task};
use crate::effect::Effect;
use crate::event::TaskKey;

/// Cores by their numbers, as the machine counts.
pub type Cores = BTreeSet<u32>;

impl Agent {
    /// The cores that a new task has for itself: none where it does not ask for any. `Err` says why it cannot have them.
    pub(crate) fn choose_cores(&self, spec: &TaskSpec) -> Result<Cores, String> {
        if !spec.exclusive_cpus {
            return Ok(Cores::new());
        }
        let all = &self.config.cores;
        if all.is_empty() {
            let why = "this agent can keep no cores for one task alone: it does not isolate tasks, or could not find out \
                       which cores it may use; launch the task on another agent";
            return Err(why.to_owned());
        }
        let cpus = spec.resources.cpus();
        let wanted = usize::try_from(cpus.thousandths() / 1000).unwrap_or(usize::MAX);
        if wanted == 0 || !cpus.thousandths().is_multiple_of(1000) {
            return Err(format!("the task wants {cpus} cores for itself alone; take a whole number of them"));
        }
        let taken = self.taken_cores();
        let free: Vec<u32> = all.difference(&taken).copied().collect();
        if free.len() <= wanted {
            return Err(format!(
                "the task wants {wanted} of the agent's {} cores for itself alone; {} are free, and one of them stays for \
                 the others; launch it on another agent, or want fewer",
                all.len(),
                free.len()
            ));
        }
        Ok(free.into_iter().take(wanted).collect())
    }

    /// The cores that a task is to run on; `None`: all.
    pub(crate) fn cores_for(&self, task: &Task) -> Option<Cores> {
        match task.cores.is_empty() {
            true => self.shared_cores(),
            false => Some(task.cores.clone()),
        }
    }

    /// What is left for those who have no cores for themselves; `None`: all, as nobody has any.
    fn shared_cores(&self) -> Option<Cores> {
        let taken = self.taken_cores();
        (!taken.is_empty()).then(|| self.config.cores.difference(&taken).copied().collect::<Cores>())
    }

    fn taken_cores(&self) -> Cores {
        let alive = self.state.tasks.values().filter(|task| !task.has_ended());
        alive.flat_map(|task| task.cores.iter().copied()).collect()
    }

    /// A task took cores for itself, or gave them up: the others are moved to what is left now.
    pub(crate) fn share_cores(&mut self, out: &mut Vec<Effect>) {
        let shared = self.shared_cores();
        let moved = |(key, task): (&TaskKey, &Task)| {
            let given = &self.live.get(key)?.cores;
            (task.cores.is_empty() && *given != shared).then(|| key.clone())
        };
        let keys: Vec<TaskKey> = self.state.tasks.iter().filter_map(moved).collect();
        for key in &keys {
            self.ask(key, out);
        }
    }

    /// The agent has just started, and may have other cores than before. Who has all of his still keeps them, then who has
    /// not gets others in their place, as long as one is left for those who have none for themselves; the rest is killed.
    pub(crate) fn settle_cores(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut free = self.config.cores.clone();
        let alive = self.state.tasks.iter().filter(|(_, task)| !task.has_ended());
        let alone = alive.filter(|(_, task)| !task.cores.is_empty());
        let (whole, broken): (Vec<_>, Vec<_>) = alone
            .map(|(key, task)| (key.clone(), task.cores.clone()))
            .partition(|(_, cores)| cores.is_subset(&free));
        for (key, had) in whole.into_iter().chain(broken) {
            let cores: Cores = match had.is_subset(&free) {
                true => had.clone(),
                false => free.iter().copied().take(had.len()).collect(),
            };
            if free.len() <= had.len() {
                self.lose_cores(now, &key, out);
                continue;
            }
            free.retain(|core| !cores.contains(core));
            if cores != had {
                self.keep(Record::CoresTaken { task: key, cores }, out);
            }
        }
    }

    /// Until its end the task runs among the others: what it had is not there, or is theirs.
    fn lose_cores(&mut self, now: Now, key: &TaskKey, out: &mut Vec<Effect>) {
        self.begin_kill(now, key, KillCause::CoresLost, self.own_grace(key), out);
        self.keep(Record::CoresTaken { task: key.clone(), cores: Cores::new() }, out);
    }

    /// After each event: once nobody has cores for himself and all others are seen to be back on all of them, the next
    /// agent has none to move.
    pub(crate) fn note_cores_together(&mut self, out: &mut Vec<Effect>) {
        let apart = |(key, task): (&TaskKey, &Task)| {
            let moved = |live: &Live| live.cores.is_some() || live.asked.is_some();
            !task.has_ended() && (!task.cores.is_empty() || self.live.get(key).is_some_and(moved))
        };
        if self.state.cores_apart && !self.state.tasks.iter().any(apart) {
            self.keep(Record::CoresApart { apart: false }, out);
        }
    }
}
