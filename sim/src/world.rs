//! The world of one run: all processes, and what happens to them next.

mod acts;
mod operators;
mod strikes;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bourse_types::{ContainerId, Mono};

use crate::cast;
use crate::checks::Checks;
use crate::clock::Agenda;
use crate::coverage::Coverage;
use crate::disk::{Disks, Registry, Room};
use crate::faults::{Fault, Faults};
use crate::less::{Less, Part};
use crate::letter::Letter;
use crate::machine::Inside;
use crate::net::{ConnId, Net, Side, Weather};
use crate::nodes::agent::{AgentNode, Down};
use crate::nodes::master::{Ended, MasterNode};
use crate::nodes::scheduler::SchedulerNode;
use crate::nodes::standstill::Stoppable;
use crate::plant::Garden;
use crate::random::Random;
use crate::trace::Trace;
use crate::translate::Messages;
use crate::workload::vandal::Vandal;
use crate::{Options, Report};

/// A run with more is going in circles.
const HAPPENINGS_MAX: u64 = 1_000_000;

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The master's place; several processes in turn, and sometimes two.
    Master,
    /// One of the agents.
    Agent(usize),
    /// One of the schedulers.
    Scheduler(usize),
    /// The client that keeps no rules.
    Vandal,
}

/// One life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Where.
    pub node: Node,
    /// Which one, from 1.
    pub life: u64,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Node::Master => write!(f, "master.{}", self.life),
            Node::Agent(index) => write!(f, "agent{index}.{}", self.life),
            Node::Scheduler(index) => write!(f, "scheduler{index}.{}", self.life),
            Node::Vandal => f.write_str("vandal"),
        }
    }
}

/// Something that happens.
#[derive(Debug)]
pub enum Happening {
    /// A connection that this process dialled is open.
    Opens { conn: ConnId, to: Process },
    /// This process notices that a connection is gone, or could not be opened.
    Breaks { conn: ConnId, to: Process },
    /// A letter arrives.
    Arrives { conn: ConnId, to: Process, letter: Box<Letter> },
    /// A timer rings.
    Wakes { process: Process },
    /// A write is over.
    Written { process: Process },
    /// The master speaks to idle streams.
    Beats { process: Process },
    /// The master's core learns who was heard.
    Hears { process: Process },
    /// Something happens in a container.
    Inside { machine: usize, boots: u64, container: ContainerId, inside: Inside },
    /// A process is killed, perhaps with its machine.
    Dies { process: Process, machine: bool },
    /// A process is started, if none runs there.
    Restarts { node: Node },
    /// A process that was stopped goes on.
    Thaws { process: Process },
    /// A master that was replaced is found and ended.
    Ends { process: Process },
    /// A node that was cut off is so no longer.
    Mends { node: Node },
    /// A disk is as fast as ever.
    DiskRecovers { node: Node },
    /// A disk has room again.
    RoomAgain { node: Node },
    /// An agent looks whether its disk has.
    LooksForRoom { process: Process },
    /// The next fault.
    Strikes,
    /// The next command of an operator.
    Operates,
    /// The next thing that somebody asks of a service framework.
    Deploys,
    /// Act two begins.
    Heals,
    /// Is it over?
    Looks,
}

/// What all processes share, and none of them is.
#[derive(Debug)]
pub struct Outside {
    /// The world's time.
    pub now: Mono,
    /// What is going to happen.
    pub agenda: Agenda<Happening>,
    /// Chance.
    pub random: Random,
    /// The network.
    pub net: Net,
    /// What task messages say.
    pub messages: Messages,
    /// The master's disk.
    pub registry: Registry,
    /// How the disks of all are at the moment.
    pub disks: Disks,
    /// What is watched.
    pub checks: Checks,
    /// What was reached.
    pub coverage: Coverage,
    /// The bug on purpose, if any.
    pub garden: Garden,
    /// Machines and doors fail now and then.
    pub misfortune: bool,
    /// Processes that start may be of the build before.
    pub skew: bool,
    trace: Trace,
    /// Who dies in the middle of its next write, and whether its machine does.
    doomed: Option<(Node, bool)>,
    /// Who answers when a master is dialled.
    answers: Option<Process>,
    /// A master that was replaced and goes on: some agents still have its address.
    replaced: Option<Process>,
}

impl Outside {
    /// One line of the trace.
    pub fn say(&mut self, who: Process, what: fmt::Arguments<'_>) {
        self.trace.line(self.now, &who, what);
    }

    /// Sends a letter.
    pub fn send(&mut self, conn: ConnId, from: Side, letter: Letter) {
        self.net.send(self.now, conn, from, letter, &mut self.agenda, &mut self.coverage);
    }

    /// Opens a connection to the master, if there is one.
    pub fn dial(&mut self, client: Process) -> ConnId {
        let stale =
            self.replaced.filter(|_| matches!(client.node, Node::Agent(_)) && self.random.chance(0.4));
        let master = stale.or(self.answers);
        self.net.dial(self.now, client, master, &mut self.agenda, &mut self.coverage)
    }

    /// A process is no more; `machine`: nor is its machine.
    pub fn process_gone(&mut self, process: Process, machine: bool) {
        self.net.died(self.now, process, machine, &mut self.agenda);
    }

    /// A write begins, and is over after so long; unless the process is doomed, and dies in the middle of it.
    pub fn begins_to_write(&mut self, process: Process, takes: Duration) {
        self.agenda.enter(self.now + takes, Happening::Written { process });
        if let Some((_, machine)) = self.doomed.take_if(|(node, _)| *node == process.node) {
            let early = Duration::from_micros(self.random.between(0, takes.as_micros() as u64));
            self.agenda.enter(self.now + early, Happening::Dies { process, machine });
        }
    }

    /// How long a sync of this node's disk takes.
    pub fn sync_time(&mut self, node: Node) -> Duration {
        match self.disks.is_slow(node) {
            true => self.random.millis(50, 2_500),
            false => self.random.millis(1, 12),
        }
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    One,
    /// Everybody has to come to know the same by then.
    Two {
        until: Mono,
    },
    /// Somebody takes every offer, and has to get everything by then.
    Taking {
        until: Mono,
    },
    Over,
}

/// The world of one run.
pub struct World {
    seed: u64,
    less: Less,
    outside: Outside,
    faults: Faults,
    act: Act,
    masters: BTreeMap<u64, MasterNode>,
    master_lives: u64,
    agents: Vec<AgentNode>,
    schedulers: Vec<SchedulerNode>,
    vandal: Vandal,
    /// An agent that never comes back after act one.
    dead: Option<usize>,
    /// How many faults there were, commands of operators, and wishes of people.
    struck: u64,
    operated: u64,
    deployed: u64,
    /// How many frameworks the seed has.
    frameworks: u64,
    /// The faults that struck, by their numbers.
    strikes: BTreeMap<u64, Fault>,
    happenings: u64,
}

impl World {
    /// The world as this seed has it, before anything has happened.
    pub fn new(seed: u64, options: &Options) -> World {
        let mut random = Random::new(seed);
        let faults = lessened(Faults::draw(&mut random), &options.less);
        let mut outside = Outside {
            now: Mono::ZERO,
            agenda: Agenda::new(),
            net: Net::new(random.fork(), faults.weather),
            messages: Messages::default(),
            registry: Registry::default(),
            disks: Disks::default(),
            checks: Checks::default(),
            coverage: Coverage::default(),
            garden: Garden::new(options.plant, Random::new(seed ^ 0xdead)),
            misfortune: true,
            skew: !options.less.lacks(Part::Skew),
            trace: Trace::new(options.trace),
            doomed: None,
            answers: None,
            replaced: None,
            random,
        };
        let (count, frameworks) = cast::draw(&mut outside.random);
        let agents = (0..count)
            .map(|index| AgentNode::new(index, cast::machine(index, &mut outside.random), &mut outside));
        let agents: Vec<AgentNode> = agents.collect();
        let schedulers =
            frameworks.into_iter().enumerate().map(|(i, (craft, info))| SchedulerNode::new(i, craft, info));
        let mut schedulers: Vec<SchedulerNode> = schedulers.collect();
        let frameworks = schedulers.len() as u64;
        let mut vandal = Vandal::new(outside.random.fork());
        // Who stays away keeps its number and its source of chance, so that nobody else is another one.
        let away = |index: &u64| options.less.frameworks.contains(index);
        (0..).zip(&mut schedulers).filter(|(index, _)| away(index)).for_each(|(_, node)| node.stays_away());
        if options.less.lacks(Part::Vandal) {
            vandal.stays_away();
        }
        let mut world = World {
            seed,
            less: options.less.clone(),
            faults,
            act: Act::One,
            masters: BTreeMap::new(),
            master_lives: 0,
            agents,
            schedulers,
            vandal,
            dead: None,
            struck: 0,
            operated: 0,
            deployed: 0,
            frameworks,
            strikes: BTreeMap::new(),
            happenings: 0,
            outside,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let nodes = self.nodes();
        for node in nodes {
            let wait = self.outside.random.millis(0, 3_000);
            self.outside.agenda.enter(Mono::ZERO + wait, Happening::Restarts { node });
        }
        let vandal = Process { node: Node::Vandal, life: 1 };
        self.outside.agenda.enter(Mono::ZERO + Duration::from_secs(2), Happening::Wakes { process: vandal });
        let (pause, _) = self.faults.next(&mut self.outside.random);
        self.outside.agenda.enter(Mono::ZERO + pause, Happening::Strikes);
        self.outside.agenda.enter(Mono::ZERO + Duration::from_secs(20), Happening::Operates);
        self.outside.agenda.enter(Mono::ZERO + Duration::from_secs(3), Happening::Deploys);
        self.outside.agenda.enter(Mono::ZERO + self.faults.act_one, Happening::Heals);
    }

    fn nodes(&self) -> Vec<Node> {
        let agents = (0..self.agents.len()).map(Node::Agent);
        let schedulers = (0..self.schedulers.len()).map(Node::Scheduler);
        [Node::Master].into_iter().chain(agents).chain(schedulers).collect()
    }

    /// Runs to the end, or to the first broken promise.
    pub fn run(&mut self) {
        while self.act != Act::Over && self.outside.checks.found().is_empty() {
            let Some((at, happening)) = self.outside.agenda.next() else {
                self.outside.checks.broken("nothing will ever happen any more".to_owned());
                break;
            };
            self.outside.now = at;
            self.happenings += 1;
            if self.happenings > HAPPENINGS_MAX {
                self.outside.checks.broken(format!("after {HAPPENINGS_MAX} happenings there is no end"));
            }
            self.happens(happening);
        }
    }

    /// What came of it so far.
    pub fn report(self) -> Report {
        Report {
            seed: self.seed,
            hash: self.outside.trace.hash(),
            lines: self.outside.trace.lines(),
            lasted: self.outside.now.since(Mono::ZERO),
            act_one: self.faults.act_one,
            strikes: self.strikes,
            frameworks: self.frameworks,
            coverage: self.outside.coverage,
            broken: self.outside.checks.found().to_vec(),
            tail: self.outside.trace.tail(),
        }
    }

    /// The master that answers, if one does.
    pub fn master(&self) -> Option<&MasterNode> {
        self.masters.get(&self.outside.answers?.life)
    }

    /// What all processes share.
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// The agents.
    pub fn agents(&self) -> impl Iterator<Item = &AgentNode> {
        self.agents.iter()
    }

    /// The schedulers.
    pub fn schedulers(&self) -> impl Iterator<Item = &SchedulerNode> {
        self.schedulers.iter()
    }

    /// Whether this agent is never to come back.
    pub fn is_dead(&self, agent: usize) -> bool {
        self.dead == Some(agent)
    }

    /// Whether the client that keeps no rules is gone.
    pub fn vandal_is_over(&self) -> bool {
        self.vandal.is_over()
    }

    fn happens(&mut self, happening: Happening) {
        let outside = &mut self.outside;
        match happening {
            Happening::Opens { conn, to } => match to.node {
                Node::Agent(index) if self.agents[index].life() == to.life => {
                    self.agents[index].opens(conn, outside)
                }
                Node::Scheduler(i) if self.schedulers[i].life() == to.life => {
                    self.schedulers[i].opens(conn, outside)
                }
                Node::Vandal => self.vandal.opens(conn, outside),
                Node::Agent(_) | Node::Scheduler(_) | Node::Master => {}
            },
            Happening::Breaks { conn, to } => match to.node {
                Node::Master => {
                    if let Some(master) = self.masters.get_mut(&to.life) {
                        master.breaks(conn, outside);
                    }
                }
                Node::Agent(index) if self.agents[index].life() == to.life => {
                    self.agents[index].breaks(conn, outside)
                }
                Node::Scheduler(i) if self.schedulers[i].life() == to.life => {
                    self.schedulers[i].breaks(conn, outside)
                }
                Node::Vandal => self.vandal.breaks(conn),
                Node::Agent(_) | Node::Scheduler(_) => {}
            },
            Happening::Arrives { conn, to, letter } => self.arrives(conn, to, *letter),
            Happening::Wakes { process } => match process.node {
                Node::Master => {
                    if let Some(master) = self.masters.get_mut(&process.life) {
                        master.wakes(outside);
                    }
                }
                Node::Agent(index) if self.agents[index].life() == process.life => {
                    self.agents[index].wakes(outside)
                }
                Node::Scheduler(i) if self.schedulers[i].life() == process.life => {
                    self.schedulers[i].wakes(outside)
                }
                Node::Vandal => self.vandal.wakes(outside),
                Node::Agent(_) | Node::Scheduler(_) => {}
            },
            Happening::Written { process } => self.written(process),
            Happening::Beats { process } => {
                if let Some(master) = self.masters.get_mut(&process.life) {
                    master.beats(outside);
                }
            }
            Happening::Hears { process } => {
                if let Some(master) = self.masters.get_mut(&process.life) {
                    master.hears(outside);
                }
            }
            Happening::Inside { machine, boots, container, inside } => {
                let agent = &mut self.agents[machine];
                if agent.machine().boots() == boots {
                    agent.inside(&container, inside, outside);
                }
            }
            Happening::Dies { process, machine } => self.dies(process, machine),
            Happening::Restarts { node } => self.restarts(node),
            Happening::Thaws { process } => self.thaws(process),
            Happening::Ends { process } => self.ends_master(process.life, false),
            Happening::Mends { node } => outside.net.mend(outside.now, node),
            Happening::DiskRecovers { node } => outside.disks.recovers(node),
            Happening::RoomAgain { node } => outside.disks.fills(node, Room::Plenty),
            Happening::LooksForRoom { process } => {
                if let Node::Agent(index) = process.node
                    && self.agents[index].life() == process.life
                {
                    self.agents[index].tries_again(outside);
                }
            }
            Happening::Strikes => self.strikes(),
            Happening::Operates => self.operates(),
            Happening::Deploys => self.deploys(),
            Happening::Heals => self.heals(),
            Happening::Looks => self.looks(),
        }
    }

    fn arrives(&mut self, conn: ConnId, to: Process, letter: Letter) {
        let outside = &mut self.outside;
        outside.say(to, format_args!("<= #{} {letter}", conn.0));
        match to.node {
            Node::Master => {
                if let Some(master) = self.masters.get_mut(&to.life) {
                    master.receives(conn, letter, outside);
                }
            }
            Node::Agent(i) if self.agents[i].life() == to.life => {
                self.agents[i].receives(conn, letter, outside)
            }
            Node::Scheduler(i) if self.schedulers[i].life() == to.life => {
                self.schedulers[i].receives(conn, letter, outside);
            }
            Node::Vandal => self.vandal.receives(conn, letter, outside),
            Node::Agent(_) | Node::Scheduler(_) => {}
        }
    }

    fn written(&mut self, process: Process) {
        let outside = &mut self.outside;
        match process.node {
            Node::Master => {
                let Some(master) = self.masters.get_mut(&process.life) else { return };
                let went = master.has_written(outside);
                self.goes_on(process.life, went);
            }
            Node::Agent(i) if self.agents[i].life() == process.life => self.agents[i].has_written(outside),
            Node::Scheduler(i) if self.schedulers[i].life() == process.life => {
                self.schedulers[i].has_written(outside);
            }
            Node::Agent(_) | Node::Scheduler(_) | Node::Vandal => {}
        }
    }

    fn restarts(&mut self, node: Node) {
        let outside = &mut self.outside;
        match node {
            Node::Master if outside.answers.is_some() => {}
            // The take-over is a write.
            Node::Master if outside.disks.is_full(node) => self.waits_for_room(),
            Node::Master => self.starts_master(),
            Node::Vandal => {}
            Node::Agent(index) if self.dead == Some(index) => {}
            Node::Agent(index) => {
                let agent = &mut self.agents[index];
                if agent.down() == Some(Down::Refused) {
                    agent.wipes(outside);
                }
                agent.start(outside);
            }
            Node::Scheduler(index) => self.schedulers[index].start(outside),
        }
    }

    fn starts_master(&mut self) {
        self.master_lives += 1;
        let life = self.master_lives;
        let ahead = if self.outside.random.chance(0.2) { strikes::jump(&mut self.outside.random) } else { 0 };
        let master = MasterNode::start(life, ahead, &mut self.outside);
        self.outside.answers = Some(master.process());
        self.masters.insert(life, master);
    }

    fn thaws(&mut self, process: Process) {
        let outside = &mut self.outside;
        match process.node {
            Node::Master => {
                let Some(master) = self.masters.get_mut(&process.life) else { return };
                let went = master.thaws(outside);
                self.goes_on(process.life, went);
            }
            Node::Agent(index) if self.agents[index].life() == process.life => {
                self.agents[index].thaws(outside)
            }
            Node::Scheduler(i) if self.schedulers[i].life() == process.life => {
                self.schedulers[i].thaws(outside);
            }
            Node::Agent(_) | Node::Scheduler(_) | Node::Vandal => {}
        }
    }

    /// An incarnation of the master does, or ends. One without room is started until there is some; of one that was
    /// fenced off there is a successor.
    fn goes_on(&mut self, life: u64, went: Result<(), Ended>) {
        let Err(why) = went else { return };
        self.ends_master(life, false);
        if why == Ended::NoRoom {
            self.waits_for_room();
        }
    }

    fn waits_for_room(&mut self) {
        let wait = self.outside.random.millis(1_000, 5_000);
        self.outside.agenda.enter(self.outside.now + wait, Happening::Restarts { node: Node::Master });
    }

    fn ends_master(&mut self, life: u64, machine: bool) {
        let Some(mut master) = self.masters.remove(&life) else { return };
        let process = master.process();
        self.outside.say(process, format_args!("ends"));
        master.dies(&mut self.outside);
        self.outside.process_gone(process, machine);
        self.outside.answers.take_if(|answers| *answers == process);
        self.outside.replaced.take_if(|replaced| *replaced == process);
    }
}

/// The misfortunes that are left.
fn lessened(mut faults: Faults, less: &Less) -> Faults {
    if less.lacks(Part::Weather) {
        faults.weather = Weather::CALM;
    }
    if let Some(most) = less.act_one {
        faults.act_one = faults.act_one.min(most);
    }
    faults
}
