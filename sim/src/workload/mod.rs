//! Who uses the cluster: authors' code on the SDK, and one client that keeps no rules.

mod batch;
mod hoarder;
mod pause;
mod roster;
mod service;
pub mod vandal;

use std::collections::BTreeMap;
use std::fmt;

use bourse_sdk_core::{Calls, Event, Scheduler};
use bourse_types::{AgentId, Mono, Now, TaskId, TaskState, TaskStatus};
use bytes::Bytes;

use crate::coverage;
use crate::machine::Program;
use crate::random::Random;
use crate::text;

pub use batch::Batch;
pub use hoarder::Hoarder;
pub use pause::Pause;
pub use roster::Roster;
pub use service::Service;

/// What an author wants; the same in each life of the process.
#[derive(Clone, Debug)]
pub enum Craft {
    /// Each of these jobs done once.
    Batch(Vec<Job>),
    /// How many instances run for ever, on machines that it likes.
    Service(usize),
    /// Offers; now and then it uses one.
    Hoarder,
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

/// What an author's other code says to its scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poke {
    /// How many instances are wanted from now on.
    Scale(usize),
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
    /// See [`Hoarder`].
    Hoarder(Hoarder),
}

impl Author {
    /// A new life, with what the driver has kept of the earlier ones.
    pub fn start(craft: &Craft, memory: &BTreeMap<String, Bytes>, random: Random) -> Author {
        match craft {
            Craft::Batch(jobs) => Author::Batch(Batch::new(jobs.clone(), memory)),
            Craft::Service(count) => Author::Service(Service::new(*count, memory, random)),
            Craft::Hoarder => Author::Hoarder(Hoarder::new(false, memory, random)),
            Craft::Taker => Author::Hoarder(Hoarder::new(true, memory, random)),
        }
    }

    /// The tasks that it believes to be alive.
    pub fn roster(&self) -> &Roster {
        match self {
            Author::Batch(author) => &author.roster,
            Author::Service(author) => &author.roster,
            Author::Hoarder(author) => &author.roster,
        }
    }

    /// The same, for the session of a new life.
    pub fn known_tasks(&self) -> Vec<(TaskId, Option<AgentId>)> {
        self.roster().iter().map(|(task, member)| (task.clone(), Some(member.agent.clone()))).collect()
    }

    /// What it still wants; empty when it has what it wants.
    pub fn wants(&self) -> Vec<String> {
        match self {
            Author::Batch(author) => author.wants(),
            Author::Service(author) => author.wants(),
            Author::Hoarder(_) => Vec::new(),
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
            Event::Update(status) => format!("Update {}", text::Status(status)),
            event => format!("{event:?}"),
        };
        self.seen.push(Seen { kind: coverage::author_event(&event), status, text });
        match &mut self.author {
            Author::Batch(author) => author.on(now, event, calls),
            Author::Service(author) => author.on(now, event, calls),
            Author::Hoarder(author) => author.on(now, event, calls),
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        match &self.author {
            Author::Batch(author) => author.next_deadline(),
            Author::Service(author) => author.next_deadline(),
            Author::Hoarder(author) => author.next_deadline(),
        }
    }
}

/// Whether this is the end of a task as far as its author is concerned: nobody runs it.
fn is_over(state: TaskState) -> bool {
    state.is_terminal() || state == TaskState::Unknown
}
