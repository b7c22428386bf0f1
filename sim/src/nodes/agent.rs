//! An agent's process, on its machine, with its disk.

mod writing;

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_agent_core::{
    Agent, Config, Effect, Event, FromMaster, Launch, LinkId, Record, Signal, Start, State,
};
use bourse_types::{AgentInfo, ContainerId};

use crate::clock::Clocks;
use crate::coverage;
use crate::disk::Log;
use crate::letter::Letter;
use crate::machine::{Inside, Machine};
use crate::net::{ConnId, Side};
use crate::nodes::Inbox;
use crate::nodes::standstill::{Held, Standstill, Stoppable};
use crate::plant::Plant;
use crate::vintage::Vintage;
use crate::world::{Happening, Node, Outside, Process};
use writing::Writing;

/// The cores of each machine: few, so that they run out.
const CORES: std::ops::Range<u32> = 0..3;

/// Why an agent does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It was killed, or asked to stop.
    Stopped,
    /// A master refused it for good: its work directory has to go.
    Refused,
}

/// What runs while an agent runs.
#[derive(Debug)]
struct Running {
    core: Agent,
    vintage: Vintage,
    links: BTreeMap<ConnId, LinkId>,
    inbox: Inbox<Event>,
    standstill: Standstill<Event>,
    writing: Option<Writing>,
    /// What found no room on the disk, and what comes after it.
    held: Writing,
    /// Entries of the log so far, and the last of them that must outlive the boot.
    decided: usize,
    must_sync: usize,
    /// What the core was told of the disk.
    disk_full: bool,
    /// The disk is going to be looked at.
    looks: bool,
}

/// One agent: a machine, a disk, and mostly a process.
#[derive(Debug)]
pub struct AgentNode {
    index: usize,
    life: u64,
    ahead: i64,
    info: AgentInfo,
    /// Records that were decided together are one entry: a torn one is none.
    disk: Log<Vec<Record>>,
    machine: Machine,
    running: Option<Running>,
    down: Option<Down>,
}

impl AgentNode {
    /// A machine with an empty disk; the process is not started.
    pub fn new(index: usize, info: AgentInfo, outside: &mut Outside) -> AgentNode {
        let machine = Machine::new(index, outside.random.fork());
        outside.checks.machine(index, &info.total);
        AgentNode {
            index,
            life: 0,
            ahead: 0,
            info,
            disk: Log::new(),
            machine,
            running: None,
            down: Some(Down::Stopped),
        }
    }

    /// Starts the process, from what the disk and the machine remember.
    pub fn start(&mut self, outside: &mut Outside) {
        if self.running.is_some() {
            return;
        }
        self.life += 1;
        self.down = None;
        let process = self.process();
        let (mut state, mut whole) = (State::default(), State::default());
        for record in self.disk.records().iter().flatten() {
            whole.apply(record);
            if outside.garden.reads(record) {
                state.apply(record);
            }
        }
        outside.checks.agent_reads(self.index, &whole);
        // A build without resizes cannot read of them.
        let resized = state.tasks.values().any(|task| task.resized || task.resize.is_some());
        let vintage = match resized {
            true => Vintage::Present,
            false => Vintage::draw(&mut outside.random, outside.skew),
        };
        let clocks = Clocks::start(outside.now, self.ahead);
        let start = Start {
            config: Config { cores: CORES.collect(), ..Config::new(self.info.clone()) },
            boot: self.machine.boot(),
            incarnation: outside.random.bits(),
            state,
            found: self.machine.found(),
        };
        outside
            .say(process, format_args!("{vintage:?} starts on {} and finds {:?}", start.boot, start.found));
        for found in &start.found {
            outside.coverage.note(coverage::condition(&found.condition));
        }
        let mut effects = Vec::new();
        let core = Agent::start(start, clocks.now(outside.now), &mut effects);
        outside.checks.agent_is(self.index, core.state(), &mut outside.coverage);
        outside.checks.violations(process, core.violations());
        let decided = self.disk.written();
        self.running = Some(Running {
            core,
            vintage,
            links: BTreeMap::new(),
            inbox: Inbox::new(process, clocks),
            standstill: Standstill::none(),
            writing: None,
            held: Writing::default(),
            decided,
            must_sync: 0,
            disk_full: false,
            looks: false,
        });
        self.commit(effects, outside);
        self.works(outside);
    }

    /// Which life it is in; what was meant for an earlier one does not arrive.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// Why it does not run; `None` while it does.
    pub fn down(&self) -> Option<Down> {
        self.down
    }

    /// The core, while it runs.
    pub fn core(&self) -> Option<&Agent> {
        self.running.as_ref().map(|running| &running.core)
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A connection that it dialled is open.
    pub fn opens(&mut self, conn: ConnId, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Opens(conn));
        }
        if let Some(link) = self.link(conn) {
            self.takes(Event::LinkOpened { link }, outside);
        }
    }

    /// A connection is gone, or could not be opened.
    pub fn breaks(&mut self, conn: ConnId, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Break(conn));
        }
        outside.net.close(outside.now, conn, Side::Client, &mut outside.agenda);
        if let Some(link) = self.link(conn) {
            let refused = outside.net.was_refused(conn);
            self.takes(Event::LinkClosed { link, refused }, outside);
        }
    }

    /// A letter arrives.
    pub fn receives(&mut self, conn: ConnId, letter: Letter, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Letter(conn, letter));
        }
        let Some(link) = self.link(conn) else { return };
        let vintage = self.running.as_ref().map_or(Vintage::Present, |running| running.vintage);
        let Some(letter) = vintage.hears(letter) else {
            return outside.coverage.note("skew.passed over");
        };
        let Letter::ToAgent { epoch, sender, message } = letter else {
            unreachable!("the master speaks to agents as to agents")
        };
        outside.coverage.note(coverage::from_master(&message));
        if self.running.as_ref().is_some_and(|running| running.links.keys().any(|newer| *newer > conn)) {
            outside.coverage.note("a letter by an old connection");
        }
        outside.checks.heard_epoch(self.index, self.life, link, sender);
        self.takes(Event::FromMaster { link, epoch, message }, outside);
    }

    /// Something happens on its machine.
    pub fn inside(&mut self, container: &ContainerId, inside: Inside, outside: &mut Outside) {
        if let Some(event) = self.machine.happens(container, inside, outside) {
            self.takes(event, outside);
        }
    }

    /// Its timer rings.
    pub fn wakes(&mut self, outside: &mut Outside) {
        if let Some(running) = &mut self.running {
            running.inbox.rings(outside);
            self.works(outside);
        }
    }

    /// An operator asks it to stop, tasks and all.
    pub fn stops(&mut self, cap: Duration, outside: &mut Outside) {
        self.takes(Event::Stop { cap }, outside);
    }

    /// The process is killed. Of the entries that it was writing some may be there, from the first on; what waits for
    /// room is not.
    pub fn dies(&mut self, outside: &mut Outside) {
        let Some(running) = self.running.take() else { return };
        outside.checks.forgets(self.index);
        if let Some(Writing { entries, .. }) = running.writing {
            let most = if outside.disks.is_full(Node::Agent(self.index)) { 0 } else { entries.len() as u64 };
            let kept = outside.random.between(0, most) as usize;
            if kept < entries.len() {
                outside.coverage.note("disk.agent's records lost");
            }
            self.write(entries.into_iter().take(kept), outside);
        }
        self.down = Some(Down::Stopped);
        self.machine.agent_died(outside);
    }

    /// The machine loses power; the process has to be started afterwards.
    pub fn reboots(&mut self, outside: &mut Outside) {
        self.dies(outside);
        self.machine.reboot(outside);
        self.disk.lose_unsynced(&mut outside.random);
        outside.checks.machine_lost(self.index);
    }

    /// The machine joins anew, without anything that it knew.
    pub fn wipes(&mut self, outside: &mut Outside) {
        self.dies(outside);
        self.machine.reboot(outside);
        self.disk = Log::new();
        outside.checks.machine_lost(self.index);
        outside.checks.epochs_forgotten(self.index);
    }

    /// From its next start on, the agent says something else about itself.
    pub fn changes(&mut self, info: AgentInfo, outside: &mut Outside) {
        outside.checks.machine(self.index, &info.total);
        self.info = info;
    }

    /// What it says about itself.
    pub fn info(&self) -> &AgentInfo {
        &self.info
    }

    /// Somebody sets its calendar.
    pub fn jumps(&mut self, ahead: i64) {
        self.ahead = ahead;
        if let Some(running) = &mut self.running {
            running.inbox.jump(ahead);
        }
    }

    fn link(&self, conn: ConnId) -> Option<LinkId> {
        self.running.as_ref()?.links.get(&conn).copied()
    }

    fn takes(&mut self, event: Event, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Event(event));
        }
        let Some(running) = &mut self.running else { return };
        running.inbox.push(event);
        self.works(outside);
    }

    /// Nothing, once the process has ended.
    fn carries_out(&mut self, effect: Effect, outside: &mut Outside) {
        let process = self.process();
        if self.running.is_none() {
            return;
        }
        match effect {
            Effect::Checkpoint(_) => unreachable!("records are written, not spoken"),
            Effect::Connect { link } => {
                let conn = outside.dial(process);
                if let Some(running) = &mut self.running {
                    running.links.insert(conn, link);
                }
            }
            Effect::CloseLink { link, why: _ } => {
                if let Some(conn) = self.conn(link) {
                    outside.net.close(outside.now, conn, Side::Client, &mut outside.agenda);
                }
            }
            Effect::Send { link, mut message } => {
                outside.coverage.note(coverage::from_agent(&message));
                outside.garden.agent_says(&mut message);
                if let Some(conn) = self.conn(link) {
                    outside.send(conn, Side::Client, Letter::FromAgent(message));
                }
            }
            Effect::Launch(launch) => {
                if outside.garden.grows(Plant::TaskLaunchedTwice) {
                    let container = ContainerId::new(format!("{}-again", launch.container)).expect("valid");
                    self.machine.launch(&Launch { container, ..(*launch).clone() }, outside);
                }
                self.machine.launch(&launch, outside);
            }
            Effect::Watch { container } => {
                if let Some(event) = self.machine.watch(&container)
                    && let Some(running) = &mut self.running
                {
                    running.inbox.push(event);
                }
            }
            Effect::Resize(resize) => self.machine.resize(&resize, outside),
            Effect::Measure { container, .. } => self.machine.measure(&container, outside),
            Effect::Signal { container, signal: Signal::Term } => self.machine.terminate(&container, outside),
            Effect::KillAll { container } => self.machine.kill(&container, outside),
            Effect::Destroy { container } => self.machine.destroy(&container, outside),
            Effect::Probe { container, round, check: _ } => self.machine.probe(&container, round, outside),
            Effect::Exit { refused } => self.exits(refused.is_some(), outside),
        }
    }

    /// The agent ends by itself, with nothing left to run.
    fn exits(&mut self, refused: bool, outside: &mut Outside) {
        let process = self.process();
        self.dies(outside);
        self.down = Some(if refused { Down::Refused } else { Down::Stopped });
        outside.process_gone(process, false);
        let wait = outside.random.millis(500, 20_000);
        outside.agenda.enter(outside.now + wait, Happening::Restarts { node: process.node });
    }

    fn conn(&self, link: LinkId) -> Option<ConnId> {
        let links = &self.running.as_ref()?.links;
        links.iter().find(|(_, known)| **known == link).map(|(conn, _)| *conn)
    }
}

impl Stoppable for AgentNode {
    type Event = Event;

    const THAWS: &'static str = "agent thaws";

    fn process(&self) -> Process {
        Process { node: Node::Agent(self.index), life: self.life }
    }

    fn standstill(&mut self) -> Option<&mut Standstill<Event>> {
        self.running.as_mut().map(|running| &mut running.standstill)
    }

    fn ticks_first_if_due(&mut self, outside: &mut Outside) {
        let Some(running) = &mut self.running else { return };
        let deadline = running.core.next_deadline();
        running.inbox.ticks_first_if_due(deadline, Event::Tick, outside);
    }

    fn takes_up(&mut self, held: Held<Event>, outside: &mut Outside) {
        match held {
            Held::Opens(conn) => self.opens(conn, outside),
            Held::Break(conn) => self.breaks(conn, outside),
            Held::Letter(conn, letter) => self.receives(conn, letter, outside),
            Held::Event(event) => self.takes(event, outside),
            Held::Written => self.has_written(outside),
        }
    }

    fn works(&mut self, outside: &mut Outside) {
        let process = self.process();
        while let Some(running) = &mut self.running {
            if running.writing.is_some() || running.standstill.lasts() {
                return;
            }
            let deadline = running.core.next_deadline();
            let Some((now, event)) = running.inbox.next(deadline, Event::Tick, outside) else { return };
            outside.say(process, format_args!("<- {event:?}"));
            outside.coverage.note(coverage::agent_event(&event));
            let (by, launches) = match &event {
                Event::FromMaster { link, message, .. } => {
                    (Some(*link), matches!(message, FromMaster::Run { .. }))
                }
                _ => (None, false),
            };
            let followed = running.core.is_registered();
            // Before it takes a task on, it looks whether there is room for it.
            let disk = if launches { self.looks_for_room(outside) } else { None };
            let Some(running) = &mut self.running else { return };
            let mut effects = Vec::new();
            if let Some(disk) = disk {
                outside.say(process, format_args!("<- {disk:?}"));
                running.core.apply(now, disk, &mut effects);
            }
            let before = effects.len();
            running.core.apply(now, event, &mut effects);
            if let Some(link) = by {
                let follows = !followed && running.core.is_registered();
                outside.checks.obeyed(self.index, self.life, link, follows, &effects[before..]);
            }
            outside.checks.agent_is(self.index, running.core.state(), &mut outside.coverage);
            outside.checks.violations(process, running.core.violations());
            self.commit(effects, outside);
        }
    }
}
