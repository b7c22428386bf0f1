//! Cores that one task has for itself, and those that are left for the others.
//!
//! A task that asks for it gets as many of the agent's cores as it has cpus, the lowest that nobody has, until its end.
//! As long as there is such a task, all the others run on the rest, at least one core: those that run already are moved
//! there, and back onto all of them when the last such task has ended.

use std::collections::BTreeSet;

use bourse_types::TaskSpec;

use crate::agent::Agent;
use crate::checkpoint::Task;
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
        // Whether the others still run is not known yet; those that do are asked for when it is.
        if self.recovering {
            return;
        }
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
}
