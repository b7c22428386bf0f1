//! A master's core with nothing around it: words to make events with, and how long each of them takes.
//!
//! Whatever the core would get from a door is made anew for each event, and not shared between agents or tasks: else what
//! they take together would look smaller than it is. Making it, and reading effects, is not in the time.

mod agents;
mod chance;
mod frameworks;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use bourse_master_core::{
    Config, Effect, Effects, Event, LinkId, Master, Snapshot, StreamId, ToAgent, ToScheduler, View,
};
use bourse_types::units::format_count;
use bourse_types::{
    AgentId, Epoch, FrameworkId, MasterId, Mono, Now, OfferId, Resources, Role, TaskId, Wall,
};

pub use agents::Told;
pub use chance::Chance;

/// Longer than anything here goes on.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is due so soon belongs to what was just done: passes are 20 ms apart, and what else is due is minutes away.
const SOON: Duration = Duration::from_millis(50);

/// Who takes pictures of the master: what is in a picture is copied when it changes, as the old one is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Nobody.
    Nobody,
    /// The driver, after each batch of so many events. Giving up the picture before is in the time.
    Every(usize),
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Looks::Nobody => f.write_str("nobody looks"),
            Looks::Every(1) => f.write_str("a picture after each event"),
            Looks::Every(events) => write!(f, "a picture after {events} events"),
        }
    }
}

/// What was done so far, to see that a shape is what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// Offers that frameworks got.
    pub offers: usize,
    /// Of those, the ones that they gave back.
    pub declined: usize,
    /// Tasks that agents told of, or that were launched.
    pub tasks: usize,
    /// Tasks that ended.
    pub ended: usize,
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |number: usize, thing| format_count(number as u64, thing);
        let Did { offers, declined, tasks, ended } = *self;
        write!(f, "{}, {declined} declined; {}, {ended} ended", count(offers, "offer"), count(tasks, "task"))
    }
}

/// An offer that was not answered.
pub struct Held {
    /// The number of the framework that holds it.
    pub framework: usize,
    /// The number of the agent.
    pub agent: usize,
    /// What is offered.
    pub resources: Resources,
}

/// What the events that came of one cause took: one slice of agents each.
pub struct Pass {
    /// Each slice.
    pub slices: Vec<Duration>,
    /// Offers that were made.
    pub offers: usize,
}

impl Pass {
    /// All slices together.
    pub fn whole(&self) -> Duration {
        self.slices.iter().sum()
    }
}

struct Machine {
    id: AgentId,
    link: LinkId,
}

struct Peer {
    id: FrameworkId,
    role: Role,
    stream: StreamId,
}

/// The master and everybody who talks to it.
pub struct World {
    master: Master,
    now: Now,
    /// Whether time passes while events are applied; else it stands still but for passes.
    live: bool,
    looks: Looks,
    view: Option<View>,
    /// Events since the last picture.
    unseen: usize,
    effects: Effects,
    agents: Vec<Machine>,
    frameworks: Vec<Peer>,
    offers: BTreeMap<OfferId, Held>,
    /// Links, streams and updates so far: each has a number of its own.
    numbers: u64,
    did: Did,
}

impl World {
    /// A master of an empty cluster. Nobody looks.
    pub fn new() -> World {
        World::start("bench", Epoch(1), Snapshot::default()).0
    }

    /// The master stops, and another takes over with nothing but the registry; how long it took to be there.
    pub fn restart(self) -> (World, Duration) {
        let snapshot = self.master.snapshot();
        let World { master, agents, frameworks, numbers, .. } = self;
        drop(master);
        let (world, took) = World::start("again", Epoch(2), snapshot);
        (World { agents, frameworks, numbers, ..world }, took)
    }

    fn start(master: &str, epoch: Epoch, snapshot: Snapshot) -> (World, Duration) {
        let day = Duration::from_secs(24 * 3600);
        // Nobody is waited for and no offer expires: else that would be in the figures, too.
        let config = Config {
            heartbeat_interval: day,
            agent_timeout: 500 * day,
            offer_timeout: None,
            ..Config::default()
        };
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_700_000_000_000) };
        let id = MasterId::new(master).expect("a plain word is an id");
        let begun = Instant::now();
        let master = Master::new(config, epoch, id, 7, snapshot, now);
        let took = begun.elapsed();
        let world = World {
            master,
            now,
            live: false,
            looks: Looks::Nobody,
            view: None,
            unseen: 0,
            effects: Effects::new(),
            agents: Vec::new(),
            frameworks: Vec::new(),
            offers: BTreeMap::new(),
            numbers: 0,
            did: Did::default(),
        };
        (world, took)
    }

    /// Somebody else looks from now on.
    pub fn watch(&mut self, looks: Looks) {
        self.looks = looks;
        self.view = None;
        self.unseen = 0;
    }

    /// From now on as much time passes as events take, so that there are passes in between as in a master that runs.
    pub fn run_live(&mut self) {
        self.live = true;
    }

    /// What was done so far.
    pub fn did(&self) -> Did {
        self.did
    }

    /// The master as it is now.
    pub fn view(&self) -> View {
        self.master.view(self.now)
    }

    /// Keeps nothing that was only for the bench: whoever weighs the process afterwards weighs the master.
    pub fn lighten(&mut self) {
        self.effects = Effects::new();
        self.offers = BTreeMap::new();
        self.view = None;
    }

    /// Offers that were not answered, by id. They are the caller's to answer, or to leave outstanding.
    pub fn take_offers(&mut self) -> BTreeMap<OfferId, Held> {
        std::mem::take(&mut self.offers)
    }

    /// Lets time pass until nothing is due soon. Each tick is a slice of a pass.
    pub fn until_quiet(&mut self) -> Pass {
        let before = self.did.offers;
        let mut slices = Vec::new();
        while let Some(due) = self.master.next_deadline().filter(|due| *due <= self.now.mono + SOON) {
            slices.push(self.tick(due));
        }
        Pass { slices, offers: self.did.offers - before }
    }

    /// Lets time pass until something is due, such as the end of a filter. `None`: nothing is for that long.
    pub fn until_due(&mut self, within: Duration) -> Option<Duration> {
        let due = self.master.next_deadline().filter(|due| *due <= self.now.mono + within)?;
        Some(self.tick(due))
    }

    fn tick(&mut self, due: Mono) -> Duration {
        self.pass_time(due.since(self.now.mono));
        self.apply(Event::Tick)
    }

    fn pass_time(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }

    fn apply(&mut self, event: Event) -> Duration {
        let begun = Instant::now();
        self.master.apply(self.now, event, &mut self.effects);
        if let Looks::Every(events) = self.looks {
            self.unseen += 1;
            if self.unseen >= events {
                self.unseen = 0;
                self.view = None;
                self.view = Some(self.master.view(self.now));
            }
        }
        let took = begun.elapsed();
        if self.live {
            self.pass_time(took);
        }
        self.hear();
        took
    }

    /// Takes note of what the master said. New agents and frameworks are told their ids.
    fn hear(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::ToScheduler { framework, message: ToScheduler::Offers(offers), .. } => {
                    self.did.offers += offers.len();
                    let framework = number_of(framework.as_str());
                    self.offers.extend(offers.into_iter().map(|offer| {
                        let agent = number_of(offer.agent.as_str());
                        (offer.id, Held { framework, agent, resources: offer.resources })
                    }));
                }
                Effect::ToScheduler { message: ToScheduler::Rescind { offer }, .. } => {
                    self.offers.remove(&offer);
                }
                Effect::ToScheduler { message: ToScheduler::Subscribed { framework, .. }, .. } => {
                    if let Some(peer) = self.frameworks.get_mut(number_of(framework.as_str())) {
                        peer.id = framework;
                    }
                }
                Effect::ToAgent { message: ToAgent::Registered { agent, .. }, .. } => {
                    if let Some(machine) = self.agents.get_mut(number_of(agent.as_str())) {
                        machine.id = agent;
                    }
                }
                // Said to people, the registry, and to those who expect it.
                _ => {}
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

/// The same id, as a message brings it: in memory of its own.
trait Fresh {
    fn fresh(&self) -> Self;
}

macro_rules! fresh_ids {
    ($($id:ident),*) => {$(
        impl Fresh for $id {
            fn fresh(&self) -> $id {
                $id::new(self.as_str()).expect("it is one")
            }
        }
    )*};
}

fresh_ids!(AgentId, FrameworkId, TaskId);

fn fresh<T: Fresh>(id: &T) -> T {
    id.fresh()
}

/// Resources of a shape.
pub fn resources(text: &str) -> Resources {
    text.parse().expect("shapes write resources as people do")
}

/// The number behind the last dash of an id that a master gave.
fn number_of(id: &str) -> usize {
    let (_, number) = id.rsplit_once('-').expect("a master's ids have a dash");
    number.trim_start_matches('S').parse().expect("a master's ids end with a number")
}
