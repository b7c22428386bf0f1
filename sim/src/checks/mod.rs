//! What must always hold, watched from outside the cores: by what goes in, what comes out, and what the machines really
//! do. Nothing here asks a core what it believes, but for the lives of agents, frameworks and tasks, which are that.

mod containers;
mod lifecycle;
mod offers;
mod operators;
mod services;
mod silence;
mod updates;

use std::collections::{BTreeMap, BTreeSet};

use bourse_agent_core::{Effect as AgentEffect, LinkId as AgentLink, Record, State, TaskKey};
use bourse_master_core::{Change, Command, Done, Effect, Event, Refused, RequestId, Snapshot, View};
use bourse_types::{
    AgentId, ContainerId, Epoch, Exit, FrameworkId, Mono, Now, Resources, TaskId, TaskSpec, TaskState,
    TaskStatus,
};

use crate::coverage::Coverage;
use crate::world::Process;
use containers::Containers;
use lifecycle::Lifecycles;
use offers::OfferBook;
use operators::Operators;
use services::Services;
use silence::Silence;
use updates::Updates;

pub use services::Wish;

/// All checkers, and what they found.
#[derive(Debug, Default)]
pub struct Checks {
    found: Vec<String>,
    /// One for each incarnation of the master, as two may speak at a time.
    offers: BTreeMap<u64, OfferBook>,
    newest_master: u64,
    containers: Containers,
    silence: Silence,
    updates: Updates,
    services: Services,
    lifecycles: Lifecycles,
    operators: Operators,
    /// By process, on how many records rests what it let out last.
    turns: BTreeMap<Process, u64>,
    /// Frameworks whose clients keep no rules.
    rude: BTreeSet<FrameworkId>,
    removed: BTreeSet<FrameworkId>,
    /// By machine, the highest epoch that its agent has obeyed: and acted on, and only decided to.
    epochs: BTreeMap<usize, (Epoch, Epoch)>,
    /// Epochs of the masters behind the links of agents.
    links: BTreeMap<(usize, u64, AgentLink), Epoch>,
    asked: u64,
    unanswered: BTreeSet<(u64, RequestId)>,
}

impl Checks {
    /// A promise was broken.
    pub fn broken(&mut self, what: String) {
        self.found.push(what);
    }

    /// Every broken promise so far.
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// A client that keeps no rules has this framework: its tasks may bear one name twice.
    pub fn is_rude(&mut self, framework: &FrameworkId) {
        self.rude.insert(framework.clone());
    }

    /// A new incarnation of the master, which knows this of the one before.
    pub fn master_starts(&mut self, life: u64, view: &View, coverage: &mut Coverage) {
        self.newest_master = life;
        self.offers.insert(life, OfferBook::default());
        self.operators.see(&view.snapshot(), &mut self.found);
        self.master_is(life, view, coverage);
    }

    /// The last incarnation of the master, with nothing left to do, knows this.
    pub fn master_ends(&mut self, known: &Snapshot) {
        self.operators.see(known, &mut self.found);
    }

    /// The master is like this after an event.
    pub fn master_is(&mut self, life: u64, view: &View, coverage: &mut Coverage) {
        self.lifecycles.master(life, view, coverage, &mut self.found);
    }

    /// An incarnation of the master has written into the registry.
    pub fn wrote(&mut self, life: u64) {
        if life < self.newest_master {
            self.found
                .push(format!("master {life} has written after master {} took over", self.newest_master));
        }
    }

    /// A core says what of its own promises is broken.
    pub fn violations(&mut self, who: Process, broken: Vec<String>) {
        self.found.extend(broken.into_iter().map(|broken| format!("{who} says: {broken}")));
    }

    /// Before the master's core sees this event.
    pub fn master_event(&mut self, life: u64, now: Now, event: &Event) {
        self.offers.entry(life).or_default().event(now, event);
    }

    /// By a connection that this incarnation of the master has let it in by, an agent's letter arrives.
    pub fn agent_speaks(&mut self, life: u64, agent: &AgentId, world: Mono) {
        self.silence.speaks(life, agent, world);
    }

    /// To this incarnation of the master, the agent's connection is closed.
    pub fn agent_leaves(&mut self, life: u64, agent: &AgentId, world: Mono) {
        self.silence.leaves(life, agent, world);
    }

    /// After the master's core wanted this.
    pub fn master_effect(&mut self, life: u64, now: Now, world: Mono, effect: &Effect) {
        match effect {
            Effect::Persist(Change::AgentUnreachable { id, .. }) => {
                self.silence.unreachable(life, id, world, &mut self.found);
            }
            Effect::Persist(Change::FrameworkRemoved { id, .. }) => _ = self.removed.insert(id.clone()),
            Effect::Persist(Change::AgentGone { id, .. } | Change::AgentRemoved { id }) => {
                self.containers.gone(id)
            }
            Effect::ToScheduler {
                framework,
                message: bourse_master_core::ToScheduler::Update(status),
                ..
            } => {
                let task = TaskKey { framework: framework.clone(), task: status.task_id.clone() };
                if !self.rude.contains(framework) {
                    let lost = self.containers.is_lost(&task);
                    self.updates.told(life, task, status, lost, &mut self.found);
                }
            }
            Effect::ToAgent {
                agent,
                message: bourse_master_core::ToAgent::Run { framework, task, .. },
                ..
            } => {
                if let Some(framework) = framework.id.clone() {
                    // What a master launches after it was replaced is not known to its successor before the agent
                    // tells; who asks that one meanwhile is told that there is no such task. Leases will close this gap.
                    let replaced = life < self.newest_master;
                    self.containers.sent(agent, TaskKey { framework, task: task.id.clone() }, replaced);
                }
            }
            _ => {}
        }
        self.offers.entry(life).or_default().effect(now, effect, &mut self.found);
    }

    /// A process lets something out that rests on so many records, of which so many are safe.
    pub fn spoke(&mut self, process: Process, rests_on: u64, safe: u64) {
        if rests_on > safe {
            self.found.push(format!("{process} speaks of {rests_on} records when {safe} are safe"));
        }
    }

    /// A process lets something out that rests on so many records: on no fewer than what it let out before.
    pub fn in_turn(&mut self, process: Process, rests_on: u64) {
        let last = self.turns.entry(process).or_default();
        if rests_on < *last {
            self.found
                .push(format!("{process} does what rests on {rests_on} records after what rests on {last}"));
        }
        *last = rests_on.max(*last);
    }

    /// An operator asks this incarnation for something. Answers with the number of that.
    pub fn asked(&mut self, life: u64, command: &Command) -> RequestId {
        self.asked += 1;
        let request = RequestId(self.asked);
        self.unanswered.insert((life, request));
        self.operators.asks(request, command);
        request
    }

    /// An operator is answered, while the registry holds this.
    pub fn answered(
        &mut self,
        life: u64,
        request: RequestId,
        reply: &Result<Done, Refused>,
        registry: &Snapshot,
    ) {
        if !self.unanswered.remove(&(life, request)) {
            self.found.push(format!("question {} is answered twice", request.0));
        }
        let newest = life == self.newest_master;
        self.operators.told(request, reply, newest, registry, &mut self.found);
    }

    /// How many questions to this incarnation were not answered.
    pub fn unanswered(&self, life: u64) -> usize {
        self.unanswered.iter().filter(|(asked, _)| *asked == life).count()
    }

    /// What a machine has, from now on.
    pub fn machine(&mut self, machine: usize, total: &Resources) {
        self.containers.machine(machine, total);
    }

    /// An agent lets a task be set up.
    pub fn launched(&mut self, task: &TaskKey) {
        let once = !self.rude.contains(&task.framework);
        self.containers.launched(task, once, &mut self.found);
    }

    /// The first process of a task runs.
    pub fn started(&mut self, machine: usize, task: &TaskKey, container: &ContainerId, held: &Resources) {
        let counts = |task: &TaskKey| !self.removed.contains(&task.framework);
        self.containers.started(machine, task, container, held, counts, &mut self.found);
    }

    /// A container that runs has other limits.
    pub fn resized(&mut self, machine: usize, task: &TaskKey, container: &ContainerId, held: &Resources) {
        let counts = |task: &TaskKey| !self.removed.contains(&task.framework);
        self.containers.resized(machine, task, container, held, counts, &mut self.found);
    }

    /// The container has ended, by itself or by a signal; `None`: with its machine, or because it was removed.
    pub fn ended(&mut self, machine: usize, task: &TaskKey, container: &ContainerId, exit: Option<Exit>) {
        self.containers.ended(machine, task, container, exit);
    }

    /// A container was removed while its task ran.
    pub fn removed_while_running(&mut self, task: &TaskKey) {
        if !self.containers.is_killed(task) {
            self.found.push(format!("the container of {task} was removed, and nobody wanted it to end"));
        }
    }

    /// What ran on this machine and was not told is not known to anybody any more.
    pub fn machine_lost(&mut self, machine: usize) {
        self.containers.machine_lost(machine);
    }

    /// An agent starts from this, as far as its disk goes.
    pub fn agent_reads(&mut self, machine: usize, state: &State) {
        self.lifecycles.agent_reads(machine, state);
    }

    /// An agent is like this when it has started, and after an event.
    pub fn agent_is(&mut self, machine: usize, state: &State, coverage: &mut Coverage) {
        self.lifecycles.agent(machine, state, coverage, &mut self.found);
    }

    /// An agent wants this to survive.
    pub fn decided(&mut self, machine: usize, record: &Record) {
        match record {
            Record::TaskAccepted { assignment, .. } => self.containers.accepted(machine, &assignment.key),
            Record::KillBegun { task, .. } => self.containers.kill_begun(task),
            Record::UpdateMade { task, status } => self.updates.made(task, status),
            _ => {}
        }
    }

    /// It survives the agent.
    pub fn written(&mut self, record: &Record) {
        if let Record::UpdateAcknowledged { uuid, .. } = record {
            self.updates.acknowledged(uuid);
        }
    }

    /// A letter of a master with this epoch arrived at an agent.
    pub fn heard_epoch(&mut self, machine: usize, life: u64, link: AgentLink, sender: Epoch) {
        self.links.insert((machine, life, link), sender);
    }

    /// An agent did this because of a letter by this link: something, or it hung up. `follows`: by that letter it has a
    /// master, and had none before.
    pub fn obeyed(
        &mut self,
        machine: usize,
        life: u64,
        link: AgentLink,
        follows: bool,
        effects: &[AgentEffect],
    ) {
        let Some(sender) = self.links.get(&(machine, life, link)).copied() else { return };
        let obeys = |effect: &AgentEffect| !matches!(effect, AgentEffect::CloseLink { .. });
        if !follows && !effects.iter().any(obeys) {
            return;
        }
        let (highest, tentative) = self.epochs.entry(machine).or_default();
        if sender < *highest {
            let what = format!("agent {machine} obeyed a master of epoch {sender} after one of {highest}");
            self.found.push(what);
        }
        *tentative = sender.max(*tentative);
    }

    /// An agent acts on what it decided: that is written down.
    pub fn acts(&mut self, machine: usize) {
        let (highest, tentative) = self.epochs.entry(machine).or_default();
        *highest = *tentative;
    }

    /// An agent died before it wrote down what it decided last.
    pub fn forgets(&mut self, machine: usize) {
        let (highest, tentative) = self.epochs.entry(machine).or_default();
        *tentative = *highest;
    }

    /// The agent's disk was emptied.
    pub fn epochs_forgotten(&mut self, machine: usize) {
        self.epochs.remove(&machine);
    }

    /// An author's code was told this status, in this life of its process.
    pub fn shown(
        &mut self,
        scheduler: usize,
        life: u64,
        framework: Option<&FrameworkId>,
        status: &TaskStatus,
    ) {
        self.services.shown(scheduler, life, status);
        let Some(framework) = framework else { return };
        let task = TaskKey { framework: framework.clone(), task: status.task_id.clone() };
        let lost = self.containers.is_lost(&task);
        self.updates.shown(scheduler, life, status, lost, &mut self.found);
        if status.uuid.is_none() {
            return;
        }
        if status.state == TaskState::Finished && !self.containers.completed(&task) {
            self.found.push(format!("{task} was told to have finished, and has not"));
        }
        if status.state == TaskState::Running && !self.containers.ever_started(&task) {
            self.found.push(format!("{task} was told to run, and was never started"));
        }
    }

    /// A scheduler that is the service framework has read this in a new life.
    pub fn services_read(&mut self, scheduler: usize, wishes: &BTreeMap<String, Wish>) {
        self.services.reads(scheduler, wishes, &mut self.found);
    }

    /// It wants this now, and has answered somebody, or not.
    pub fn services_wanted(&mut self, scheduler: usize, wishes: &BTreeMap<String, Wish>, answered: bool) {
        self.services.wants(scheduler, wishes, answered);
    }

    /// It asks for this launch.
    pub fn service_launched(&mut self, scheduler: usize, spec: &TaskSpec) {
        let checked = spec.health.is_some();
        self.services.launches(scheduler, &spec.id, &spec.name, checked, &mut self.found);
    }

    /// It wants this task to end.
    pub fn service_killed(&mut self, scheduler: usize, life: u64, task: &TaskId) {
        self.services.kills(scheduler, life, task, &mut self.found);
    }

    /// The tasks of this framework that finished with success, and whether somebody can know: not when its machine was
    /// lost meanwhile, or it was being killed.
    pub fn completions<'a>(
        &'a self,
        framework: &'a FrameworkId,
    ) -> impl Iterator<Item = (&'a TaskKey, bool)> {
        self.containers.completions(framework)
    }
}
