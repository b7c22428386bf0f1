//! The helper that knows the API, so that stories need not.

use std::time::Duration;

use bourse_sdk_core::{
    Attempt, Call, Calls, Config, Event, FromMaster, Input, OfferMade, Output, Scheduler, Session, Task,
};
use bourse_types::{
    AgentId, Attributes, FrameworkId, Milli, Mono, Now, OfferId, Reason, Role, Source, TaskId, TaskState,
    TaskStatus, Wall,
};
use expect_test::Expect;

type React = Box<dyn FnMut(Event<&'static str>, &mut Calls)>;

/// A scheduler that writes down what it is told and reacts as the story wants.
pub struct Author {
    told: Vec<String>,
    react: React,
    pub deadline: Option<Mono>,
}

impl Scheduler for Author {
    type Message = &'static str;

    fn on(&mut self, _now: Now, event: Event<&'static str>, calls: &mut Calls) {
        self.told.push(match &event {
            Event::Subscribed { framework, again } => format!("Subscribed {framework} again={again}"),
            Event::Update(status) => {
                let message = status.message.as_deref().map(|m| format!(" ({m})")).unwrap_or_default();
                format!("Update {} {}{message}", status.task_id, status.state)
            }
            Event::ResizeFailed { task, wanted, has, reason, why } => {
                let has = has.as_ref().map(|has| format!(", it has {has}")).unwrap_or_default();
                let reason = reason.map(|reason| format!(" {reason}")).unwrap_or_default();
                format!("ResizeFailed {task} to {wanted}{has}{reason} ({why})")
            }
            other => format!("{other:?}"),
        });
        if matches!(event, Event::Deadline) {
            self.deadline = None;
        }
        (self.react)(event, calls);
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.deadline
    }
}

/// One session, its time, and what came of everything so far.
pub struct World {
    pub session: Session<Author>,
    pub now: Now,
    attempt: Attempt,
    text: String,
}

impl World {
    /// A framework of the name `hello` whose scheduler reacts like this.
    pub fn new(react: impl FnMut(Event<&'static str>, &mut Calls) + 'static) -> World {
        World::with(Config::new("hello", 7), react)
    }

    pub fn with(config: Config, react: impl FnMut(Event<&'static str>, &mut Calls) + 'static) -> World {
        let author = Author { told: Vec::new(), react: Box::new(react), deadline: None };
        let now = Now { mono: Mono::ZERO, wall: Wall(1_000_000) };
        World { session: Session::new(config, author), now, attempt: Attempt(0), text: String::new() }
    }

    /// Subscribed and reconciled; the text of that is not kept.
    pub fn subscribed(react: impl FnMut(Event<&'static str>, &mut Calls) + 'static) -> World {
        let mut world = World::new(react);
        world.input(Input::Start);
        world.hear(subscribed());
        world.forget();
        world
    }

    pub fn input(&mut self, input: Input<&'static str>) {
        let mut out = Vec::new();
        self.session.apply(self.now, input, &mut out);
        assert_eq!(self.session.violations(), Vec::<String>::new());
        // First what the author heard, marked by ">", then what came of it.
        for line in std::mem::take(&mut self.author().told) {
            self.text.push_str(&format!("> {line}\n"));
        }
        for output in out {
            if let Output::Subscribe { attempt, .. } = output {
                self.attempt = attempt;
            }
            self.text.push_str(&format!("{output}\n"));
        }
    }

    /// Drops the text so far.
    pub fn forget(&mut self) {
        self.text.clear();
    }

    /// A line of the story itself.
    pub fn say(&mut self, line: &str) {
        self.text.push_str(&format!("-- {line}\n"));
    }

    pub fn hear(&mut self, message: FromMaster) {
        self.input(Input::Heard(self.attempt, message));
    }

    pub fn closed(&mut self, why: &str) {
        self.input(Input::Closed { attempt: self.attempt, why: why.into() });
    }

    pub fn refused(&mut self, call: Call, why: &str) {
        self.input(Input::Refused { attempt: self.attempt, call: Box::new(call), why: why.into() });
    }

    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Lets time pass, ticking at every deadline on the way as the driver does.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(due) = self.session.next_deadline().filter(|due| *due <= end) {
            self.to(due.max(self.now.mono));
            self.input(Input::Tick);
        }
        self.to(end);
    }

    fn to(&mut self, mono: Mono) {
        self.now.wall = self.now.wall + mono.since(self.now.mono);
        self.now.mono = mono;
    }

    pub fn author(&mut self) -> &mut Author {
        self.session.scheduler_mut()
    }

    /// Compares all that came since the last check.
    pub fn check(&mut self, expected: Expect) {
        expected.assert_eq(&std::mem::take(&mut self.text));
    }
}

/// An author who does nothing.
pub fn idle(_: Event<&'static str>, _: &mut Calls) {}

/// An author who launches one task of half a cpu on every offer, as `t1`, `t2` and so on.
pub fn one_each() -> impl FnMut(Event<&'static str>, &mut Calls) {
    let mut n = 0;
    move |event, calls| {
        if let Event::Offer(mut offer) = event {
            n += 1;
            offer.launch(task(&format!("t{n}"))).expect("the stories' offers have room");
            calls.accept(offer);
        }
    }
}

pub fn task(id: &str) -> Task {
    Task::new(TaskId::new(id).expect("valid")).command("true").cpus(Milli::new(500)).mem_mib(32)
}

pub fn subscribed() -> FromMaster {
    FromMaster::Subscribed {
        framework: FrameworkId::new("f-1").expect("valid"),
        heartbeat: Some(Duration::from_secs(15)),
    }
}

pub fn offer(id: &str) -> FromMaster {
    offer_of(id, "a1")
}

pub fn offer_of(id: &str, agent: &str) -> FromMaster {
    FromMaster::Offers(vec![OfferMade {
        id: OfferId::new(id).expect("valid"),
        agent: AgentId::new(agent).expect("valid"),
        hostname: format!("{agent}.example"),
        address: None,
        attributes: Attributes::default(),
        role: Role::any(),
        resources: "cpus:1; mem:128; ports:[31000-31009]".parse().expect("valid"),
        unavailable_from: None,
    }])
}

/// An update by the agent, whose uuid is all of one byte.
pub fn update(task: &str, state: TaskState, uuid: u8) -> FromMaster {
    let mut status = status(task, state);
    status.uuid = Some([uuid; 16]);
    FromMaster::Update(Box::new(status))
}

/// The master's answer to a reconciliation.
pub fn reconciled(task: &str, state: TaskState) -> FromMaster {
    let mut status = status(task, state);
    (status.source, status.reason) = (Source::Master, Some(Reason::Reconciliation));
    FromMaster::Update(Box::new(status))
}

fn status(task: &str, state: TaskState) -> TaskStatus {
    let id = TaskId::new(task).expect("valid");
    let mut status = TaskStatus::new(id, state, Source::Agent, Wall(0));
    status.agent_id = Some(AgentId::new("a1").expect("valid"));
    status
}
