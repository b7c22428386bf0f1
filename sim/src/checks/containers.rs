//! The ledger of the machines: what was really started, where, how often, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use bourse_agent_core::TaskKey;
use bourse_types::{AgentId, ContainerId, Exit, FrameworkId, Resources};

/// Every task that ever ran.
#[derive(Debug, Default)]
pub struct Containers {
    totals: BTreeMap<usize, Resources>,
    launched: BTreeMap<TaskKey, u64>,
    /// Every task that was taken on, by machine.
    placed: BTreeMap<usize, BTreeSet<TaskKey>>,
    running: BTreeMap<(usize, ContainerId), (TaskKey, Resources)>,
    started: BTreeSet<TaskKey>,
    completed: BTreeSet<TaskKey>,
    /// Being killed, so that a success may be told as a kill.
    killed: BTreeSet<TaskKey>,
    /// What became of them may be known to nobody.
    lost: BTreeSet<TaskKey>,
    sent: BTreeMap<AgentId, BTreeSet<TaskKey>>,
}

impl Containers {
    /// What a machine has.
    pub fn machine(&mut self, machine: usize, total: &Resources) {
        self.totals.insert(machine, total.clone());
    }

    /// A master told an agent to run this; `unknown`: what becomes of it may not be known to those who are asked.
    pub fn sent(&mut self, agent: &AgentId, task: TaskKey, unknown: bool) {
        if unknown {
            self.lost.insert(task.clone());
        }
        self.sent.entry(agent.clone()).or_default().insert(task);
    }

    /// The agent was given up: what becomes of its tasks is not believed any more.
    pub fn gone(&mut self, agent: &AgentId) {
        let sent = self.sent.get(agent).cloned().unwrap_or_default();
        self.lost.extend(sent);
    }

    /// An agent took a task on.
    pub fn accepted(&mut self, machine: usize, task: &TaskKey) {
        self.placed.entry(machine).or_default().insert(task.clone());
    }

    /// An agent lets a task be set up.
    pub fn launched(&mut self, task: &TaskKey, once: bool, found: &mut Vec<String>) {
        let times = self.launched.entry(task.clone()).or_default();
        *times += 1;
        if once && *times > 1 {
            found.push(format!("{task} is launched {times} times"));
        }
    }

    /// The first process of a task runs.
    pub fn started(
        &mut self,
        machine: usize,
        task: &TaskKey,
        container: &ContainerId,
        held: &Resources,
        counts: impl Fn(&TaskKey) -> bool,
        found: &mut Vec<String>,
    ) {
        if let Some(((other, _), _)) = self.running.iter().find(|(_, (running, _))| running == task) {
            found.push(format!("{task} runs on machines {other} and {machine} at a time"));
        }
        self.started.insert(task.clone());
        self.resized(machine, task, container, held, counts, found);
    }

    /// It has this much from now on.
    pub fn resized(
        &mut self,
        machine: usize,
        task: &TaskKey,
        container: &ContainerId,
        held: &Resources,
        counts: impl Fn(&TaskKey) -> bool,
        found: &mut Vec<String>,
    ) {
        self.running.insert((machine, container.clone()), (task.clone(), held.clone()));
        // What is left of a framework that was torn down may be in its last seconds: the master has given its resources
        // away, as Mesos does.
        let here = self.running.iter().filter(|((on, _), (task, _))| *on == machine && counts(task));
        let mut left = self.totals.get(&machine).cloned();
        for (_, (_, held)) in here {
            left = left.and_then(|left| left.checked_sub(held));
        }
        if left.is_none() {
            let running: Vec<_> = self.running.iter().filter(|((on, _), _)| *on == machine).collect();
            found.push(format!("machine {machine} runs more than it has: {running:?}"));
        }
    }

    /// The container has ended.
    pub fn ended(&mut self, machine: usize, task: &TaskKey, container: &ContainerId, exit: Option<Exit>) {
        self.running.remove(&(machine, container.clone()));
        if exit == Some(Exit::Code(0)) {
            self.completed.insert(task.clone());
        }
    }

    /// Somebody wants it to end.
    pub fn kill_begun(&mut self, task: &TaskKey) {
        self.killed.insert(task.clone());
    }

    /// Whether somebody wanted it to end.
    pub fn is_killed(&self, task: &TaskKey) -> bool {
        self.killed.contains(task)
    }

    /// Whether it finished with success.
    pub fn completed(&self, task: &TaskKey) -> bool {
        self.completed.contains(task)
    }

    /// Whether its first process ever ran.
    pub fn ever_started(&self, task: &TaskKey) -> bool {
        self.started.contains(task)
    }

    /// What ran there and was not told is not known to anybody any more.
    pub fn machine_lost(&mut self, machine: usize) {
        self.lost.extend(self.placed.get(&machine).into_iter().flatten().cloned());
    }

    /// Whether its machine lost what it knew of it.
    pub fn is_lost(&self, task: &TaskKey) -> bool {
        self.lost.contains(task)
    }

    /// The framework's tasks that finished with success, and whether somebody can know.
    pub fn completions<'a>(
        &'a self,
        framework: &'a FrameworkId,
    ) -> impl Iterator<Item = (&'a TaskKey, bool)> {
        let known = |task: &TaskKey| !self.killed.contains(task) && !self.lost.contains(task);
        let completed = self.completed.iter().filter(move |task| task.framework == *framework);
        completed.map(move |task| (task, known(task)))
    }
}
