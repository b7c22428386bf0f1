//! A cluster of three agents in a few lines, that loses, repeats, delays, ends, partitions and crashes.
//!
//! The truth (which task really runs where) is kept apart from what the framework believes, and every plan is held
//! against it. Then everything heals, and the framework has to get where it was told to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_types::{AgentId, Now, OfferId, Resources, Role, Size, Source, TaskId, TaskState, TaskStatus};
use proptest::prelude::*;

use super::super::*;
use super::{at, used};
use crate::disk;
use crate::seen::Heard;
use crate::wanted::Wanted;

const AGENTS: [&str; 3] = ["a1", "a2", "a3"];
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
enum Step {
    Offer(usize),
    Rescind,
    Look { lose_accepts: bool, lose_kills: bool },
    Go(usize),
    End(usize),
    Repeat(usize),
    Partition(usize),
    Heal(usize),
    Pass(u64),
    Scale(u32),
    Deploy(u32),
    Drain(usize),
    Crash,
    Answer(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let agent = 0..AGENTS.len();
    let step = prop_oneof![
        6 => agent.clone().prop_map(Step::Offer),
        1 => Just(Step::Rescind),
        8 => (prop::bool::weighted(0.1), prop::bool::weighted(0.2))
            .prop_map(|(lose_accepts, lose_kills)| Step::Look { lose_accepts, lose_kills }),
        8 => (0..20usize).prop_map(Step::Go),
        3 => (0..20usize).prop_map(Step::End),
        2 => (0..20usize).prop_map(Step::Repeat),
        1 => agent.clone().prop_map(Step::Partition),
        2 => agent.clone().prop_map(Step::Heal),
        6 => prop_oneof![Just(100u64), Just(1_000), Just(30_000)].prop_map(Step::Pass),
        1 => (0..7u32).prop_map(Step::Scale),
        1 => (0..4u32).prop_map(Step::Deploy),
        1 => agent.prop_map(Step::Drain),
        1 => Just(Step::Crash),
        3 => (0..20usize).prop_map(Step::Answer),
    ];
    prop::collection::vec(step, 0..120)
}

/// A task as it really is.
struct Task {
    slot: SlotName,
    agent: usize,
    state: TaskState,
    kill: bool,
    /// What it has, where it was resized.
    size: Option<Size>,
    /// The framework had forgotten it, and said so when it was told of it.
    stranger: bool,
}

struct World {
    now: Now,
    wanted: Wanted,
    seen: Seen,
    /// What was written to disk last.
    saved: Vec<(String, Vec<u8>)>,
    /// What was asked about since the last crash, and has not been answered yet.
    unanswered: BTreeSet<TaskId>,
    offers: Vec<Offered>,
    dealt: u64,
    /// Tasks that have not ended, in truth.
    tasks: BTreeMap<TaskId, Task>,
    /// Since when an agent is cut off.
    cut: [Option<Now>; 3],
    used: BTreeSet<TaskId>,
    /// Kills that the session repeats until they arrive.
    kills: BTreeSet<TaskId>,
    /// Resizes that their agents have yet to do.
    resizes: BTreeMap<TaskId, Size>,
}

/// Definitions of which some differ in their size only.
fn text(number: u32) -> String {
    let (user, cpus) = (number / 2, if number.is_multiple_of(2) { "0.5" } else { "0.7" });
    format!(
        "name = \"web\"\ncommand = \"x\"\nuser = \"u{user}\"\nreplace_unreachable_after = \"20s\"\n\
         ports = 1\n[resources]\ncpus = {cpus}\n[restart]\nmax = \"5s\"\n"
    )
}

impl World {
    fn new() -> World {
        let mut wanted = Wanted::new(vec![]);
        wanted.deploy(&text(0), "").expect("a right file");
        wanted.scale("web", 3).expect("it is there");
        World {
            now: at(0),
            wanted,
            seen: Seen::default(),
            saved: Vec::new(),
            unanswered: BTreeSet::new(),
            offers: Vec::new(),
            dealt: 0,
            tasks: BTreeMap::new(),
            cut: [None; 3],
            used: BTreeSet::new(),
            kills: BTreeSet::new(),
            resizes: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Offer(agent) => self.offer(agent),
            Step::Rescind => drop(self.offers.pop()),
            Step::Look { lose_accepts, lose_kills } => self.look(lose_accepts, lose_kills),
            Step::Go(nth) => self.go(nth),
            Step::End(nth) => self.end(nth),
            Step::Repeat(nth) => {
                if let Some(task) = self.nth_reachable(nth) {
                    self.tell(&task, self.tasks[&task].state);
                }
            }
            Step::Partition(agent) => self.partition(agent),
            Step::Heal(agent) => self.heal(agent),
            Step::Pass(milliseconds) => self.pass(milliseconds),
            Step::Scale(count) => drop(self.wanted.scale("web", count)),
            Step::Deploy(user) => {
                let (name, outcome) = self.wanted.deploy(&text(user), "").expect("a right file");
                if outcome != crate::wanted::Outcome::Unchanged {
                    self.seen.pardon(&name);
                }
            }
            Step::Drain(agent) => drop(self.seen.draining.insert(id(agent))),
            Step::Crash => self.crash(),
            Step::Answer(nth) => {
                let nth = nth % self.unanswered.len().max(1);
                if let Some(task) = self.unanswered.iter().nth(nth).cloned() {
                    self.unanswered.remove(&task);
                    self.answer(&task);
                    self.reconciled_if_answered();
                }
            }
        }
        self.seen.check().expect("the index agrees");
    }

    fn offer(&mut self, agent: usize) {
        let held = self.offers.iter().any(|offer| offer.agent == id(agent));
        if self.cut[agent].is_some() || held {
            return;
        }
        let taken = self.tasks.values().filter(|task| task.agent == agent).count() as u64;
        let first = 31_000 + taken;
        let cpus = 10 - taken.min(10);
        let resources: Resources = format!("cpus:{cpus}; mem:{}; ports:[{first}-31999]", 4_096 - 128 * taken)
            .parse()
            .expect("resources");
        self.dealt += 1;
        self.offers.push(Offered {
            id: OfferId::new(format!("o{}", self.dealt)).expect("an id"),
            agent: id(agent),
            hostname: AGENTS[agent].to_owned(),
            role: Role::any(),
            resources,
            since: self.now.mono,
        });
    }

    fn look(&mut self, lose_accepts: bool, lose_kills: bool) {
        let plan = plan(&self.wanted, &self.seen, &self.offers, self.now);
        self.check(&plan);
        plan.apply(&mut self.seen, self.now);
        self.seen.tidy(&self.wanted, self.now);
        let gone: Vec<_> = used(&plan).cloned().collect();
        self.offers.retain(|offer| !gone.contains(&offer.id));
        let again = super::super::plan(&self.wanted, &self.seen, &self.offers, self.now);
        assert!(again.is_empty(), "a second look does more: {again:?}");
        if !plan.launches.is_empty() || !plan.kills.is_empty() {
            self.save();
        }
        for resize in &plan.resizes {
            match lose_accepts {
                true => self.seen.not_resized(&self.wanted, &resize.task, &resize.size, true, "lost"),
                false => _ = self.resizes.insert(resize.task.clone(), resize.size.clone()),
            }
        }
        for launch in &plan.launches {
            let agent = AGENTS.iter().position(|agent| *agent == launch.agent.as_str()).expect("one of ours");
            if !lose_accepts && self.cut[agent].is_none() {
                let task = Task {
                    slot: launch.slot.clone(),
                    agent,
                    state: TaskState::Staging,
                    kill: false,
                    size: None,
                    stranger: false,
                };
                self.tasks.insert(launch.task.clone(), task);
            }
        }
        self.kills.extend(plan.kills.iter().map(|kill| kill.task.clone()));
        if !lose_kills {
            for task in self.kills.clone() {
                self.kill(&task);
            }
        }
        for task in &plan.asks {
            self.answer(task);
        }
    }

    /// What a plan must never do, whatever happened before.
    fn check(&mut self, plan: &Plan) {
        let definition = self.wanted.services.values().next().expect("never removed");
        for launch in &plan.launches {
            assert!(self.used.insert(launch.task.clone()), "{} was used before", launch.task);
            assert!(launch.slot.index < definition.wanted());
            for (task, truth) in &self.tasks {
                if truth.slot == launch.slot && !truth.stranger {
                    let cut = self.cut[truth.agent].unwrap_or_else(|| panic!("{task} runs, and {launch:?}"));
                    assert!(
                        self.now.mono.since(cut.mono) >= PATIENCE,
                        "{task} may come back, and {launch:?}"
                    );
                }
            }
        }
        for offer in &self.offers {
            let taken = plan.launches.iter().filter(|launch| launch.offer == offer.id);
            let mut left = offer.resources.clone();
            for launch in taken {
                left = left.checked_sub(&launch.resources).expect("no more than was offered");
            }
            for resize in plan.resizes.iter().filter(|resize| resize.offer.as_ref() == Some(&offer.id)) {
                let gain = resize.size.resources.saturating_sub(&resize.has);
                left = left.checked_sub(&gain).expect("no more than was offered");
            }
        }
        let serving: BTreeSet<&TaskId> = self
            .tasks
            .iter()
            .filter(|(task, truth)| self.serves(task, truth))
            .map(|(task, _)| task)
            .collect();
        let up: BTreeSet<u32> = serving.iter().map(|task| self.tasks[*task].slot.index).collect();
        let down = (0..definition.wanted()).filter(|index| !up.contains(index)).count();
        let rolled =
            plan.kills.iter().filter(|kill| matches!(kill.why, KillReason::Updated | KillReason::Draining));
        let taken = rolled.filter(|kill| serving.contains(&kill.task)).count() + plan.resizes.len();
        assert!(taken + down <= down.max(1), "more than one is taken down: {plan:?}");
    }

    /// Whether a task serves in truth, and is not to end.
    fn serves(&self, task: &TaskId, truth: &Task) -> bool {
        let to_end = self.seen.instance(task).is_some_and(|(_, instance)| instance.kill.is_some());
        truth.state == TaskState::Running && self.cut[truth.agent].is_none() && !truth.kill && !to_end
    }

    fn kill(&mut self, task: &TaskId) {
        match self.tasks.get_mut(task) {
            Some(known) if self.cut[known.agent].is_none() => known.kill = true,
            Some(_) => return,
            None => self.tell(task, TaskState::Gone),
        }
        self.kills.remove(task);
    }

    /// As the master answers a reconciliation.
    fn answer(&mut self, task: &TaskId) {
        match self.tasks.get(task) {
            Some(known) if self.cut[known.agent].is_some() => self.tell(task, TaskState::Unreachable),
            Some(known) => self.tell(task, known.state),
            None => {
                let agent = self.seen.instance(task).map(|(_, instance)| instance.agent.clone());
                let cut = AGENTS
                    .iter()
                    .position(|name| agent.as_ref().is_some_and(|agent| agent.as_str() == *name));
                match cut.and_then(|agent| self.cut[agent]) {
                    Some(_) => self.tell(task, TaskState::Unreachable),
                    None => self.tell(task, TaskState::Gone),
                }
            }
        }
    }

    fn nth_reachable(&self, nth: usize) -> Option<TaskId> {
        let reachable: Vec<_> =
            self.tasks.iter().filter(|(_, task)| self.cut[task.agent].is_none()).collect();
        (!reachable.is_empty()).then(|| reachable[nth % reachable.len()].0.clone())
    }

    /// One step forward for one task.
    fn go(&mut self, nth: usize) {
        let Some(name) = self.nth_reachable(nth) else { return };
        let task = self.tasks.get_mut(&name).expect("it was just found");
        if task.kill {
            self.tasks.remove(&name);
            return self.tell(&name, TaskState::Killed);
        }
        if let Some(size) = self.resizes.remove(&name) {
            task.size = Some(size);
            let state = task.state;
            return self.tell(&name, state);
        }
        task.state = match task.state {
            TaskState::Staging => TaskState::Starting,
            _ => TaskState::Running,
        };
        let state = task.state;
        self.tell(&name, state);
    }

    fn end(&mut self, nth: usize) {
        let Some(name) = self.nth_reachable(nth) else { return };
        self.tasks.remove(&name);
        self.tell(&name, TaskState::Failed);
    }

    fn partition(&mut self, agent: usize) {
        if self.cut[agent].is_some() {
            return;
        }
        self.cut[agent] = Some(self.now);
        self.offers.retain(|offer| offer.agent != id(agent));
        self.tell_all_on(agent);
    }

    fn heal(&mut self, agent: usize) {
        if self.cut[agent].take().is_some() {
            self.tell_all_on(agent);
        }
    }

    fn tell_all_on(&mut self, agent: usize) {
        let here: Vec<_> =
            self.tasks.iter().filter(|(_, task)| task.agent == agent).map(|(id, _)| id.clone()).collect();
        for task in here {
            let state =
                if self.cut[agent].is_some() { TaskState::Unreachable } else { self.tasks[&task].state };
            self.tell(&task, state);
        }
    }

    fn tell(&mut self, task: &TaskId, state: TaskState) {
        let mut status = TaskStatus::new(task.clone(), state, Source::Master, self.now.wall);
        status.healthy = None;
        status.size = self.tasks.get(task).and_then(|task| task.size.clone()).map(Box::new);
        if self.seen.hear(&self.wanted, self.now, &status) == Heard::Stranger {
            self.kill(task);
            if let Some(truth) = self.tasks.get_mut(task) {
                truth.stranger = true;
            }
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now = at(self.now.mono.as_nanos() / 1_000_000 + milliseconds);
    }

    fn save(&mut self) {
        let groups: BTreeSet<_> = self.seen.slots.keys().map(disk::group_of).collect();
        let slots = groups
            .into_iter()
            .filter_map(|group| Some((disk::group_key(&group), disk::group_value(&self.seen, &group)?)));
        let next = (disk::next_key(), disk::next_value(self.seen.next_task));
        self.saved = slots.chain([next]).collect();
    }

    /// The process is gone, and a new one reads what was written: only launches, kills and definitions are sure to be.
    /// It is subscribed at once, and answered later.
    fn crash(&mut self) {
        self.offers.clear();
        self.kills.clear();
        let values = self.saved.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.seen = disk::read(vec![], values).expect("just written").1;
        self.seen.wake(&self.wanted, self.now);
        self.seen.begin();
        let known = self.seen.instances().map(|(_, instance)| instance.task.clone());
        self.unanswered = known.chain(self.tasks.keys().cloned()).collect();
        self.reconciled_if_answered();
    }

    /// The driver says so when the last answer is there.
    fn reconciled_if_answered(&mut self) {
        if self.unanswered.is_empty() {
            self.seen.reconciled();
        }
    }

    /// Everything answers again, and every agent offers what it has.
    fn converge(&mut self) {
        for agent in 0..AGENTS.len() {
            self.heal(agent);
        }
        for task in std::mem::take(&mut self.unanswered) {
            self.answer(&task);
        }
        self.reconciled_if_answered();
        self.seen.draining.clear();
        for _ in 0..400 {
            for agent in 0..AGENTS.len() {
                self.offer(agent);
            }
            self.look(false, false);
            for nth in 0..self.tasks.len() {
                self.go(nth);
            }
            self.pass(1_000);
        }
        let definition = self.wanted.services.values().next().expect("never removed");
        let story = crate::explain::service(definition, &self.seen, self.now);
        let expected = if definition.count == 0 { "suspended" } else { "running" };
        assert_eq!(story.state, expected, "{}", story.reason);
        assert_eq!(self.tasks.len() as u32, definition.count, "none beside them");
        for (_, instance) in self.seen.instances() {
            assert!(instance.version >= definition.size_version, "{instance:?}");
            assert!(self.tasks.contains_key(&instance.task));
        }
    }
}

fn id(agent: usize) -> AgentId {
    AgentId::new(AGENTS[agent]).expect("an id")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_slot_is_filled_twice_and_all_are_filled_in_the_end(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.converge();
    }
}
