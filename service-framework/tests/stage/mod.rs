//! The stage of the stories: the session with the scheduler in it, a disk that is a map, and a master in a few lines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bourse_sdk_core::session::DECLINE_FOR;
use bourse_sdk_core::{Attempt, Call, Config, FromMaster, Input, OfferMade, Output, Session, Write};
use bourse_service_framework::scheduler::{Answer, Ask, Request, ServiceScheduler};
use bourse_service_framework::wanted::Refusal;
use bourse_types::{
    AgentId, Attributes, Exit, FrameworkId, Mono, Now, OfferId, Reason, Role, Source, TaskId, TaskSpec,
    TaskState, TaskStatus, Wall,
};

type Answers = Arc<Mutex<VecDeque<Result<Answer, Refusal>>>>;

/// A life of the framework, and what outlives it.
pub struct Stage {
    session: Session<ServiceScheduler>,
    now: Now,
    attempt: Attempt,
    disk: BTreeMap<String, Vec<u8>>,
    framework: Option<FrameworkId>,
    lines: Vec<String>,
    /// Calls that no master has dealt with yet.
    calls: VecDeque<Call>,
    launched: Vec<TaskSpec>,
    answers: Answers,
    /// This many outputs are carried out before the process is gone.
    left: usize,
    offers: u64,
}

pub fn deploy(text: &str) -> Request {
    Request::Deploy { text: text.to_owned(), file: "web.toml".to_owned() }
}

fn id<T>(made: Result<T, bourse_types::BadId>) -> T {
    made.expect("a right id")
}

fn life(disk: &BTreeMap<String, Vec<u8>>, framework: Option<FrameworkId>) -> Session<ServiceScheduler> {
    let values = disk.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
    let scheduler = ServiceScheduler::new(vec![Role::any()], values).expect("what was written can be read");
    let mut config = Config::new("services", 7);
    config.info.id = framework;
    config.tasks = scheduler.tasks();
    config.begin_anew = true;
    Session::new(config, scheduler)
}

impl Stage {
    pub fn new() -> Stage {
        let disk = BTreeMap::new();
        let mut stage = Stage {
            session: life(&disk, None),
            now: Now { mono: Mono::ZERO, wall: Wall(1_700_000_000_000) },
            attempt: Attempt(0),
            disk,
            framework: None,
            lines: Vec::new(),
            calls: VecDeque::new(),
            launched: Vec::new(),
            answers: Answers::default(),
            left: usize::MAX,
            offers: 0,
        };
        stage.apply(Input::Start);
        stage
    }

    /// The process is gone at once; the next one starts from the disk.
    pub fn crash(&mut self) {
        self.session = life(&self.disk, self.framework.clone());
        // Another process, another clock.
        self.now.mono = Mono::ZERO;
        self.lines.clear();
        self.calls.clear();
        self.left = usize::MAX;
        self.apply(Input::Start);
    }

    /// The process is gone after this many more outputs; what it is told then, nobody hears.
    pub fn crash_after(&mut self, outputs: usize) {
        self.left = outputs;
    }

    pub fn subscribe(&mut self) {
        let framework =
            self.framework.clone().unwrap_or_else(|| id(FrameworkId::new(format!("f{}", self.attempt.0))));
        self.hear(FromMaster::Subscribed { framework, heartbeat: Some(Duration::from_secs(3_600)) });
    }

    /// The master answers the subscription as one of a framework that it has torn down.
    pub fn was_torn_down(&mut self) {
        self.framework = None;
        self.hear(FromMaster::Error("Framework has been removed; subscribe without an id".into()));
    }

    pub fn offer(&mut self, agent: &str, resources: &str) {
        self.offers += 1;
        self.hear(FromMaster::Offers(vec![OfferMade {
            id: id(OfferId::new(format!("o{}", self.offers))),
            agent: id(AgentId::new(agent)),
            hostname: format!("host-{agent}"),
            address: None,
            attributes: Attributes::default(),
            role: Role::any(),
            resources: resources.parse().expect("resources"),
            unavailable_from: None,
        }]));
    }

    pub fn ask(&mut self, request: Request) {
        let answers = self.answers.clone();
        let reply = Box::new(move |answer| answers.lock().expect("not poisoned").push_back(answer));
        self.apply(Input::Message(Ask { request, reply }));
    }

    pub fn answer(&mut self) -> Option<Result<Answer, Refusal>> {
        self.answers.lock().expect("not poisoned").pop_front()
    }

    /// How many good answers there were.
    pub fn answers(&mut self) -> usize {
        std::iter::from_fn(|| self.answer()).filter(Result::is_ok).count()
    }

    /// What the list shows, in a few words a line.
    pub fn list(&mut self) -> String {
        while self.answer().is_some() {}
        self.ask(Request::List { name: None });
        self.pass(30);
        let Some(Ok(Answer::Listed(services, _))) = self.answer() else { panic!("no list") };
        let mut lines = Vec::new();
        for service in services {
            let story = &service.story;
            lines.push(format!(
                "{} {}/{} {} v{} restarts {}: {}",
                service.name,
                story.healthy,
                service.wanted,
                story.state,
                service.version,
                service.restarts,
                story.reason
            ));
            for instance in service.instances {
                let task = instance
                    .task
                    .map(|task| format!("{} on {}", task.task_id, task.hostname))
                    .unwrap_or_default();
                lines.push(format!("  {} {} {}: {}", instance.name, instance.state, task, instance.reason));
                for attempt in instance.attempts {
                    lines.push(format!("    {} {}: {}", attempt.task, attempt.state, attempt.message));
                }
            }
        }
        lines.join("\n")
    }

    pub fn keys(&self) -> Vec<&str> {
        self.disk.keys().map(String::as_str).collect()
    }

    pub fn launched(&mut self) -> Vec<TaskSpec> {
        std::mem::take(&mut self.launched)
    }

    /// What was put out since the last time, a line each.
    pub fn told(&mut self) -> String {
        std::mem::take(&mut self.lines).join("\n")
    }

    /// Lets time pass, deadline by deadline.
    pub fn pass(&mut self, milliseconds: u64) {
        let end = self.now.mono + Duration::from_millis(milliseconds);
        while let Some(due) = self.session.next_deadline().filter(|due| *due <= end) {
            self.move_to(due.max(self.now.mono + Duration::from_millis(1)).min(end));
            self.apply(Input::Tick);
            if self.now.mono == end {
                break;
            }
        }
        self.move_to(end);
    }

    /// Lets time pass with a master that does its work every 50 ms.
    pub fn run(&mut self, master: &mut Master, milliseconds: u64) {
        for _ in 0..milliseconds / 50 {
            self.pass(50);
            master.work(self);
        }
    }

    /// A task ends by itself.
    pub fn end(&mut self, master: &mut Master, task: &str, state: TaskState, exit: Option<Exit>) {
        if let Some(agent) = master.tasks.remove(&id(TaskId::new(task))) {
            let mut status = self.status(task, state);
            status.exit = exit;
            status.agent_id = Some(agent);
            status.uuid = Some([7; 16]);
            self.hear(FromMaster::Update(Box::new(status)));
        }
    }

    fn status(&self, task: &str, state: TaskState) -> TaskStatus {
        TaskStatus::new(id(TaskId::new(task)), state, Source::Agent, self.now.wall)
    }

    fn move_to(&mut self, mono: Mono) {
        self.now.wall = self.now.wall + mono.since(self.now.mono);
        self.now.mono = mono;
    }

    fn hear(&mut self, message: FromMaster) {
        self.apply(Input::Heard(self.attempt, message));
    }

    fn apply(&mut self, input: Input<Ask>) {
        if self.left == 0 {
            return;
        }
        let mut outputs = Vec::new();
        self.session.apply(self.now, input, &mut outputs);
        for output in outputs {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Subscribe { attempt, .. } => {
                self.attempt = attempt;
                self.lines.push("subscribe".into());
            }
            Output::Persist(framework) => {
                self.lines.push(format!("persist {framework}"));
                self.framework = Some(framework);
            }
            Output::Write(Write::Save { key, value }) => {
                self.lines.push(format!("write {key}"));
                self.disk.insert(key, value.to_vec());
            }
            Output::Write(Write::Forget { key }) => {
                self.lines.push(format!("forget {key}"));
                self.disk.remove(&key);
            }
            Output::Call(call) => {
                self.lines.push(format!("call {}", words(&call)));
                if let Call::Accept { tasks, .. } = &call {
                    self.launched.extend(tasks.iter().cloned());
                }
                self.calls.push_back(call);
            }
            Output::Unsubscribe(_) => self.lines.push("unsubscribe".into()),
            Output::Note(_) => {}
            Output::End(end) => self.lines.push(format!("end {end:?}")),
        }
    }
}

fn words(call: &Call) -> String {
    let list = |roles: &[Role]| roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ");
    match call {
        Call::Accept { offers, tasks, .. } => {
            let offers = offers.iter().map(OfferId::as_str).collect::<Vec<_>>().join(", ");
            let tasks = tasks
                .iter()
                .map(|task| format!("{} on {}", task.id, task.agent))
                .collect::<Vec<_>>()
                .join(", ");
            format!("ACCEPT {offers}: {tasks}")
        }
        Call::Decline { offers, refuse } => {
            let offers = offers.iter().map(OfferId::as_str).collect::<Vec<_>>().join(", ");
            let usual = if *refuse == DECLINE_FOR { String::new() } else { format!(" for {refuse:?}") };
            format!("DECLINE {offers}{usual}")
        }
        Call::Revive { roles } => format!("REVIVE {}", list(roles)),
        Call::Suppress { roles } => format!("SUPPRESS {}", list(roles)),
        Call::Kill { task, .. } => format!("KILL {task}"),
        Call::Acknowledge { task, .. } => format!("ACKNOWLEDGE {task}"),
        Call::Reconcile { tasks } if tasks.is_empty() => "RECONCILE".to_owned(),
        Call::Reconcile { tasks } => {
            let tasks = tasks.iter().map(|(task, _)| task.as_str()).collect::<Vec<_>>().join(", ");
            format!("RECONCILE {tasks}")
        }
        Call::Teardown => "TEARDOWN".to_owned(),
    }
}

/// A master with two roomy agents, whose tasks run at once and end when they are told to.
#[derive(Default)]
pub struct Master {
    tasks: BTreeMap<TaskId, AgentId>,
    wants_offers: bool,
    most: usize,
    /// Tasks that are launched fail at once.
    failing: bool,
    /// Rounds of work so far.
    round: u64,
    /// Calls that take their time, and the round they are dealt with, in that order.
    slow: VecDeque<(u64, Call)>,
}

/// A master that was asked for the state of tasks answers after this many rounds: offers are there long before.
const RECONCILE_ROUNDS: u64 = 40;
/// A task that is told to end takes this many rounds.
const KILL_ROUNDS: u64 = 5;

impl Master {
    pub fn new() -> Master {
        Master { wants_offers: true, ..Master::default() }
    }

    /// The tasks that run, in order.
    pub fn running(&self) -> Vec<String> {
        self.tasks.keys().map(|task| task.as_str().to_owned()).collect()
    }

    /// The most tasks that ever ran in one slot at a time.
    pub fn most_in_one_slot(&self) -> usize {
        self.most
    }

    /// A task ends and nobody is told.
    pub fn lose(&mut self, task: &str) {
        self.tasks.remove(&id(TaskId::new(task)));
    }

    /// Whatever is launched from now on fails at once.
    pub fn fail_new_tasks(&mut self) {
        self.failing = true;
    }

    /// Its framework is torn down.
    pub fn tear_down(&mut self) {
        self.tasks.clear();
        self.wants_offers = true;
    }

    /// A task runs that nobody launched.
    pub fn adopt(&mut self, task: &str, agent: &str) {
        self.tasks.insert(id(TaskId::new(task)), id(AgentId::new(agent)));
    }

    fn work(&mut self, stage: &mut Stage) {
        self.round += 1;
        while let Some(call) = stage.calls.pop_front() {
            match call {
                Call::Reconcile { .. } => self.put_off(call, RECONCILE_ROUNDS),
                Call::Kill { .. } => self.put_off(call, KILL_ROUNDS),
                call => self.deal_with(call, stage),
            }
        }
        while self.slow.front().is_some_and(|(round, _)| *round <= self.round) {
            let Some((_, call)) = self.slow.pop_front() else { break };
            self.deal_with(call, stage);
        }
        if self.wants_offers {
            for agent in ["a1", "a2"] {
                stage.offer(agent, "cpus:8; mem:8192; ports:[31000-31099]");
            }
            self.wants_offers = false;
        }
    }

    fn put_off(&mut self, call: Call, rounds: u64) {
        let due = self.round + rounds;
        let at = self.slow.partition_point(|(round, _)| *round <= due);
        self.slow.insert(at, (due, call));
    }

    fn deal_with(&mut self, call: Call, stage: &mut Stage) {
        match call {
            Call::Accept { tasks, .. } => {
                for task in tasks {
                    if self.failing {
                        let status = stage.status(task.id.as_str(), TaskState::Failed);
                        stage.hear(FromMaster::Update(Box::new(status)));
                        continue;
                    }
                    self.tasks.insert(task.id.clone(), task.agent);
                    self.count();
                    let mut status = stage.status(task.id.as_str(), TaskState::Running);
                    status.healthy = task.health.is_some().then_some(true);
                    stage.hear(FromMaster::Update(Box::new(status)));
                }
            }
            Call::Kill { task, .. } => {
                let state =
                    if self.tasks.remove(&task).is_some() { TaskState::Killed } else { TaskState::Gone };
                let status = stage.status(task.as_str(), state);
                stage.hear(FromMaster::Update(Box::new(status)));
            }
            Call::Revive { .. } => self.wants_offers = true,
            Call::Suppress { .. } => self.wants_offers = false,
            Call::Reconcile { tasks } => {
                let asked: Vec<TaskId> = match tasks.is_empty() {
                    true => self.tasks.keys().cloned().collect(),
                    false => tasks.into_iter().map(|(task, _)| task).collect(),
                };
                for task in asked {
                    let runs = self.tasks.contains_key(&task);
                    let mut status =
                        stage.status(task.as_str(), if runs { TaskState::Running } else { TaskState::Gone });
                    status.reason = Some(Reason::Reconciliation);
                    status.healthy = runs.then_some(true);
                    stage.hear(FromMaster::Update(Box::new(status)));
                }
            }
            Call::Decline { .. } | Call::Acknowledge { .. } | Call::Teardown => {}
        }
    }

    fn count(&mut self) {
        let mut slots: BTreeMap<&str, usize> = BTreeMap::new();
        for task in self.tasks.keys() {
            let slot = task.as_str().rsplit_once('.').map_or(task.as_str(), |(slot, _)| slot);
            *slots.entry(slot).or_default() += 1;
        }
        self.most = self.most.max(slots.values().copied().max().unwrap_or(0));
    }
}
