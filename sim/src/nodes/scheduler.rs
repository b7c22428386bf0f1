//! A scheduler's process: an author's code in a session of the SDK, with the driver's disk.

mod writing;

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_sdk_core::{Attempt, Config, End, FromMaster, Input, Output, Session, Write};
use bourse_types::{FrameworkId, FrameworkInfo};
use bytes::Bytes;

use crate::clock::Clocks;
use crate::coverage;
use crate::disk::Log;
use crate::letter::Letter;
use crate::net::{ConnId, Side};
use crate::nodes::Inbox;
use crate::nodes::standstill::{Held, Standstill, Stoppable};
use crate::vintage::Vintage;
use crate::workload::{Author, Craft, Poke, Witness};
use crate::world::{Happening, Node, Outside, Process};

/// The chance that code which dies of its events dies of one.
const DIES: f64 = 0.02;

/// What the driver keeps.
#[derive(Clone, Debug)]
enum Kept {
    Framework(FrameworkId),
    Write(Write),
}

struct Running {
    session: Session<Witness>,
    vintage: Vintage,
    attempts: BTreeMap<ConnId, Attempt>,
    /// What a connection says first, once it is open.
    opening: BTreeMap<ConnId, Letter>,
    inbox: Inbox<Input<Poke>>,
    standstill: Standstill<Input<Poke>>,
    writing: Option<Vec<(u64, Output)>>,
    /// Records of earlier lives, and of this one so far.
    decided: u64,
}

/// One framework: its author's code, its disk, and mostly a process.
pub struct SchedulerNode {
    index: usize,
    life: u64,
    ahead: i64,
    craft: Craft,
    info: FrameworkInfo,
    disk: Log<Kept>,
    running: Option<Running>,
    /// The framework has ended for good.
    over: Option<End>,
}

impl SchedulerNode {
    /// A framework that never ran; the process is not started.
    pub fn new(index: usize, craft: Craft, info: FrameworkInfo) -> SchedulerNode {
        SchedulerNode { index, life: 0, ahead: 0, craft, info, disk: Log::new(), running: None, over: None }
    }

    /// Which life it is in.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// How the framework ended, if it did.
    pub fn over(&self) -> Option<&End> {
        self.over.as_ref()
    }

    /// The run goes without it: it never starts, and nobody waits for it.
    pub fn stays_away(&mut self) {
        self.over = Some(End::TornDown);
    }

    /// Whether others get little as long as it is not told to let go.
    pub fn is_in_the_way(&self) -> bool {
        matches!(self.craft, Craft::Hoarder | Craft::Greedy)
    }

    /// Whether it may be told how many instances it shall have, and of which size.
    pub fn is_scalable(&self) -> bool {
        matches!(self.craft, Craft::Service(_))
    }

    /// Whether it is the service framework.
    pub fn is_services(&self) -> bool {
        matches!(self.craft, Craft::Services)
    }

    /// What it says about itself.
    pub fn info(&self) -> &FrameworkInfo {
        &self.info
    }

    /// The framework's id, as its disk knows it.
    pub fn framework(&self) -> Option<&FrameworkId> {
        self.disk.records().iter().rev().find_map(|kept| match kept {
            Kept::Framework(id) => Some(id),
            Kept::Write(_) => None,
        })
    }

    /// The author's code and what it was told, while it runs.
    pub fn witness(&self) -> Option<&Witness> {
        self.running.as_ref().map(|running| running.session.scheduler())
    }

    /// Starts the process, from what the disk remembers.
    pub fn start(&mut self, outside: &mut Outside) {
        if self.running.is_some() || self.over.is_some() {
            return;
        }
        self.life += 1;
        let process = self.process();
        let mut memory: BTreeMap<String, Bytes> = BTreeMap::new();
        for kept in self.disk.records() {
            match kept {
                Kept::Framework(_) => {}
                Kept::Write(Write::Save { key, value }) => _ = memory.insert(key.clone(), value.clone()),
                Kept::Write(Write::Forget { key }) => _ = memory.remove(key),
            }
        }
        let author = Author::start(&self.craft, &self.info, &memory, outside.random.fork());
        if let Some(services) = author.services() {
            outside.checks.services_read(self.index, &services.wishes());
        }
        let mut config = Config::new(&self.info.name, outside.random.bits());
        config.info = FrameworkInfo { id: self.framework().cloned(), ..self.info.clone() };
        config.tasks = author.known_tasks();
        if self.is_services() {
            // As its shell has it.
            config.suppressed = self.info.roles.iter().cloned().collect();
            config.begin_anew = true;
        }
        config.suppressed.extend(outside.garden.foreign_role());
        let vintage = Vintage::draw(&mut outside.random, outside.skew);
        outside.say(
            process,
            format_args!("{vintage:?} starts with {} of its tasks in mind", config.tasks.len()),
        );
        self.running = Some(Running {
            session: Session::new(config, Witness::new(author)),
            vintage,
            attempts: BTreeMap::new(),
            opening: BTreeMap::new(),
            inbox: Inbox::new(process, Clocks::start(outside.now, self.ahead)),
            standstill: Standstill::none(),
            writing: None,
            decided: self.disk.written() as u64,
        });
        self.takes(Input::Start, outside);
    }

    /// A connection that it dialled is open.
    pub fn opens(&mut self, conn: ConnId, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Opens(conn));
        }
        let letter = self.running.as_mut().and_then(|running| running.opening.remove(&conn));
        if let Some(letter) = letter {
            outside.send(conn, Side::Client, letter);
        }
    }

    /// A connection is gone, or could not be opened.
    pub fn breaks(&mut self, conn: ConnId, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Break(conn));
        }
        outside.net.close(outside.now, conn, Side::Client, &mut outside.agenda);
        let attempt = self.running.as_ref().and_then(|running| running.attempts.get(&conn).copied());
        if let Some(attempt) = attempt {
            self.takes(Input::Closed { attempt, why: "the connection broke".to_owned() }, outside);
        }
    }

    /// A letter arrives.
    pub fn receives(&mut self, conn: ConnId, letter: Letter, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Letter(conn, letter));
        }
        let Some(running) = &self.running else { return };
        let Some(attempt) = running.attempts.get(&conn).copied() else { return };
        let Some(letter) = running.vintage.hears(letter) else {
            return outside.coverage.note("skew.passed over");
        };
        let input = match letter {
            Letter::ToScheduler(message) => {
                outside.coverage.note(coverage::heard(&message));
                Input::Heard(attempt, message)
            }
            Letter::TornDown => Input::TornDown(attempt),
            Letter::CallRefused { call, why } => Input::Refused { attempt, call, why },
            _ => unreachable!("the master speaks to schedulers as to schedulers"),
        };
        self.takes(input, outside);
    }

    /// Its timer rings.
    pub fn wakes(&mut self, outside: &mut Outside) {
        if let Some(running) = &mut self.running {
            running.inbox.rings(outside);
            self.works(outside);
        }
    }

    /// The author's other code says something, or somebody asks the process to end.
    pub fn told(&mut self, input: Input<Poke>, outside: &mut Outside) {
        self.takes(input, outside);
    }

    /// Somebody sets its calendar.
    pub fn jumps(&mut self, ahead: i64) {
        self.ahead = ahead;
        if let Some(running) = &mut self.running {
            running.inbox.jump(ahead);
        }
    }

    /// The process is killed. What it was writing, all of one turn, is there as a whole or not at all.
    pub fn dies(&mut self, outside: &mut Outside) {
        let Some(running) = self.running.take() else { return };
        if let Some(outputs) = running.writing {
            let full = outside.disks.is_full(Node::Scheduler(self.index));
            match outside.random.chance(0.5) && !full {
                true => self.write(&outputs),
                false => outside.coverage.note("disk.scheduler's records lost"),
            }
        }
    }

    fn takes(&mut self, input: Input<Poke>, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Event(input));
        }
        let Some(running) = &mut self.running else { return };
        running.inbox.push(input);
        self.works(outside);
    }

    /// The process is no more. A supervisor starts it again after so long.
    fn stops(&mut self, wait: Duration, outside: &mut Outside) {
        let process = self.process();
        self.dies(outside);
        outside.process_gone(process, false);
        outside.agenda.enter(outside.now + wait, Happening::Restarts { node: process.node });
    }

    fn ends(&mut self, end: End, outside: &mut Outside) {
        // A supervisor starts it again, unless the framework is no more. It is not when another process took over: that
        // may have been a former life, whose subscription was late.
        let replaced = matches!(&end, End::Refused(why) if why.starts_with("Framework failed over"));
        if end == End::Stopped || replaced {
            let wait = outside.random.millis(500, 20_000);
            self.stops(wait, outside);
        } else {
            let process = self.process();
            self.dies(outside);
            outside.process_gone(process, false);
            self.over = Some(end);
        }
    }
}

impl Stoppable for SchedulerNode {
    type Event = Input<Poke>;

    const THAWS: &'static str = "scheduler thaws";

    fn process(&self) -> Process {
        Process { node: Node::Scheduler(self.index), life: self.life }
    }

    fn standstill(&mut self) -> Option<&mut Standstill<Input<Poke>>> {
        self.running.as_mut().map(|running| &mut running.standstill)
    }

    fn ticks_first_if_due(&mut self, outside: &mut Outside) {
        let Some(running) = &mut self.running else { return };
        let deadline = running.session.next_deadline();
        running.inbox.ticks_first_if_due(deadline, Input::Tick, outside);
    }

    fn takes_up(&mut self, held: Held<Input<Poke>>, outside: &mut Outside) {
        match held {
            Held::Opens(conn) => self.opens(conn, outside),
            Held::Break(conn) => self.breaks(conn, outside),
            Held::Letter(conn, letter) => self.receives(conn, letter, outside),
            Held::Event(input) => self.takes(input, outside),
            Held::Written => self.has_written(outside),
        }
    }

    fn works(&mut self, outside: &mut Outside) {
        let process = self.process();
        while let Some(running) = &mut self.running {
            if running.writing.is_some() || running.standstill.lasts() {
                return;
            }
            let deadline = running.session.next_deadline();
            let Some((now, input)) = running.inbox.next(deadline, Input::Tick, outside) else { return };
            if !matches!(input, Input::Heard(_, FromMaster::Heartbeat)) {
                outside.say(process, format_args!("<- {}", crate::text::input(&input)));
            }
            outside.coverage.note(coverage::input(&input));
            let mut outputs = Vec::new();
            running.session.apply(now, input, &mut outputs);
            outside.checks.violations(process, running.session.violations());
            let framework = self.framework().cloned();
            let life = self.life;
            if let Some(running) = &mut self.running {
                let seen = running.session.scheduler_mut().take_seen();
                for what in seen {
                    outside.say(process, format_args!("   author: {what}"));
                    outside.coverage.note(what.kind);
                    if let Some(status) = what.status {
                        outside.coverage.note(coverage::told(&status.state));
                        outside.checks.shown(self.index, life, framework.as_ref(), &status);
                    }
                }
                if let Some(services) = running.session.scheduler().author().services() {
                    outside.checks.services_wanted(self.index, &services.wishes(), services.has_answered());
                }
            }
            if matches!(self.craft, Craft::Crasher(_)) && outside.misfortune && outside.random.chance(DIES) {
                outside.say(process, format_args!("dies of it"));
                outside.coverage.note("a scheduler dies of its event");
                let wait = outside.random.millis(500, 10_000);
                return self.stops(wait, outside);
            }
            self.commit(outputs, outside);
        }
    }
}
