//! What must always hold, as code. Asked after every event by the tests and the simulator, never on the hot path.

use std::collections::BTreeSet;

use bourse_types::{FrameworkId, TaskState};

use crate::agent::{Agent, Live};
use crate::checkpoint::{ENDED_KEPT, Task};
use crate::cores::Cores;
use crate::event::{TaskKey, Work};

impl Agent {
    /// Every broken promise, as a sentence. Empty when all is well. Between two events; a log that was cut between records
    /// which belong together may break the first of them until its task has ended.
    ///
    /// - A task is told to run exactly while its first process is known, and as healthy as its checks have shown.
    /// - Every task has its timers and its container, and nobody else has; so has every framework a task.
    /// - What is told of a task is in the order of its life, the newest last; one that has ended is forgotten once that is
    ///   acknowledged, and not before. What waits for an acknowledgement is sent again while there is a master.
    /// - What runs is checked and timed as it asked for, until it is killed; a kill has its next step. An agent that stops
    ///   kills all, and a task of which nothing is told is killed.
    /// - Cores are nobody's or one task's, and one of them stays for the others; who has other cores or another size than he
    ///   shall have is being given them.
    /// - A task is known or forgotten, never both, and of those that are forgotten a bounded number is remembered.
    ///
    /// Not among them is that tasks fit what the agent has: it takes what its master gives it.
    pub fn violations(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_tables(&mut broken);
        for (key, task) in &self.state.tasks {
            // The tables that are checked first say so if it has none.
            let Some(live) = self.live.get(key) else { continue };
            check_told(key, task, &mut broken);
            self.check_retry(key, task, live, &mut broken);
            self.check_timers(key, task, live, &mut broken);
            self.check_limits(key, task, live, &mut broken);
        }
        self.check_cores(&mut broken);
        self.check_forgotten(&mut broken);
        broken
    }

    fn check_tables(&self, broken: &mut Vec<String>) {
        if !self.live.keys().eq(self.state.tasks.keys()) {
            let live: Vec<String> = self.live.keys().map(TaskKey::to_string).collect();
            broken.push(format!("timers are of {live:?}, which are not the tasks"));
        }
        for (key, task) in &self.state.tasks {
            if self.containers.get(&task.container) != Some(key) {
                broken.push(format!("the container of {key} is not known to be its own"));
            }
        }
        if self.containers.len() != self.state.tasks.len() {
            broken.push(format!(
                "there are {} tasks and {} containers",
                self.state.tasks.len(),
                self.containers.len()
            ));
        }
        let used: BTreeSet<&FrameworkId> = self.state.tasks.keys().map(|key| &key.framework).collect();
        if !self.state.frameworks.keys().eq(used.iter().copied()) {
            let known: Vec<&FrameworkId> = self.state.frameworks.keys().collect();
            broken.push(format!("frameworks {known:?} are known, and tasks are of {used:?}"));
        }
        if self.recovering {
            broken.push("an agent that has started is still recovering".to_owned());
        }
    }

    /// What is told and not acknowledged is sent again; what is not sent yet is sent with the next registration.
    fn check_retry(&self, key: &TaskKey, task: &Task, live: &Live, broken: &mut Vec<String>) {
        if live.retry.is_some() && task.unacknowledged.is_empty() {
            broken.push(format!("{key} has nothing to tell, and is going to tell it again"));
        }
        if self.link.registered().is_some() && live.retry.is_none() && !task.unacknowledged.is_empty() {
            broken.push(format!("{key} has something to tell, and nobody tells it"));
        }
    }

    fn check_timers(&self, key: &TaskKey, task: &Task, live: &Live, broken: &mut Vec<String>) {
        if task.has_ended() {
            if live.kill.is_some() || live.prober.is_some() || live.completion.is_some() {
                broken.push(format!("{key} has ended, and is timed"));
            }
            return;
        }
        if task.kill.is_none() && (self.stopping.is_some() || task.silent) {
            let why = if task.silent { "nothing is told of it" } else { "the agent stops" };
            broken.push(format!("{key} is not killed, and {why}"));
        }
        let (Some(_), Work::Run(spec)) = (task.started, &task.assignment.work) else { return };
        if task.kill.is_some() {
            if live.kill.is_none() {
                broken.push(format!("{key} runs and is killed, without a next step"));
            }
        } else {
            if spec.health.is_some() != live.prober.is_some() {
                broken.push(format!("{key} runs, and is not checked as it asked for"));
            }
            if spec.max_completion_time.is_some() != live.completion.is_some() {
                broken.push(format!("{key} runs, and is not timed as it asked for"));
            }
        }
    }

    /// Whoever has other limits than he shall have is being given them.
    fn check_limits(&self, key: &TaskKey, task: &Task, live: &Live, broken: &mut Vec<String>) {
        if task.has_ended() || live.asked.is_some() {
            if live.asked.is_some() && (task.has_ended() || task.started.is_none()) {
                broken.push(format!("{key} does not run, and is being given other limits"));
            }
            return;
        }
        if let Some(size) = &task.resize {
            broken.push(format!("{key} is to have {size}, and nobody gives it that"));
        }
        // One that was killed while it was launched is not moved before something changes.
        let runs = task.started.is_some() && task.kill.is_none();
        let cores = self.cores_for(task);
        if runs && live.cores != cores {
            broken.push(format!("{key} is on cores {:?}, and shall be on {cores:?}", live.cores));
        }
    }

    fn check_cores(&self, broken: &mut Vec<String>) {
        let alive = self.state.tasks.values().filter(|task| !task.has_ended());
        let taken: Vec<u32> = alive.flat_map(|task| task.cores.iter().copied()).collect();
        let apart: Cores = taken.iter().copied().collect();
        if taken.len() != apart.len() {
            broken.push(format!("cores are taken twice: {taken:?}"));
        }
        if !apart.is_empty() && (!apart.is_subset(&self.config.cores) || apart == self.config.cores) {
            broken.push(format!("of cores {:?} are taken {apart:?}: one has to be left", self.config.cores));
        }
        if !apart.is_empty() && !self.state.cores_apart {
            broken.push(format!("the next agent would not know that cores {apart:?} are taken"));
        }
    }

    fn check_forgotten(&self, broken: &mut Vec<String>) {
        let ended = &self.state.ended;
        if ended.len() > ENDED_KEPT {
            broken.push(format!("{} ends are remembered", ended.len()));
        }
        for key in ended.iter().filter(|key| self.state.tasks.contains_key(*key)) {
            broken.push(format!("{key} is known and forgotten"));
        }
    }
}

/// What the master is told of a task.
fn check_told(key: &TaskKey, task: &Task, broken: &mut Vec<String>) {
    if task.silent {
        if task.has_ended() || !task.unacknowledged.is_empty() {
            broken.push(format!("{key} is silent, and waits to be heard of"));
        }
        return;
    }
    let Some(latest) = &task.latest else {
        return broken.push(format!("{key} is in no state"));
    };
    if task.has_ended() && task.unacknowledged.is_empty() {
        broken.push(format!("{key} is {}, and nobody forgets it", latest.state));
    }
    if task.unacknowledged.back().is_some_and(|last| last != latest) {
        broken.push(format!("{key} is {}, and the last that is told is another state", latest.state));
    }
    for (before, after) in task.unacknowledged.iter().zip(task.unacknowledged.iter().skip(1)) {
        if before.state.step(after.state).is_none() {
            broken.push(format!("{key} is told as {} after {}", after.state, before.state));
        }
    }
    if task.kill.is_some() || task.has_ended() {
        return;
    }
    if (latest.state == TaskState::Running) != task.started.is_some() {
        let word = if task.started.is_some() { "runs" } else { "does not run" };
        broken.push(format!("{key} is told as {} and {word}", latest.state));
    }
    if latest.healthy != task.health.healthy {
        let (told, seen) = (latest.healthy, task.health.healthy);
        broken.push(format!("{key} is told to be healthy: {told:?}, and was seen to be: {seen:?}"));
    }
}
