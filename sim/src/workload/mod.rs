//! Who uses the cluster: authors' code on the SDK, and one client that keeps no rules.

mod batch;
mod greedy;
mod hoarder;
mod looper;
mod pause;
mod picky;
mod roster;
mod service;
pub mod services;
pub mod vandal;

use std::collections::BTreeMap;
use std::fmt;

use bourse_sdk_core::{Calls, Event, Scheduler};
use bourse_types::{AgentId, FrameworkInfo, Mono, Now, TaskId, TaskState, TaskStatus};
use bytes::Bytes;

use crate::coverage;
use crate::machine::Program;
use crate::random::Random;
use crate::text;

use batch::Batch;
use greedy::Greedy;
use hoarder::Hoarder;
use looper::Looper;
use pause::Pause;
use picky::Picky;
use roster::Roster;
use service::Service;
use services::Services;

/// What an author wants; the same in each life of the process.
#[derive(Clone, Debug)]
pub enum Craft {
    /// Each of these jobs done once.
    Batch(Vec<Job>),
    /// The same, by code that dies of its events now and then.
    Crasher(Vec<Job>),
    /// How many instances run for ever, on machines that it likes.
    Service(usize),
    /// What people ask of the service framework.
    Services,
    /// Offers; now and then it uses one.
    Hoarder,
    /// Few machines, and nothing of the others.
    Picky,
    /// A task that is broken.
    Looper,
    /// Every offer whole, for small tasks.
    Greedy,
    /// Every offer, for ever: finds out what nobody else holds.
    Taker,
}

/// Something to be done once.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name, the same in each attempt.
    pub name: String,
    /// In thousandths.
    pub cpus: u64,
    /// In MiB.
    pub mem: u64,
    /// How many.
    pub ports: u64,
    /// What its first attempt does.
    pub first: Program,
    /// What every further one does.
    pub again: Program,
}

/// What an author's other code, or somebody who uses it, says to its scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poke {
    /// How many instances are wanted from now on.
    Scale(usize),
    /// One of the instances shall have more, or less.
    Resize,
    /// This service file shall be so.
    Deploy(String),
    /// How many instances of this service are wanted from now on.
    ScaleService {
        /// Which service.
        name: &'static str,
        /// How many.
        count: u32,
    },
    /// This service is not wanted any more.
    Remove(&'static str),
    /// No offer is kept any more. Who keeps them starves others for as long as an offer may go unanswered, again and
    /// again, and so nothing could be said about act two.
    LetGo,
}

/// An author's code.
#[derive(Debug)]
pub enum Author {
    /// See [`Batch`].
    Batch(Batch),
    /// See [`Service`].
    Service(Service),
    /// See [`Services`].
    Services(Box<Services>),
    /// See [`Hoarder`].
    Hoarder(Hoarder),
    /// See [`Picky`].
    Picky(Picky),
    /// See [`Looper`].
    Looper(Looper),
    /// See [`Greedy`].
    Greedy(Greedy),
}

impl Author {
    /// A new life, with what the driver has kept of the earlier ones.
    pub fn start(
        craft: &Craft,
        info: &FrameworkInfo,
        memory: &BTreeMap<String, Bytes>,
        random: Random,
    ) -> Author {
        match craft {
            Craft::Batch(jobs) | Craft::Crasher(jobs) => Author::Batch(Batch::new(jobs.clone(), memory)),
            Craft::Service(count) => Author::Service(Service::new(*count, memory, random)),
            Craft::Services => Author::Services(Box::new(Services::new(info.roles.clone(), memory))),
            Craft::Picky => Author::Picky(Picky::new(memory, random)),
            Craft::Looper => Author::Looper(Looper::new(memory)),
            Craft::Greedy => Author::Greedy(Greedy::new(memory, random)),
            Craft::Hoarder => Author::Hoarder(Hoarder::new(false, memory, random)),
            Craft::Taker => Author::Hoarder(Hoarder::new(true, memory, random)),
        }
    }

    /// The tasks that it believes to be alive, each with its agent and what was told of it last, if anything was.
    pub fn alive(&self) -> BTreeMap<TaskId, (AgentId, Option<TaskState>)> {
        let roster = match self {
            Author::Batch(author) => &author.roster,
            Author::Service(author) => &author.roster,
            Author::Services(author) => return author.alive().collect(),
            Author::Hoarder(author) => &author.roster,
            Author::Picky(author) => &author.roster,
            Author::Looper(author) => &author.roster,
            Author::Greedy(author) => &author.roster,
        };
        roster.iter().map(|(task, member)| (task.clone(), (member.agent.clone(), member.state))).collect()
    }

    /// The same, for the session of a new life.
    pub fn known_tasks(&self) -> Vec<(TaskId, Option<AgentId>)> {
        self.alive().into_iter().map(|(task, (agent, _))| (task, Some(agent))).collect()
    }

    /// The service framework, if it is that.
    pub fn services(&self) -> Option<&Services> {
        match self {
            Author::Services(author) => Some(author),
            _ => None,
        }
    }

    /// What it still wants; empty when it has what it wants.
    pub fn wants(&self) -> Vec<String> {
        match self {
            Author::Batch(author) => author.wants(),
            Author::Service(author) => author.wants(),
            Author::Services(author) => author.wants(),
            // What they want depends on what there is, or has no end.
            Author::Hoarder(_) | Author::Picky(_) | Author::Looper(_) | Author::Greedy(_) => Vec::new(),
        }
    }
}

/// What an author's code was told.
#[derive(Debug)]
pub struct Seen {
    /// Which kind of event.
    pub kind: &'static str,
    /// Of an update.
    pub status: Option<TaskStatus>,
    text: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Stands between the session and the author, and remembers what passes.
#[derive(Debug)]
pub struct Witness {
    author: Author,
    seen: Vec<Seen>,
}

impl Witness {
    /// Of this author.
    pub fn new(author: Author) -> Witness {
        Witness { author, seen: Vec::new() }
    }

    /// The author's code.
    pub fn author(&self) -> &Author {
        &self.author
    }

    /// What was told since this was asked last.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }
}

impl Scheduler for Witness {
    type Message = Poke;

    fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        let status = match &event {
            Event::Update(status) => Some(status.clone()),
            _ => None,
        };
        let text = match &event {
            Event::Update(status) => format!("Update {}", text::Line(status)),
            event => format!("{event:?}"),
        };
        self.seen.push(Seen { kind: coverage::author_event(&event), status, text });
        match &mut self.author {
            Author::Batch(author) => author.on(now, event, calls),
            Author::Service(author) => author.on(now, event, calls),
            Author::Services(author) => author.on(now, event, calls),
            Author::Hoarder(author) => author.on(now, event, calls),
            Author::Picky(author) => author.on(now, event, calls),
            Author::Looper(author) => author.on(now, event, calls),
            Author::Greedy(author) => author.on(now, event, calls),
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        match &self.author {
            Author::Batch(author) => author.next_deadline(),
            Author::Service(author) => author.next_deadline(),
            Author::Services(author) => author.next_deadline(),
            Author::Picky(author) => author.next_deadline(),
            Author::Looper(author) => author.next_deadline(),
            Author::Greedy(author) => author.next_deadline(),
            Author::Hoarder(author) => author.next_deadline(),
        }
    }
}

/// Whether this is the end of a task as far as its author is concerned: nobody runs it.
fn is_over(state: TaskState) -> bool {
    state.is_terminal() || state == TaskState::Unknown
}
