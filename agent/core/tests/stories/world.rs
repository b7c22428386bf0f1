//! The one helper that knows the core's interface: a small world around one agent.
//!
//! Time stands still unless a story moves it; moving it ticks the agent at each of its deadlines, as the shell does.

use std::time::Duration;

use bourse_agent_core::{
    Agent, Assignment, Checked, Condition, Config, Effect, End, Event, Found, FromAgent, FromMaster, Held,
    LinkId, Record, Start, State, TaskKey, Work,
};
use bourse_types::{
    Address, AgentId, AgentInfo, Attributes, Command, ContainerId, Epoch, Exit, FrameworkId, FrameworkInfo,
    HealthCheck, HealthKind, KillPolicy, MasterId, Mono, Now, Reason, Resources, Size, TaskId, TaskSpec,
    Wall,
};
use bytes::Bytes;
use expect_test::Expect;

pub const BOOT: &str = "boot-1";

pub struct World {
    pub agent: Agent,
    pub now: Now,
    /// Effects since the last look.
    out: Vec<Effect>,
    /// Every effect so far.
    pub all: Vec<Effect>,
    pub epoch: Epoch,
    /// What the agent is started with the next time.
    pub config: Config,
    /// A log was cut between records that belong together: what must always hold may not.
    cut: bool,
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn key(task: &str) -> TaskKey {
    TaskKey { framework: FrameworkId::new("F").expect("valid"), task: TaskId::new(task).expect("valid") }
}

pub fn framework() -> FrameworkInfo {
    let mut info = FrameworkInfo::new("stories");
    info.id = Some(key("t").framework);
    info.user = "nobody".into();
    info.checkpoint = true;
    info.capabilities.task_killing = true;
    info
}

pub fn spec(task: &str) -> TaskSpec {
    let agent = AgentId::new("S1").expect("valid");
    let resources = "cpus:1; mem:64".parse().expect("valid");
    TaskSpec::plain(key(task).task, key(task).framework, agent, resources, Command::shell("echo hello"))
}

/// Every 10 seconds from the first on, 5 seconds to answer, three failures kill, no grace.
pub fn checked(task: &str) -> TaskSpec {
    let mut check = HealthCheck::new(HealthKind::Tcp { port: 80 });
    (check.delay, check.timeout, check.grace_period) = (Duration::ZERO, secs(5), Duration::ZERO);
    TaskSpec { health: Some(check), ..spec(task) }
}

pub fn assignment(spec: TaskSpec) -> Assignment {
    Assignment {
        key: TaskKey { framework: spec.framework.clone(), task: spec.id.clone() },
        role: spec.role.clone(),
        resources: spec.resources.clone(),
        message: Bytes::from_static(b"TaskInfo"),
        work: Work::Run(Box::new(spec)),
    }
}

pub fn config() -> Config {
    Config::new(AgentInfo {
        hostname: "host".into(),
        address: Address { host: "127.0.0.1".into(), port: 5051 },
        attributes: Attributes::default(),
        total: Resources::new(),
        version: "0".into(),
    })
}

/// Stories keep the incarnation 0, so that their ids are short.
fn start(
    config: &Config,
    state: State,
    boot: &str,
    found: Vec<Found>,
    now: Now,
    out: &mut Vec<Effect>,
) -> Agent {
    let config = config.clone();
    Agent::start(Start { config, boot: boot.into(), incarnation: 0, state, found }, now, out)
}

/// `c5` for the container whose number the ids' counter gave as 5.
fn short(text: &str) -> String {
    text.replace("00000000-0000-8000-8000-00000000000", "c")
        .replace("00000000-0000-8000-8000-0000000000", "c")
}

impl World {
    /// An agent that no master knows yet, at its very first event.
    pub fn fresh() -> World {
        World::fresh_with(config())
    }

    fn fresh_with(config: Config) -> World {
        let now = Now { mono: Mono::ZERO, wall: Wall::from_millis(1_000_000) };
        let mut out = Vec::new();
        let agent = start(&config, State::default(), BOOT, vec![], now, &mut out);
        World { agent, now, out, all: vec![], epoch: Epoch(1), config, cut: false }
    }

    /// A registered agent that has the cores from 0 on, so many of them.
    pub fn with_cores(count: u32) -> World {
        let mut world = World::fresh_with(Config { cores: (0..count).collect(), ..config() });
        world.comes_up();
        world
    }

    /// An agent whose link is up, with what that took forgotten.
    pub fn registered() -> World {
        let mut world = World::fresh();
        world.comes_up();
        world
    }

    /// A registered agent that does not enforce the disk of its tasks.
    pub fn lenient() -> World {
        let mut world = World::fresh_with(Config { enforce_disk: false, ..config() });
        world.comes_up();
        world
    }

    fn comes_up(&mut self) {
        self.tick();
        self.apply(Event::LinkOpened { link: LinkId(1) });
        self.registers(&[]);
        self.skip();
    }

    /// An agent with one running task `t1` of pid 7 whose updates are all acknowledged.
    pub fn running(spec: TaskSpec) -> World {
        let mut world = World::registered();
        let task = spec.id.to_string();
        world.run(spec);
        world.launched(&task, 7);
        world.acknowledge_all();
        world.skip();
        world
    }

    pub fn apply(&mut self, event: Event) {
        self.agent.apply(self.now, event, &mut self.out);
        self.keeps_its_promises();
    }

    fn keeps_its_promises(&self) {
        assert!(self.cut || self.agent.violations().is_empty(), "{:?}", self.agent.violations());
    }

    pub fn tick(&mut self) {
        self.apply(Event::Tick);
    }

    /// Moves time on, with a tick at each deadline on the way.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.mono + time;
        while let Some(next) = self.agent.next_deadline().filter(|next| *next <= until) {
            self.advance(next.since(self.now.mono));
            self.tick();
        }
        self.advance(until.since(self.now.mono));
    }

    fn advance(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }

    /// The newest link that was asked for.
    pub fn link(&self) -> LinkId {
        let asked = self.all.iter().chain(&self.out).rev().find_map(|effect| match effect {
            Effect::Connect { link } => Some(*link),
            _ => None,
        });
        asked.unwrap_or(LinkId(0))
    }

    pub fn hears(&mut self, message: FromMaster) {
        let (link, epoch) = (self.link(), self.epoch);
        self.apply(Event::FromMaster { link, epoch, message });
    }

    pub fn registers(&mut self, known: &[&str]) {
        self.hears(FromMaster::Registered {
            agent: AgentId::new("S1").expect("valid"),
            master: MasterId::new("M").expect("valid"),
            // Stories are not about heartbeats unless they say so.
            heartbeat: secs(100_000),
            known: known.iter().map(|task| key(task)).collect(),
            reconnect: None,
        });
    }

    /// The link breaks, and a new one comes up at once.
    pub fn reconnects(&mut self, known: &[&str]) {
        let link = self.link();
        self.apply(Event::LinkClosed { link, refused: false });
        self.pass(secs(2));
        let link = self.link();
        self.apply(Event::LinkOpened { link });
        self.registers(known);
    }

    pub fn run(&mut self, spec: TaskSpec) {
        self.hears(FromMaster::Run { framework: framework().into(), assignment: assignment(spec).into() });
    }

    pub fn container(&self, task: &str) -> ContainerId {
        let launched = self.all.iter().chain(&self.out).find_map(|effect| match effect {
            Effect::Launch(launch) if launch.task == key(task) => Some(launch.container.clone()),
            _ => None,
        });
        launched.unwrap_or_else(|| panic!("{task} was launched"))
    }

    pub fn launched(&mut self, task: &str, pid: u32) {
        let container = self.container(task);
        self.apply(Event::Launched { container, pid });
    }

    pub fn ends(&mut self, task: &str, end: End) {
        let container = self.container(task);
        self.apply(Event::Ended { container, end });
    }

    pub fn exits(&mut self, task: &str, exit: Exit) {
        self.ends(task, End { exit: Some(exit), ..End::default() });
    }

    pub fn probed(&mut self, task: &str, round: u64, outcome: Result<(), &str>) {
        let container = self.container(task);
        let outcome = match outcome {
            Ok(()) => Checked::Healthy,
            Err(why) => Checked::Unhealthy(why.into()),
        };
        self.apply(Event::Probed { container, round, outcome });
    }

    pub fn not_probed(&mut self, task: &str, round: u64, why: &str) {
        let container = self.container(task);
        self.apply(Event::Probed { container, round, outcome: Checked::Unknown(why.into()) });
    }

    /// The sandbox of the task holds so many MiB.
    pub fn holds(&mut self, task: &str, mebibytes: u64) {
        let container = self.container(task);
        let held = Held { bytes: mebibytes << 20, ..Held::default() };
        self.apply(Event::SandboxMeasured { container, held });
    }

    /// The sandbox of the task holds so many empty files, on a disk with an inode for each 16 KiB.
    pub fn holds_files(&mut self, task: &str, inodes: u64) {
        let container = self.container(task);
        let held = Held { bytes: 0, inodes, bytes_per_inode: 16 << 10 };
        self.apply(Event::SandboxMeasured { container, held });
    }

    /// The sandbox of the task was measured as the core asked: it holds so many MiB.
    pub fn measured(&mut self, task: &str, outcome: Result<u64, &str>) {
        let container = self.container(task);
        let holding = |mebibytes: u64| Held { bytes: mebibytes << 20, ..Held::default() };
        let outcome = outcome.map(holding).map_err(str::to_owned);
        self.apply(Event::Measured { container, outcome });
    }

    pub fn kill(&mut self, task: &str, grace: Option<Duration>, reason: Option<Reason>) {
        let policy = grace.map(|grace| KillPolicy { grace: Some(grace) });
        self.hears(FromMaster::Kill { task: key(task), policy, reason });
    }

    /// The master gives the task another size.
    pub fn resize(&mut self, task: &str, size: &str) {
        let size = Box::new(Size::of(size.parse().expect("valid")));
        self.hears(FromMaster::Resize { task: key(task), size });
    }

    /// The limits of the task's container are set, or not.
    pub fn resized(&mut self, task: &str, outcome: Result<(), &str>) {
        let container = self.container(task);
        self.apply(Event::Resized { container, outcome: outcome.map_err(str::to_owned) });
    }

    /// The uuid of the update of this task that was sent last.
    pub fn in_flight(&self, task: &str) -> Option<[u8; 16]> {
        self.all.iter().chain(&self.out).rev().find_map(|effect| match effect {
            Effect::Send { message: FromAgent::Update(update), .. }
                if update.status.task_id == key(task).task =>
            {
                update.status.uuid
            }
            _ => None,
        })
    }

    pub fn acknowledge(&mut self, task: &str) {
        let uuid = self.in_flight(task).expect("an update is in flight");
        self.hears(FromMaster::Acknowledge { task: key(task), uuid });
    }

    /// Acknowledges until nothing is left to acknowledge.
    pub fn acknowledge_all(&mut self) {
        while self.agent.state().tasks.values().any(|task| !task.unacknowledged.is_empty()) {
            let tasks: Vec<String> =
                self.agent.state().tasks.keys().map(|key| key.task.to_string()).collect();
            for task in tasks {
                self.acknowledge(&task);
            }
        }
    }

    /// `kill -9` of the agent and a new start with what its records add up to, once the story of `between` passed.
    pub fn restarts(&mut self, between: Duration, boot: &str, found: Vec<Found>) {
        self.restarts_without(0, between, boot, found);
    }

    /// The same, and the log was cut before its last records: so many of them are lost.
    pub fn restarts_without(&mut self, lost: usize, between: Duration, boot: &str, found: Vec<Found>) {
        let records: Vec<&Record> = self
            .all
            .iter()
            .chain(&self.out)
            .filter_map(|effect| match effect {
                Effect::Checkpoint(record) => Some(record),
                _ => None,
            })
            .collect();
        let (kept, cut) = records.split_at(records.len() - lost);
        let mut state = State::default();
        kept.iter().for_each(|record| state.apply(record));
        let mut whole = state.clone();
        cut.iter().for_each(|record| whole.apply(record));
        assert_eq!(&whole, self.agent.state(), "the records add up to what the agent has in memory");
        self.skip();
        self.advance(between);
        // A monotonic clock of another process starts somewhere else.
        self.now.mono = Mono::from_nanos(5);
        self.agent = start(&self.config, state, boot, found, self.now, &mut self.out);
        self.cut |= lost > 0;
        self.keeps_its_promises();
    }

    pub fn found_running(&self, task: &str, pid: u32) -> Found {
        Found { container: self.container(task), condition: Condition::Running { pid } }
    }

    /// The effects since the last look are these.
    pub fn expect(&mut self, expect: Expect) {
        let lines: Vec<String> = self.out.iter().map(|effect| short(&effect.to_string())).collect();
        self.skip();
        expect.assert_eq(&lines.join("\n"));
    }

    /// Forgets the effects since the last look.
    pub fn skip(&mut self) {
        self.all.append(&mut self.out);
    }
}
