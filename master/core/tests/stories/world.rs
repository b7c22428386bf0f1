//! The one place that knows the API: a master with a registry beside it, and words to make events with.
//!
//! After every event the invariants are checked, the registry that got the changes is compared with the master's own
//! tables, and the event is applied once more to a twin: a master that was put together from the parts of the one from
//! before. It must give the same effects, and have the same parts then.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_master_core::effect::Effect;
use bourse_master_core::event::{
    Accept, Call, Command, Event, Launch, LinkId, Registration, RequestId, Resize, StatusUpdate, StreamId,
    Subscription, TaskInfo, TaskReport, TaskResized,
};
use bourse_master_core::registry::Snapshot;
use bourse_master_core::{Config, Master, View};
use bourse_types::{
    Address, AgentCapability, AgentId, AgentInfo, Attributes, Epoch, FrameworkId, FrameworkInfo, KillPolicy,
    Labels, MasterId, Mono, Now, OfferId, Principal, Resources, Role, Size, Source, TaskId, TaskState,
    TaskStatus, Wall,
};
use bytes::Bytes;
use expect_test::Expect;

use crate::text;

/// When every story starts.
pub const START_WALL: Wall = Wall(1_700_000_000_000);

/// What a story's agents have unless it says otherwise.
pub const MACHINE: &str = "cpus:4;mem:1024;ports:[31000-31009]";

pub struct World {
    pub master: Master,
    pub registry: Snapshot,
    config: Config,
    now: Now,
    incarnation: u64,
    next_link: u64,
    next_stream: u64,
    next_uuid: u8,
    pub last: Vec<Effect>,
}

impl World {
    pub fn new() -> World {
        World::with(Config::default())
    }

    pub fn with(config: Config) -> World {
        World::start(config, Snapshot::default())
    }

    /// A master that takes over a cluster which is remembered so.
    pub fn remembering(registry: Snapshot) -> World {
        World::start(Config::default(), registry)
    }

    fn start(config: Config, registry: Snapshot) -> World {
        let now = Now { mono: Mono(1_000_000_000), wall: START_WALL };
        let registry = Snapshot { epoch: Epoch(1), master: Some(master_id("m")), ..registry };
        let master = Master::new(config.clone(), Epoch(1), master_id("m"), 7, registry.clone(), now);
        World {
            master,
            registry,
            config,
            now,
            incarnation: 0,
            next_link: 1,
            next_stream: 1,
            next_uuid: 1,
            last: Vec::new(),
        }
    }

    pub fn now(&self) -> Now {
        self.now
    }

    pub fn view(&self) -> View {
        self.master.view(self.now)
    }

    /// The master stops and another takes over, with nothing but the registry. So much time passes in between.
    pub fn restart(&mut self, after: Duration) {
        self.now.wall = self.now.wall + after;
        // The monotonic clock of another process is another clock.
        self.now.mono = Mono(5_000_000_000);
        self.incarnation += 1;
        let (epoch, id) = (Epoch(self.incarnation + 1), master_id(&format!("m{}", self.incarnation)));
        let change = bourse_master_core::Change::EpochStarted { epoch, master: id.clone() };
        self.registry.apply(&change);
        self.master = Master::new(self.config.clone(), epoch, id, 7, self.registry.clone(), self.now);
        self.assert_sound("the restart");
    }

    /// Applies an event and answers its effects.
    pub fn apply(&mut self, event: Event) -> &[Effect] {
        let name = format!("{event:?}");
        let mut twin = self.put_together();
        let (mut effects, mut again) = (Vec::new(), Vec::new());
        self.master.apply(self.now, event.clone(), &mut effects);
        twin.apply(self.now, event, &mut again);
        assert_eq!(effects, again, "{name} had other effects the second time");
        let differ = self.master.parts().zip(twin.parts()).find(|(part, again)| part != again);
        assert_eq!(differ, None, "{name} made another master the second time");
        assert_eq!(self.master.parts().count(), twin.parts().count(), "after {name}");
        for effect in &effects {
            if let Effect::Persist(change) = effect {
                self.registry.apply(change);
            }
        }
        self.assert_sound(&name);
        self.last = effects;
        &self.last
    }

    /// The master once more, made of its parts.
    pub fn put_together(&self) -> Master {
        Master::restore(self.master.parts()).unwrap_or_else(|bad| panic!("{bad}"))
    }

    fn assert_sound(&self, after: &str) {
        assert_eq!(self.master.violations(), Vec::<String>::new(), "after {after}");
        assert_eq!(self.master.snapshot(), self.registry, "after {after}");
    }

    /// Time passes without anything happening but ticks when they are due. Answers all their effects.
    pub fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now.mono + time;
        let mut all = Vec::new();
        loop {
            let due = self.master.next_deadline().unwrap_or(Mono::MAX);
            let next = due.max(self.now.mono).min(end);
            self.now.wall = self.now.wall + next.since(self.now.mono);
            self.now.mono = next;
            if due > end {
                break;
            }
            all.extend(self.apply(Event::Tick).to_vec());
        }
        self.last = all.clone();
        all
    }

    /// Time passes while the master stands still: no tick comes, and nothing that was said is heard.
    pub fn stand_still(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.wall = self.now.wall + time;
    }

    /// As `pass`, while these agents send heartbeats.
    pub fn pass_hearing(&mut self, time: Duration, agents: &[&str]) -> Vec<Effect> {
        let mut all = Vec::new();
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(15));
            all.extend(self.pass(step));
            left -= step;
            all.extend(
                self.apply(Event::AgentsHeard { agents: agents.iter().map(|id| agent_id(id)).collect() })
                    .to_vec(),
            );
        }
        self.last = all.clone();
        all
    }

    /// Applies an event and compares its effects.
    pub fn check(&mut self, event: Event, expected: Expect) {
        self.apply(event);
        self.expect(expected);
    }

    /// Compares the effects of the last step.
    pub fn expect(&self, expected: Expect) {
        expected.assert_eq(&text::effects(&self.last));
    }

    /// The pause between two passes of the allocator is over. What that brings is added to the last effects.
    pub fn settle(&mut self) {
        let mut all = std::mem::take(&mut self.last);
        all.extend(self.pass(Duration::from_millis(50)));
        self.last = all;
    }

    /// Nothing happens for a second.
    pub fn nothing_more(&mut self) {
        self.pass(Duration::from_secs(1));
        assert_eq!(text::effects(&self.last), "");
    }

    // Agents.

    pub fn link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link - 1)
    }

    /// A new agent with this much; answers its id and link.
    pub fn agent(&mut self, total: &str) -> (AgentId, LinkId) {
        let link = self.link();
        let next = self
            .master
            .view(self.now)
            .agents()
            .filter(|it| it.id.as_str().starts_with(&format!("{}-", self.master.id())))
            .count();
        let expected = agent_id(&format!("{}-S{next}", self.master.id()));
        let info = agent_info(total, port_of(&expected));
        let registration = Registration {
            id: None,
            info,
            tasks: Vec::new(),
            frameworks: Vec::new(),
            epoch: Epoch(1),
            capabilities: AgentCapability::all(),
            principal: None,
        };
        self.apply(Event::AgentRegisters { link, registration: Box::new(registration) });
        let id = self.last.iter().find_map(|effect| match effect {
            Effect::ToAgent { agent, .. } => Some(agent.clone()),
            _ => None,
        });
        (id.expect("an agent is told its id"), link)
    }

    // Frameworks.

    pub fn stream(&mut self) -> StreamId {
        self.next_stream += 1;
        StreamId(self.next_stream - 1)
    }

    /// A new partition-aware, checkpointing framework in these roles, with a failover timeout of a minute.
    pub fn framework(&mut self, roles: &[&str]) -> Sub {
        self.subscribe(framework_info(roles))
    }

    pub fn subscribe(&mut self, info: FrameworkInfo) -> Sub {
        let stream = self.stream();
        self.apply(subscribes(stream, info));
        let id = self.last.iter().find_map(|effect| match effect {
            Effect::ToScheduler { framework, stream: of, .. } if *of == stream => Some(framework.clone()),
            _ => None,
        });
        let sub = Sub { id: id.expect("a framework is told its id"), stream };
        self.settle();
        sub
    }

    /// The only outstanding offer of the framework.
    pub fn offer_of(&self, framework: &Sub) -> OfferId {
        let offers = self.offers_of(framework);
        assert_eq!(offers.len(), 1, "{} holds {offers:?}", framework.id);
        offers[0].clone()
    }

    pub fn offers_of(&self, framework: &Sub) -> Vec<OfferId> {
        self.view().framework(&framework.id).map(|it| it.offers.iter().cloned().collect()).unwrap_or_default()
    }

    /// Launches a task of this size on the framework's only offer.
    pub fn launch(&mut self, framework: &Sub, task: &str, resources: &str) {
        let offer = self.offer_of(framework);
        let agent = self.view().offer(&offer).expect("outstanding").agent.clone();
        self.apply(framework.accept(&[&offer], vec![task_info(task, &agent, resources)]));
    }

    /// An agent, a framework, and a task that runs with 1 cpu and 64 MiB; its first update is acknowledged.
    pub fn running(&mut self) -> (AgentId, LinkId, Sub) {
        let (agent, link) = self.agent(MACHINE);
        let framework = self.framework(&["*"]);
        self.launch(&framework, "t1", "cpus:1;mem:64");
        self.report(&agent, link, &framework, "t1", TaskState::Running);
        (agent, link, framework)
    }

    /// The agent reports a state and the framework acknowledges it.
    pub fn report(&mut self, agent: &AgentId, link: LinkId, framework: &Sub, task: &str, state: TaskState) {
        let uuid = self.uuid();
        self.apply(update(agent, link, &framework.id, task, state, uuid));
        self.apply(framework.acknowledge(agent, task, uuid));
    }

    pub fn uuid(&mut self) -> u8 {
        self.next_uuid += 1;
        self.next_uuid - 1
    }

    pub fn state_of(&self, framework: &Sub, task: &str) -> Option<TaskState> {
        self.view().task(&framework.id, &task_id(task)).map(|task| task.state)
    }
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct Sub {
    pub id: FrameworkId,
    pub stream: StreamId,
}

impl Sub {
    pub fn call(&self, call: Call) -> Event {
        Event::Call { framework: self.id.clone(), stream: self.stream, call }
    }

    pub fn closes(&self) -> Event {
        Event::StreamClosed { framework: self.id.clone(), stream: self.stream }
    }

    /// Accepts with the default filter of 5 s.
    pub fn accept(&self, offers: &[&OfferId], tasks: Vec<TaskInfo>) -> Event {
        let launches = tasks.into_iter().map(|task| Launch::Task(Box::new(task))).collect();
        let offers = offers.iter().map(|offer| (*offer).clone()).collect();
        self.call(Call::Accept(Accept {
            offers,
            launches,
            resizes: Vec::new(),
            refuse: Duration::from_secs(5),
        }))
    }

    /// Resizes tasks with what is offered.
    pub fn resize(&self, offers: &[&OfferId], tasks: &[(&str, &str)]) -> Event {
        let resize = |(task, wanted): &(&str, &str)| Resize {
            task: task_id(task),
            wanted: Ok(Size::of(resources(wanted))),
        };
        self.call(Call::Accept(Accept {
            offers: offers.iter().map(|offer| (*offer).clone()).collect(),
            launches: Vec::new(),
            resizes: tasks.iter().map(resize).collect(),
            refuse: Duration::from_secs(5),
        }))
    }

    pub fn decline(&self, offers: &[&OfferId], refuse: Duration) -> Event {
        self.call(Call::Decline { offers: offers.iter().map(|offer| (*offer).clone()).collect(), refuse })
    }

    pub fn acknowledge(&self, agent: &AgentId, task: &str, uuid: u8) -> Event {
        self.call(Call::Acknowledge { agent: agent.clone(), task: task_id(task), uuid: [uuid; 16] })
    }

    pub fn kill(&self, task: &str, agent: Option<&str>, grace: Option<Duration>) -> Event {
        let policy = grace.map(|grace| KillPolicy { grace: Some(grace) });
        self.call(Call::Kill { task: task_id(task), agent: agent.map(agent_id), policy })
    }

    pub fn reconcile(&self, tasks: &[(&str, Option<&str>)]) -> Event {
        let tasks = tasks.iter().map(|(task, agent)| (task_id(task), agent.map(agent_id))).collect();
        self.call(Call::Reconcile { tasks })
    }

    pub fn revive(&self, roles: &[&str]) -> Event {
        self.call(Call::Revive { roles: roles.iter().map(|name| role(name)).collect() })
    }

    pub fn suppress(&self, roles: &[&str]) -> Event {
        self.call(Call::Suppress { roles: roles.iter().map(|name| role(name)).collect() })
    }

    /// Subscribes again by another stream.
    pub fn again(&self, stream: StreamId, info: FrameworkInfo) -> Event {
        subscribes(stream, FrameworkInfo { id: Some(self.id.clone()), ..info })
    }
}

pub fn master_id(id: &str) -> MasterId {
    MasterId::new(id).expect("a literal of the story")
}

pub fn agent_id(id: &str) -> AgentId {
    AgentId::new(id).expect("a literal of the story")
}

pub fn framework_id(id: &str) -> FrameworkId {
    FrameworkId::new(id).expect("a literal of the story")
}

pub fn offer_id(id: &str) -> OfferId {
    OfferId::new(id).expect("a literal of the story")
}

pub fn task_id(id: &str) -> TaskId {
    TaskId::new(id).expect("a literal of the story")
}

pub fn principal(name: &str) -> Principal {
    Principal::new(name).expect("a literal of the story")
}

pub fn role(name: &str) -> Role {
    Role::new(name).expect("a literal of the story")
}

pub fn resources(text: &str) -> Resources {
    text.parse().expect("a literal of the story")
}

pub fn agent_info(total: &str, port: u16) -> AgentInfo {
    AgentInfo {
        hostname: format!("host{port}"),
        address: Address { host: "127.0.0.1".to_owned(), port },
        attributes: Attributes::new(),
        total: resources(total),
        version: "0.1.0".to_owned(),
    }
}

/// An agent registers by this link, with no task.
pub fn registers(link: LinkId, id: Option<&AgentId>, total: &str) -> Event {
    registers_with(link, id, total, Vec::new(), Vec::new())
}

/// Every agent of a story has a port of its own, and keeps it: `m1-S2` has 7102.
fn port_of(id: &AgentId) -> u16 {
    let (master, number) = id.as_str().split_once("-S").unwrap_or(("m", "99"));
    let incarnation: u16 = master[1..].parse().unwrap_or(0);
    7000 + 100 * incarnation + number.parse::<u16>().unwrap_or(99)
}

pub fn registers_with(
    link: LinkId,
    id: Option<&AgentId>,
    total: &str,
    tasks: Vec<TaskReport>,
    frameworks: Vec<FrameworkInfo>,
) -> Event {
    let info = agent_info(total, id.map_or(6000, port_of));
    let capabilities = AgentCapability::all();
    let (id, epoch) = (id.cloned(), Epoch(1));
    let registration = Registration { id, info, tasks, frameworks, epoch, capabilities, principal: None };
    Event::AgentRegisters { link, registration: Box::new(registration) }
}

/// The same, but for what is changed of it.
pub fn but(event: Event, change: impl FnOnce(&mut Registration)) -> Event {
    let Event::AgentRegisters { link, mut registration } = event else {
        panic!("{event:?} registers nobody")
    };
    change(&mut registration);
    Event::AgentRegisters { link, registration }
}

/// The same with a token of this principal.
pub fn by(name: &str, event: Event) -> Event {
    but(event, |registration| registration.principal = Some(principal(name)))
}

/// The same by an agent of a release that can do just this.
pub fn able(event: Event, capabilities: &[AgentCapability]) -> Event {
    but(event, |registration| registration.capabilities = capabilities.iter().copied().collect())
}

pub fn framework_info(roles: &[&str]) -> FrameworkInfo {
    let mut info = FrameworkInfo::new("web");
    info.roles = roles.iter().map(|name| role(name)).collect();
    info.failover_timeout = Duration::from_secs(60);
    info.checkpoint = true;
    info.capabilities.partition_aware = true;
    info.capabilities.task_killing = true;
    info.capabilities.multi_role = true;
    info
}

pub fn subscribes(stream: StreamId, info: FrameworkInfo) -> Event {
    let subscription = Subscription { info, suppressed: Vec::new(), principal: None };
    Event::Subscribes { stream, subscription: Box::new(subscription) }
}

pub fn task_info(id: &str, agent: &AgentId, wanted: &str) -> TaskInfo {
    TaskInfo {
        id: task_id(id),
        name: id.to_owned(),
        agent: agent.clone(),
        resources: resources(wanted),
        limits: BTreeMap::new(),
        kill_policy: KillPolicy::default(),
        labels: Labels::new(),
        needs: Default::default(),
        command: "sleep 60".to_owned(),
        message: Bytes::from_static(b"the framework's own bytes"),
    }
}

pub fn status(task: &str, agent: &AgentId, state: TaskState, uuid: u8) -> TaskStatus {
    TaskStatus {
        agent_id: Some(agent.clone()),
        uuid: Some([uuid; 16]),
        ..TaskStatus::new(task_id(task), state, Source::Executor, START_WALL)
    }
}

pub fn update(
    agent: &AgentId,
    link: LinkId,
    framework: &FrameworkId,
    task: &str,
    state: TaskState,
    uuid: u8,
) -> Event {
    update_late(agent, link, framework, task, state, uuid, state)
}

/// An older state that was not acknowledged yet, while the task is in a newer one.
pub fn update_late(
    agent: &AgentId,
    link: LinkId,
    framework: &FrameworkId,
    task: &str,
    state: TaskState,
    uuid: u8,
    latest: TaskState,
) -> Event {
    let update = StatusUpdate {
        framework: framework.clone(),
        status: status(task, agent, state, uuid),
        latest: status(task, agent, latest, uuid.wrapping_add(u8::from(latest != state))),
    };
    Event::StatusUpdate { agent: agent.clone(), link, update: Box::new(update) }
}

pub fn report(
    framework: &FrameworkId,
    task: &str,
    agent: &AgentId,
    wanted: &str,
    state: TaskState,
) -> TaskReport {
    TaskReport {
        framework: framework.clone(),
        task: task_info(task, agent, wanted),
        role: Role::any(),
        latest: status(task, agent, state, 200),
        resized: false,
        resizing: None,
    }
}

/// The agent was to give the task one size, and this is what the task has.
pub fn task_resized(
    agent: &AgentId,
    link: LinkId,
    framework: &Sub,
    task: &str,
    wanted: &str,
    has: &str,
) -> Event {
    let resized = TaskResized {
        framework: framework.id.clone(),
        task: task_id(task),
        wanted: Size::of(resources(wanted)),
        size: Size::of(resources(has)),
    };
    Event::TaskResized { agent: agent.clone(), link, resized: Box::new(resized) }
}

pub fn operate(command: Command) -> Event {
    Event::Operate { request: RequestId(1), principal: None, command }
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
