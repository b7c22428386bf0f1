//! Other limits for a task that runs: because it is to have another size, or other cores.
//!
//! What the container shall have is always worked out anew from what was written down, and one question about a
//! container is under way at a time: what changes meanwhile is asked for after its answer. A new size is written down
//! before it is asked for, so it is asked for again by an agent that comes back, and once more where the answer came and
//! was not written down: the containerizer does nothing then.
//!
//! A sandbox that may hold less than before, or has a limit for the first time, is measured first: a limit below what is
//! in it would end the task, and a measurement from before says nothing of now. Nothing is written down until then, as the
//! master asks again whoever comes back without an answer.

use bourse_types::{ContainerId, Now, Reason, Size, Source, TaskState};

use crate::agent::Agent;
use crate::checkpoint::{Record, Task};
use crate::cores::Cores;
use crate::disk::{self, Held};
use crate::effect::{Effect, FromAgent, Resize, TaskResized};
use crate::event::{TaskKey, Work};

/// A question that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// Whether it is for the size that is under way, and not only for cores.
    size: bool,
    /// For these cores; `None`: for all.
    cores: Option<Cores>,
}

impl Agent {
    /// Gives a task another size, and answers when that is done or was refused. A repeat while it is under way changes
    /// nothing; nor does another size, as the master has one under way at a time and takes any answer for an end of it.
    /// One that has ended is left alone: its end is on the way. Answers for a task that is not ours.
    pub(crate) fn on_resize(&mut self, now: Now, key: &TaskKey, size: Size, out: &mut Vec<Effect>) {
        let Some(task) = self.state.tasks.get(key).filter(|task| !task.silent) else {
            self.answer_unknown(now, key, out);
            return;
        };
        let Some(live) = self.live.get_mut(key) else { return };
        if task.has_ended() || task.resize.is_some() || live.measuring.is_some() {
            return;
        }
        if let Some(why) = refusal(task, &size) {
            return self.answer_resize(now, key, size, Some(why), out);
        }
        if self.config.enforce_disk && may_hold_less(task, &size) {
            live.measuring = Some(size);
            out.push(Effect::Measure { container: task.container.clone(), task: key.clone() });
            return;
        }
        self.begin_resize(key, size, out);
    }

    /// The sandbox of a task was measured for its new size, or could not be. Without such a question, and for a task that
    /// has ended: dropped.
    pub(crate) fn on_measured(
        &mut self,
        now: Now,
        container: &ContainerId,
        outcome: Result<Held, String>,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(size) = self.live.get_mut(&key).and_then(|live| live.measuring.take()) else { return };
        let Some(task) = self.state.tasks.get(&key).filter(|task| !task.has_ended()) else { return };
        // It may be being killed by now.
        match refusal(task, &size).or_else(|| holds_more(&size, outcome)) {
            Some(why) => self.answer_resize(now, &key, size, Some(why), out),
            None => self.begin_resize(&key, size, out),
        }
    }

    fn begin_resize(&mut self, key: &TaskKey, size: Size, out: &mut Vec<Effect>) {
        self.keep(Record::ResizeBegun { task: key.clone(), size: Box::new(size) }, out);
        self.ask(key, out);
    }

    /// Asks for all that the container of a task shall have by now. Nothing while an answer is waited for, which asks
    /// again, before the task runs, or while it is not known yet which others do.
    pub(crate) fn ask(&mut self, key: &TaskKey, out: &mut Vec<Effect>) {
        if self.recovering {
            return;
        }
        let runs = |task: &&Task| task.started.is_some() && !task.has_ended();
        let Some(task) = self.state.tasks.get(key).filter(runs) else { return };
        let Work::Run(spec) = &task.assignment.work else { return };
        let spec = task.resize.as_ref().map_or_else(|| (**spec).clone(), |size| spec.resized(size));
        let (container, cores, size) = (task.container.clone(), self.cores_for(task), task.resize.is_some());
        let Some(live) = self.live.get_mut(key).filter(|live| live.asked.is_none()) else { return };
        live.asked = Some(Asked { size, cores: cores.clone() });
        out.push(Effect::Resize(Box::new(Resize { container, spec, cores })));
    }

    /// The same, where its cores are not those that it was given last.
    pub(crate) fn ask_if_moved(&mut self, key: &TaskKey, out: &mut Vec<Effect>) {
        let Some(task) = self.state.tasks.get(key) else { return };
        if self.live.get(key).is_some_and(|live| live.cores != self.cores_for(task)) {
            self.ask(key, out);
        }
    }

    /// The limits are set, or could not be. Without a question, and for a task that has ended: dropped.
    pub(crate) fn on_resized(
        &mut self,
        now: Now,
        container: &ContainerId,
        outcome: Result<(), String>,
        out: &mut Vec<Effect>,
    ) {
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(live) = self.live.get_mut(&key) else { return };
        let Some(asked) = live.asked.take() else { return };
        // Cores that were refused by themselves are asked for again when they change, and not at once.
        if outcome.is_ok() || !asked.size {
            live.cores = asked.cores;
        }
        // Those that came with a size that was refused are: what the container has is not known to an agent that came back.
        let cores_again = outcome.is_err() && asked.size && self.state.cores_apart;
        let Some(task) = self.state.tasks.get(&key).filter(|task| !task.has_ended()) else { return };
        let wanted = task.resize.clone().filter(|_| asked.size);
        match (wanted, outcome) {
            (Some(size), Ok(())) => {
                self.keep(Record::Resized { task: key.clone(), size: Box::new(size.clone()) }, out);
                self.answer_resize(now, &key, size, None, out);
            }
            (Some(size), Err(why)) => {
                self.keep(Record::ResizeRefused { task: key.clone() }, out);
                self.answer_resize(now, &key, size, Some(why), out);
            }
            (None, _) => {}
        }
        match cores_again || self.state.tasks.get(&key).is_some_and(|task| task.resize.is_some()) {
            true => self.ask(&key, out),
            false => self.ask_if_moved(&key, out),
        }
    }

    /// Tells the master what the task has now, and the framework too, with the reason where it is what it had.
    fn answer_resize(
        &mut self,
        now: Now,
        key: &TaskKey,
        wanted: Size,
        refused: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        let Some(task) = self.state.tasks.get(key).filter(|task| !task.silent) else { return };
        let (size, healthy) = (task.size(), task.health.healthy);
        let state = task.latest.as_ref().map_or(TaskState::Running, |latest| latest.state);
        if let Some(link) = self.link.registered() {
            let (framework, task) = (key.framework.clone(), key.task.clone());
            let resized = TaskResized { framework, task, wanted, size: size.clone() };
            out.push(Effect::Send { link, message: FromAgent::Resized(Box::new(resized)) });
        }
        let source = if refused.is_some() { Source::Agent } else { Source::Executor };
        let mut status = self.status(now, key, state, source);
        status.healthy = healthy;
        status.reason = refused.is_some().then_some(Reason::ContainerUpdateFailed);
        status.message = Some(refused.unwrap_or_else(|| format!("resized to {size}")));
        status.size = Some(Box::new(size));
        self.tell(now, key, status, out);
    }
}

/// Why a task cannot have this size, if that can be said without trying or measuring.
fn refusal(task: &Task, size: &Size) -> Option<String> {
    if task.started.is_none() {
        return Some("the task does not run yet; resize it while it is TASK_RUNNING".into());
    }
    if task.kill.is_some() {
        return Some("the task is being killed; launch another one".into());
    }
    if !task.cores.is_empty() && size.resources.cpus() != task.assignment.resources.cpus() {
        let why = "the task has its cores for itself alone, and keeps them while it runs; launch another task for other \
                   cpus";
        return Some(why.into());
    }
    None
}

/// Whether the sandbox of a task may hold less with this size than so far.
fn may_hold_less(task: &Task, size: &Size) -> bool {
    let limit = disk::limit_of(&size.resources);
    limit.is_some_and(|limit| task.disk_limit().is_none_or(|before| limit < before))
}

/// Why a sandbox that was measured cannot have the limit of this size.
fn holds_more(size: &Size, outcome: Result<Held, String>) -> Option<String> {
    let limit = disk::limit_of(&size.resources)?;
    match outcome {
        Ok(held) if disk::exceeds(held.counted(), limit) => {
            let why = disk::message(&held, limit);
            Some(format!("{why}; remove some of it, or give the task more"))
        }
        Ok(_) => None,
        Err(why) => {
            Some(format!("whether its sandbox holds more than {limit} MiB cannot be seen: {why}; try again"))
        }
    }
}
