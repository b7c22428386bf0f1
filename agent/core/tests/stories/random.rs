//! Any order of events, with repeats, losses and restarts: what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_agent_core::{
    Agent, Checked, Condition, Config, Cores, Effect, End, Event, Found, FromAgent, FromMaster, Held, LinkId,
    Record, Start, State, TaskKey,
};
use bourse_types::{
    AgentId, ContainerId, Epoch, Exit, KillPolicy, MasterId, Mono, Now, Size, TaskSpec, TaskState, Wall,
};
use proptest::prelude::*;

use crate::world::{assignment, checked, config, framework, key, secs, spec};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Run {
        task: u8,
        checked: bool,
        refused: bool,
        alone: bool,
    },
    Kill {
        task: u8,
        grace: Option<u64>,
    },
    Shutdown,
    Acknowledge {
        task: u8,
        stale: bool,
    },
    Launched {
        which: u8,
    },
    LaunchFailed {
        which: u8,
    },
    Ended {
        which: u8,
        code: i32,
    },
    Probed {
        which: u8,
        healthy: Option<bool>,
    },
    Measured {
        which: u8,
        mebibytes: u64,
    },
    Resize {
        task: u8,
        mem: u64,
        disk: u64,
    },
    /// A sandbox was measured for a resize; `None`: it could not be.
    Sized {
        which: u8,
        mebibytes: Option<u64>,
    },
    Resized {
        which: u8,
        done: bool,
    },
    Pass {
        millis: u64,
    },
    LinkLost,
    /// The agent is gone and comes back: what it finds of its containers.
    Restart {
        finds: u8,
    },
    /// The agent dies when it has decided what the next event brings: all its records are on disk, or none is.
    Torn {
        kept: bool,
        finds: u8,
    },
    Reboot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let task = 0..4_u8;
    let step = prop_oneof![
        4 => (task.clone(), any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.3))
            .prop_map(|(task, checked, refused, alone)| Step::Run { task, checked, refused, alone }),
        2 => (task.clone(), 60..64_u64, 9..12_u64).prop_map(|(task, mem, disk)| Step::Resize { task, mem, disk }),
        2 => (any::<u8>(), prop::option::weighted(0.8, 9..12_u64))
            .prop_map(|(which, mebibytes)| Step::Sized { which, mebibytes }),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(which, done)| Step::Resized { which, done }),
        2 => (task.clone(), prop::option::of(0..20_u64)).prop_map(|(task, grace)| Step::Kill { task, grace }),
        1 => Just(Step::Shutdown),
        6 => (task, prop::bool::weighted(0.2)).prop_map(|(task, stale)| Step::Acknowledge { task, stale }),
        4 => any::<u8>().prop_map(|which| Step::Launched { which }),
        1 => any::<u8>().prop_map(|which| Step::LaunchFailed { which }),
        3 => (any::<u8>(), 0..3).prop_map(|(which, code)| Step::Ended { which, code }),
        3 => (any::<u8>(), any::<Option<bool>>()).prop_map(|(which, healthy)| Step::Probed { which, healthy }),
        1 => (any::<u8>(), 9..12_u64).prop_map(|(which, mebibytes)| Step::Measured { which, mebibytes }),
        4 => (0..30_000_u64).prop_map(|millis| Step::Pass { millis }),
        1 => Just(Step::LinkLost),
        1 => any::<u8>().prop_map(|finds| Step::Restart { finds }),
        1 => (any::<bool>(), any::<u8>()).prop_map(|(kept, finds)| Step::Torn { kept, finds }),
        1 => prop::bool::weighted(0.2).prop_map(|reboot| if reboot { Step::Reboot } else { Step::LinkLost }),
    ];
    prop::collection::vec(step, 1..80)
}

/// The world outside the agent: its disk, its containers, and a master that remembers what it was told.
struct Outside {
    agent: Agent,
    now: Now,
    boot: u32,
    /// Starts of the agent so far.
    starts: u64,
    disk: State,
    /// The next event is the agent's last.
    torn: Option<(bool, u8)>,
    /// Containers that exist, and what became of them; `None`: they are being set up.
    containers: BTreeMap<ContainerId, Option<Condition>>,
    /// Every task that was ever launched.
    launched: BTreeSet<TaskKey>,
    link: Option<LinkId>,
    /// By task, the newest uuid sent on the present link and not acknowledged.
    in_flight: BTreeMap<TaskKey, [u8; 16]>,
    /// By task, the states in the order the master first heard them.
    heard: BTreeMap<TaskKey, Vec<([u8; 16], TaskState)>>,
    probes: BTreeMap<ContainerId, u64>,
    /// So many cores has the machine, at the start of the present agent.
    cores: u32,
    /// On which cores each container runs that was ever made; `None`: on all.
    given: BTreeMap<ContainerId, Option<Cores>>,
    /// Containers that are being given other limits, and the cores that are among them.
    resizing: BTreeMap<ContainerId, Option<Cores>>,
    /// Containers whose limits could not be set the last time.
    failed: BTreeSet<ContainerId>,
    /// Containers whose sandboxes are being measured for that.
    measuring: BTreeSet<ContainerId>,
    /// Refused for good, or silenced: their updates follow other rules.
    silent: BTreeSet<TaskKey>,
    /// Began and ended while no agent looked.
    unseen: BTreeSet<TaskKey>,
    log: Vec<String>,
}

/// Of the agent's first start.
const CORES: u32 = 3;

fn first(boot: &str, incarnation: u64, cores: u32) -> Start {
    let config = Config { cores: (0..cores).collect(), ..config() };
    Start { config, boot: boot.into(), incarnation, state: State::default(), found: vec![] }
}

impl Outside {
    fn new() -> Outside {
        let now = Now { mono: Mono::ZERO, wall: Wall::from_millis(1_000_000) };
        let mut out = Vec::new();
        let agent = Agent::start(first("boot-0", 1, CORES), now, &mut out);
        let mut outside = Outside {
            agent,
            now,
            boot: 0,
            starts: 1,
            disk: State::default(),
            torn: None,
            containers: BTreeMap::new(),
            launched: BTreeSet::new(),
            link: None,
            in_flight: BTreeMap::new(),
            heard: BTreeMap::new(),
            probes: BTreeMap::new(),
            cores: CORES,
            given: BTreeMap::new(),
            resizing: BTreeMap::new(),
            failed: BTreeSet::new(),
            measuring: BTreeSet::new(),
            silent: BTreeSet::new(),
            unseen: BTreeSet::new(),
            log: Vec::new(),
        };
        outside.carry_out(out);
        outside.pass(Duration::from_secs(120));
        outside
    }

    fn apply(&mut self, event: Event) {
        let mut out = Vec::new();
        let (mut twin, mut twin_out) = (self.agent.clone(), Vec::new());
        self.agent.apply(self.now, event.clone(), &mut out);
        twin.apply(self.now, event, &mut twin_out);
        assert_eq!(out, twin_out, "the same event does the same twice");
        if let Some((kept, finds)) = self.torn.take() {
            // Nothing of what was to come after the records is done.
            out.retain(|effect| kept && matches!(effect, Effect::Checkpoint(_)));
            self.carry_out(out);
            return self.restart(self.boot, finds);
        }
        self.carry_out(out);
        assert_eq!(&self.disk, self.agent.state(), "disk and memory agree");
        let mut again = State::default();
        self.disk.records().iter().for_each(|record| again.apply(record));
        assert_eq!(again, self.disk, "a compacted log adds up to the same");
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut events = Vec::new();
        for effect in effects {
            self.log.push(effect.to_string());
            match effect {
                Effect::Checkpoint(record) => {
                    if let Record::TaskSilenced { task } = &record {
                        self.silent.insert(task.clone());
                    }
                    self.disk.apply(&record);
                }
                Effect::Connect { link } => {
                    self.link = Some(link);
                    self.in_flight.clear();
                    events.push(Event::LinkOpened { link });
                }
                Effect::CloseLink { link, .. } => assert_eq!(self.link.take(), Some(link)),
                Effect::Send { link, message } => {
                    assert_eq!(self.link, Some(link), "nothing is said by an older link");
                    events.extend(self.hear(link, message));
                }
                Effect::Launch(launch) => {
                    assert!(self.launched.insert(launch.task.clone()), "{} launched twice", launch.task);
                    assert!(
                        self.disk.tasks[&launch.task].container == launch.container,
                        "the container is written down before it is made"
                    );
                    assert!(launch.cores.as_ref().is_none_or(|cores| !cores.is_empty()), "no core is none");
                    self.given.insert(launch.container.clone(), launch.cores);
                    self.containers.insert(launch.container, None);
                }
                Effect::Resize(resize) => {
                    assert!(
                        matches!(self.containers[&resize.container], Some(Condition::Running { .. })),
                        "only what runs is resized"
                    );
                    assert!(resize.cores.as_ref().is_none_or(|cores| !cores.is_empty()), "no core is none");
                    let before = self.resizing.insert(resize.container, resize.cores);
                    assert!(before.is_none(), "one resize at a time");
                }
                Effect::Measure { container, .. } => {
                    assert!(self.measuring.insert(container), "one measurement at a time");
                }
                Effect::Watch { container } => assert!(self.containers.contains_key(&container)),
                Effect::Signal { .. } | Effect::KillAll { .. } => {}
                Effect::Destroy { container } => {
                    self.containers.remove(&container);
                    self.resizing.remove(&container);
                    self.measuring.remove(&container);
                }
                Effect::Probe { container, round, .. } => {
                    self.probes.insert(container, round);
                }
                Effect::Exit { .. } => panic!("nobody asked the agent to exit"),
            }
        }
        events.into_iter().for_each(|event| self.apply(event));
    }

    fn hear(&mut self, link: LinkId, message: FromAgent) -> Option<Event> {
        match message {
            FromAgent::Register(_) => {
                // The master believes in everything that it was told to run and whose end it has not heard.
                let ended = |key: &TaskKey| {
                    self.heard
                        .get(key)
                        .is_some_and(|heard| heard.iter().any(|(_, state)| state.is_terminal()))
                };
                let known = self.launched.iter().filter(|key| !self.silent.contains(*key) && !ended(key));
                let message = FromMaster::Registered {
                    agent: AgentId::new("S1").expect("valid"),
                    master: MasterId::new("M").expect("valid"),
                    heartbeat: secs(1_000_000),
                    known: known.cloned().collect(),
                    reconnect: None,
                };
                Some(Event::FromMaster { link, epoch: Epoch(1), message })
            }
            FromAgent::Heartbeat => None,
            FromAgent::Resized(resized) => {
                let key = TaskKey { framework: resized.framework, task: resized.task };
                assert_eq!(resized.size, self.disk.tasks[&key].size(), "what is told is written down");
                None
            }
            FromAgent::Update(update) => {
                let key = TaskKey { framework: update.framework, task: update.status.task_id.clone() };
                let uuid = update.status.uuid.expect("an agent's update has a uuid");
                if let Some(flying) = self.in_flight.insert(key.clone(), uuid) {
                    assert_eq!(flying, uuid, "two updates of {key} in flight");
                }
                let heard = self.heard.entry(key).or_default();
                if !heard.iter().any(|(seen, _)| *seen == uuid) {
                    heard.push((uuid, update.status.state));
                }
                None
            }
        }
    }

    fn tell(&mut self, message: FromMaster) {
        if let Some(link) = self.link.filter(|_| self.agent.is_registered()) {
            self.apply(Event::FromMaster { link, epoch: Epoch(1), message });
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.mono + time;
        while let Some(next) = self.agent.next_deadline().filter(|next| *next <= until) {
            assert!(
                next >= self.now.mono || next == Mono::ZERO,
                "a deadline that was due is still there after a tick"
            );
            self.advance(next.since(self.now.mono).max(Duration::from_nanos(1)));
            self.apply(Event::Tick);
        }
        self.advance(until.since(self.now.mono));
    }

    fn advance(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }

    fn pick(&self, which: u8) -> Option<ContainerId> {
        let count = self.containers.len();
        self.containers.keys().nth(usize::from(which) % count.max(1)).cloned()
    }

    /// What runs, if that container's task was started.
    fn pick_running(&self, which: u8) -> Option<ContainerId> {
        let runs =
            |container: &ContainerId| matches!(self.containers[container], Some(Condition::Running { .. }));
        self.pick(which).filter(runs)
    }

    /// The agent is gone and comes back. `finds` decides what becomes of each container meanwhile.
    fn restart(&mut self, boot: u32, finds: u8) {
        let same = boot == self.boot;
        self.boot = boot;
        self.link = None;
        self.probes.clear();
        self.cores = match finds % 4 {
            0 => 1,
            1 => 2,
            _ => CORES,
        };
        for (container, cores) in std::mem::take(&mut self.resizing) {
            // Done, and nobody heard of it.
            if finds.is_multiple_of(2) {
                self.failed.remove(&container);
                self.given.insert(container, cores);
            }
        }
        self.measuring.clear();
        if !same {
            self.containers.clear();
        }
        let mut found = Vec::new();
        for ((id, condition), at) in std::mem::take(&mut self.containers).into_iter().zip(0_u8..) {
            let condition = match (condition, finds.wrapping_add(at) % 6) {
                // Asked for and not made yet.
                (None, 0) => continue,
                (None, 1 | 2) => Condition::CutShort,
                (None, 3) => Condition::NeverRan("no such file".into()),
                (Some(Condition::Running { .. }), 1) => {
                    let unseen = self
                        .disk
                        .tasks
                        .iter()
                        .filter(|(_, task)| task.container == id && task.started.is_none());
                    self.unseen.extend(unseen.map(|(key, _)| key.clone()));
                    Condition::Exited(End { exit: Some(Exit::Code(0)), ..End::default() })
                }
                (Some(Condition::Running { .. }), 2) => Condition::Vanished,
                (None | Some(Condition::Running { .. }), _) => Condition::Running { pid: 7 },
                // It is over, and stays so.
                (Some(over), _) => over,
            };
            found.push(Found { container: id.clone(), condition: condition.clone() });
            self.containers.insert(id, Some(condition));
        }
        self.starts += 1;
        let mut out = Vec::new();
        let start = Start {
            state: self.disk.clone(),
            found,
            ..first(&format!("boot-{boot}"), self.starts, self.cores)
        };
        self.agent = Agent::start(start, self.now, &mut out);
        self.carry_out(out);
    }

    fn launches(&mut self, container: ContainerId) {
        self.containers.insert(container.clone(), Some(Condition::Running { pid: 7 }));
        self.apply(Event::Launched { container, pid: 7 });
    }

    fn ends(&mut self, container: ContainerId, code: i32) {
        let end = End { exit: Some(Exit::Code(code)), ..End::default() };
        self.containers.insert(container.clone(), Some(Condition::Exited(end.clone())));
        self.apply(Event::Ended { container, end });
    }

    fn resizes(&mut self, container: ContainerId, done: bool) {
        let asked = self.resizing.remove(&container).expect("it was asked for");
        match done {
            true => {
                self.failed.remove(&container);
                self.given.insert(container.clone(), asked);
            }
            false => {
                self.failed.insert(container.clone());
            }
        }
        let outcome = if done { Ok(()) } else { Err("in use".into()) };
        self.apply(Event::Resized { container, outcome });
    }

    fn measures(&mut self, container: ContainerId, mebibytes: Option<u64>) {
        self.measuring.remove(&container);
        let holding = |mebibytes: u64| Held { bytes: mebibytes << 20, ..Held::default() };
        let outcome = mebibytes.map(holding).ok_or_else(|| "no".into());
        self.apply(Event::Measured { container, outcome });
    }

    fn step(&mut self, step: Step) {
        let name = |task: u8| format!("t{task}");
        match step {
            Step::Run { task, checked: with_check, refused, alone } => {
                let made: TaskSpec = if with_check { checked(&name(task)) } else { spec(&name(task)) };
                let resources = "cpus:1; mem:64; disk:10".parse().expect("valid");
                let made = TaskSpec { resources, exclusive_cpus: alone, ..made };
                let mut assignment = assignment(made);
                if refused {
                    assignment.work = bourse_agent_core::Work::Refuse("cannot".into());
                }
                self.tell(FromMaster::Run { framework: framework().into(), assignment: assignment.into() });
            }
            Step::Kill { task, grace } => {
                let policy = grace.map(|grace| KillPolicy { grace: Some(secs(grace)) });
                self.tell(FromMaster::Kill { task: key(&name(task)), policy, reason: None });
            }
            Step::Shutdown => {
                if self.agent.is_registered() {
                    // The master waits for nothing of that framework any more.
                    self.in_flight.clear();
                }
                self.tell(FromMaster::ShutdownFramework { framework: key("t").framework });
            }
            Step::Acknowledge { task, stale } => {
                let key = key(&name(task));
                let uuid = self.in_flight.get(&key).copied();
                if let (Some(uuid), true) = (uuid, self.agent.is_registered()) {
                    if !stale {
                        self.in_flight.remove(&key);
                    }
                    let uuid = if stale { [1; 16] } else { uuid };
                    self.tell(FromMaster::Acknowledge { task: key, uuid });
                }
            }
            Step::Launched { which } => {
                let over = |container: &ContainerId| {
                    !matches!(self.containers[container], None | Some(Condition::Running { .. }))
                };
                if let Some(container) = self.pick(which).filter(|container| !over(container)) {
                    self.launches(container);
                }
            }
            Step::LaunchFailed { which } => {
                if let Some(container) =
                    self.pick(which).filter(|container| self.containers[container].is_none())
                {
                    self.apply(Event::LaunchFailed { container, message: "no".into() });
                }
            }
            Step::Ended { which, code } => {
                if let Some(container) = self.pick_running(which) {
                    self.ends(container, code);
                }
            }
            Step::Probed { which, healthy } => {
                if let Some(container) = self.pick(which) {
                    let round = self.probes.get(&container).copied().unwrap_or(0);
                    let outcome = match healthy {
                        Some(true) => Checked::Healthy,
                        Some(false) => Checked::Unhealthy("no".into()),
                        None => Checked::Unknown("no descriptor".into()),
                    };
                    self.apply(Event::Probed { container, round, outcome });
                }
            }
            Step::Measured { which, mebibytes } => {
                if let Some(container) = self.pick(which) {
                    let held = Held { bytes: mebibytes << 20, ..Held::default() };
                    self.apply(Event::SandboxMeasured { container, held });
                }
            }
            Step::Resize { task, mem, disk } => {
                let size = Size::of(format!("cpus:1; mem:{mem}; disk:{disk}").parse().expect("valid"));
                self.tell(FromMaster::Resize { task: key(&name(task)), size: Box::new(size) });
            }
            Step::Resized { which, done } => {
                let asked: Vec<&ContainerId> = self.resizing.keys().collect();
                let container = asked.get(usize::from(which) % asked.len().max(1)).copied().cloned();
                if let Some(container) = container {
                    self.resizes(container, done);
                }
            }
            Step::Sized { which, mebibytes } => {
                let asked: Vec<&ContainerId> = self.measuring.iter().collect();
                let container = asked.get(usize::from(which) % asked.len().max(1)).copied().cloned();
                if let Some(container) = container {
                    self.measures(container, mebibytes);
                }
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(millis)),
            Step::LinkLost => {
                if let Some(link) = self.link.take() {
                    self.apply(Event::LinkClosed { link, refused: false });
                }
            }
            Step::Restart { finds } => self.restart(self.boot, finds),
            Step::Torn { kept, finds } => self.torn = Some((kept, finds)),
            Step::Reboot => self.restart(self.boot + 1, 0),
        }
    }

    /// The faults are over: containers do what they are told, and the master answers everything.
    fn heal(&mut self) {
        self.torn = None;
        for _ in 0..200 {
            self.pass(secs(5));
            let measuring: Vec<ContainerId> = self.measuring.iter().cloned().collect();
            measuring.into_iter().for_each(|container| self.measures(container, Some(1)));
            let resizing: Vec<ContainerId> = self.resizing.keys().cloned().collect();
            resizing.into_iter().for_each(|container| self.resizes(container, true));
            let started: Vec<ContainerId> = self.containers.keys().cloned().collect();
            for container in started {
                match self.containers.get(&container) {
                    Some(None) => self.launches(container),
                    Some(Some(Condition::Running { .. })) => self.ends(container, 0),
                    Some(Some(_)) | None => {}
                }
            }
            for (task, uuid) in std::mem::take(&mut self.in_flight) {
                self.tell(FromMaster::Acknowledge { task, uuid });
            }
        }
    }

    fn check(&self) {
        for (key, heard) in &self.heard {
            let mut last = TaskState::Staging;
            for (_, state) in heard {
                assert!(
                    last.step(*state).is_some()
                        || (last.is_terminal() && self.may_be_told_again(key, *state)),
                    "{key}: {state} after {last}"
                );
                last = *state;
            }
            // Its process ran by itself to its end.
            let finished = heard.iter().position(|(_, state)| *state == TaskState::Finished);
            let ran = heard.iter().position(|(_, state)| *state == TaskState::Running);
            assert!(
                finished.is_none() || ran < finished && ran.is_some() || self.unseen.contains(key),
                "{key}: never told to run: {heard:?}"
            );
        }
        assert_eq!(self.agent.violations(), Vec::<String>::new());
        let alive = || self.disk.tasks.values().filter(|task| !task.has_ended());
        let apart: BTreeSet<u32> = alive().flat_map(|task| task.cores.iter().copied()).collect();
        let all: BTreeSet<u32> = (0..self.cores).collect();
        for task in alive().filter(|task| task.resize.is_some()) {
            assert!(self.resizing.contains_key(&task.container), "nobody asks for {:?}", task.resize);
        }
        // What could not be set is not asked for at once, and what was killed at its launch not before something changes.
        let settled = |task: &&bourse_agent_core::Task| {
            let asked = self.resizing.contains_key(&task.container) || self.failed.contains(&task.container);
            task.started.is_some() && task.kill.is_none() && !asked
        };
        for task in alive().filter(settled) {
            let cores = match (task.cores.is_empty(), apart.is_empty()) {
                (false, _) => Some(task.cores.clone()),
                (true, true) => None,
                (true, false) => Some(all.difference(&apart).copied().collect()),
            };
            assert_eq!(self.given.get(&task.container), Some(&cores), "{} is elsewhere", task.container);
        }
    }

    /// A late launch or kill of a task that is over is answered once more, for a master that forgot.
    fn may_be_told_again(&self, _key: &TaskKey, state: TaskState) -> bool {
        matches!(state, TaskState::Error | TaskState::Dropped)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_order_is_kept_nothing_runs_twice_and_every_end_is_told(steps in steps()) {
        let mut outside = Outside::new();
        for step in steps {
            outside.step(step);
            outside.check();
        }
        outside.heal();
        outside.check();
        prop_assert!(outside.containers.is_empty(), "containers left: {:?}", outside.containers);
        prop_assert!(outside.disk.tasks.is_empty(), "tasks left: {:?}", outside.disk.tasks.keys());
        prop_assert!(!outside.disk.cores_apart, "the next agent would ask who is back on all cores");
        for task in &outside.launched {
            let told = outside.heard.get(task).is_some_and(|heard| heard.iter().any(|(_, state)| state.is_terminal()));
            prop_assert!(told || outside.silent.contains(task), "the end of {} was never told", task);
        }
    }
}
