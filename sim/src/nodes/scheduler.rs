//! A scheduler's process: an author's code in a session of the SDK, with the driver's disk.

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
use crate::plant::Plant;
use crate::vintage::Vintage;
use crate::workload::{Author, Craft, Poke, Witness};
use crate::world::{Happening, Node, Outside, Process};

/// What the driver keeps.
#[derive(Clone, Debug)]
enum Kept {
    Framework(FrameworkId),
    Write(Write),
}

/// What came while the process stood still: in its sockets, from its disk and of the author's other code.
enum Held {
    Opens(ConnId),
    Break(ConnId),
    Letter(ConnId, Letter),
    Input(Input<Poke>),
    Written,
}

struct Running {
    session: Session<Witness>,
    vintage: Vintage,
    attempts: BTreeMap<ConnId, Attempt>,
    /// What a connection says first, once it is open.
    opening: BTreeMap<ConnId, Letter>,
    inbox: Inbox<Input<Poke>>,
    /// It is stopped, as by SIGSTOP, and this waits.
    frozen: Option<Vec<Held>>,
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

    fn process(&self) -> Process {
        Process { node: Node::Scheduler(self.index), life: self.life }
    }

    /// Which life it is in.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// How the framework ended, if it did.
    pub fn over(&self) -> Option<&End> {
        self.over.as_ref()
    }

    /// Whether it keeps offers for long.
    pub fn is_hoarder(&self) -> bool {
        matches!(self.craft, Craft::Hoarder)
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
        let author = Author::start(&self.craft, &memory, outside.random.fork());
        let mut config = Config::new(&self.info.name, outside.random.bits());
        config.info = FrameworkInfo { id: self.framework().cloned(), ..self.info.clone() };
        config.tasks = author.known_tasks();
        let vintage = Vintage::draw(&mut outside.random);
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
            frozen: None,
            writing: None,
            decided: self.disk.written() as u64,
        });
        self.takes(Input::Start, outside);
    }

    /// A connection that it dialled is open.
    pub fn opens(&mut self, conn: ConnId, outside: &mut Outside) {
        if let Some(held) = self.frozen() {
            return held.push(Held::Opens(conn));
        }
        let letter = self.running.as_mut().and_then(|running| running.opening.remove(&conn));
        if let Some(letter) = letter {
            outside.send(conn, Side::Client, letter);
        }
    }

    /// A connection is gone, or could not be opened.
    pub fn breaks(&mut self, conn: ConnId, outside: &mut Outside) {
        if let Some(held) = self.frozen() {
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
        if let Some(held) = self.frozen() {
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

    /// It is stopped, as by SIGSTOP; what comes waits. `None`: it does not run.
    pub fn freezes(&mut self) -> Option<Process> {
        self.running.as_mut()?.frozen.get_or_insert_default();
        Some(self.process())
    }

    /// It goes on as if nothing had been.
    pub fn thaws(&mut self, outside: &mut Outside) {
        let Some(running) = &mut self.running else { return };
        let Some(held) = running.frozen.take() else { return };
        outside.coverage.note("scheduler thaws");
        // Timer and sockets are ready at once, and a select takes them in any order.
        if running.inbox.is_due(running.session.next_deadline(), outside) && outside.random.chance(0.5) {
            running.inbox.push_first(Input::Tick);
        }
        for held in held {
            match held {
                Held::Opens(conn) => self.opens(conn, outside),
                Held::Break(conn) => self.breaks(conn, outside),
                Held::Letter(conn, letter) => self.receives(conn, letter, outside),
                Held::Input(input) => self.takes(input, outside),
                Held::Written => self.has_written(outside),
            }
        }
        self.works(outside);
    }

    fn frozen(&mut self) -> Option<&mut Vec<Held>> {
        self.running.as_mut()?.frozen.as_mut()
    }

    /// Somebody sets its calendar.
    pub fn jumps(&mut self, ahead: i64) {
        self.ahead = ahead;
        if let Some(running) = &mut self.running {
            running.inbox.jump(ahead);
        }
    }

    /// The write is over. On a full disk it has failed, and the process ends with nothing said: a supervisor starts it
    /// until there is room.
    pub fn has_written(&mut self, outside: &mut Outside) {
        if let Some(held) = self.frozen() {
            return held.push(Held::Written);
        }
        let process = self.process();
        let Some(outputs) = self.running.as_mut().and_then(|running| running.writing.take()) else { return };
        if outside.disks.is_full(process.node) {
            outside.coverage.note("disk.scheduler's write refused");
            return self.stops(outside.random.millis(1_000, 5_000), outside);
        }
        self.write(&outputs);
        self.carry_out(outputs, outside);
        self.works(outside);
    }

    /// The process is killed. What it was writing may be there, from the front.
    pub fn dies(&mut self, outside: &mut Outside) {
        let Some(running) = self.running.take() else { return };
        if let Some(outputs) = running.writing {
            let full = outside.disks.is_full(Node::Scheduler(self.index));
            let most = if full { 0 } else { outputs.len() as u64 };
            let kept = outside.random.between(0, most) as usize;
            if kept < outputs.len() {
                outside.coverage.note("disk.scheduler's records lost");
            }
            self.write(&outputs[..kept]);
        }
    }

    fn write(&mut self, outputs: &[(u64, Output)]) {
        for (_, output) in outputs {
            match output {
                Output::Persist(id) => self.disk.write(Kept::Framework(id.clone())),
                Output::Write(write) => self.disk.write(Kept::Write(write.clone())),
                _ => {}
            }
        }
        self.disk.sync();
    }

    fn takes(&mut self, input: Input<Poke>, outside: &mut Outside) {
        let Some(running) = &mut self.running else { return };
        if let Some(held) = &mut running.frozen {
            return held.push(Held::Input(input));
        }
        running.inbox.push(input);
        self.works(outside);
    }

    fn works(&mut self, outside: &mut Outside) {
        let process = self.process();
        while let Some(running) = &mut self.running {
            if running.writing.is_some() || running.frozen.is_some() {
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
            }
            self.commit(outputs, outside);
        }
    }

    /// What must be durable first; the rest when it is.
    fn commit(&mut self, outputs: Vec<Output>, outside: &mut Outside) {
        let process = self.process();
        let Some(running) = &mut self.running else { return };
        let mut tagged = Vec::new();
        let before = running.decided;
        for output in outputs {
            outside.say(process, format_args!("-> {output}"));
            outside.coverage.note(coverage::output(&output));
            if is_record(&output) {
                running.decided += 1;
            }
            tagged.push((running.decided, output));
        }
        if running.decided == before {
            return self.carry_out(tagged, outside);
        }
        if outside.garden.grows(Plant::AcknowledgedBeforeDurable) {
            let (writes, calls) = tagged.into_iter().partition(|(_, output)| is_record(output));
            self.carry_out(calls, outside);
            tagged = writes;
        }
        let takes: Duration = outside.sync_time(process.node);
        if let Some(running) = &mut self.running {
            running.writing = Some(tagged);
            outside.begins_to_write(process, takes);
        }
    }

    fn carry_out(&mut self, outputs: Vec<(u64, Output)>, outside: &mut Outside) {
        let process = self.process();
        let written = self.disk.written() as u64;
        for (after, output) in outputs {
            let Some(running) = &mut self.running else { return };
            match output {
                Output::Subscribe { attempt, info, suppressed } => {
                    let conn = outside.dial(process);
                    running.attempts.insert(conn, attempt);
                    running.opening.insert(conn, Letter::Subscribe { info, suppressed });
                }
                Output::Unsubscribe(attempt) => {
                    if let Some(conn) = conn_of(running, attempt) {
                        outside.net.close(outside.now, conn, Side::Client, &mut outside.agenda);
                    }
                }
                Output::Call(call) => {
                    outside.checks.spoke(process, after, written);
                    let newest = running.attempts.keys().next_back().copied();
                    if let Some(conn) = newest {
                        let letter = running.vintage.says(Letter::Call(call));
                        outside.send(conn, Side::Client, letter);
                    }
                }
                Output::Persist(_) | Output::Write(_) | Output::Note(_) => {}
                Output::End(end) => return self.ends(end, outside),
            }
        }
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

fn is_record(output: &Output) -> bool {
    matches!(output, Output::Persist(_) | Output::Write(_))
}

fn conn_of(running: &Running, attempt: Attempt) -> Option<ConnId> {
    running.attempts.iter().find(|(_, known)| **known == attempt).map(|(conn, _)| *conn)
}
