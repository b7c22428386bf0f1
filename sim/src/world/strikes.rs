//! Faults, as they are carried out.
//!
//! What a fault does is drawn from a source of its own, by its number: so the same fault strikes alike whatever the others
//! before it did.

use std::time::Duration;

use bourse_sdk_core::Input;

use super::{Act, Happening, Node, Process, World};
use crate::cast;
use crate::coverage;
use crate::disk::Room;
use crate::faults::Fault;
use crate::less::Part;
use crate::nodes::standstill::Stoppable;
use crate::random::Random;

/// Which kind of things faults are, for [`Random::nth`].
const FAULTS: u64 = 1;

/// A calendar that is wrong, by up to an hour either way, in milliseconds.
pub(super) fn jump(random: &mut Random) -> i64 {
    random.between(0, 7_200_000) as i64 - 3_600_000
}

impl World {
    fn some_client(&self, random: &mut Random) -> Node {
        match random.below(self.agents.len() + self.schedulers.len()) {
            index if index < self.agents.len() => Node::Agent(index),
            index => Node::Scheduler(index - self.agents.len()),
        }
    }

    fn comes_back(&mut self, node: Node, random: &mut Random) {
        // Mostly soon; sometimes after others have given up.
        let longest = if random.chance(0.8) { 10_000 } else { 200_000 };
        let wait = random.millis(100, longest);
        self.outside.agenda.enter(self.outside.now + wait, Happening::Restarts { node });
    }

    pub(super) fn strikes(&mut self) {
        if self.act != Act::One {
            return;
        }
        self.struck += 1;
        let random = &mut Random::nth(self.seed, FAULTS, self.struck);
        let (pause, fault) = self.faults.next(random);
        self.outside.agenda.enter(self.outside.now + pause, Happening::Strikes);
        let Some(fault) = fault else { return };
        if self.less.strikes.contains(&self.struck) || self.less.lacks(Part::Fault(fault)) {
            return;
        }
        self.strikes.insert(self.struck, fault);
        let nobody = Process { node: Node::Master, life: 0 };
        self.outside.say(nobody, format_args!("FAULT {} {fault:?}", self.struck));
        self.outside.coverage.note(coverage::fault(&fault));
        let agent = random.below(self.agents.len());
        let scheduler = random.below(self.schedulers.len());
        match fault {
            Fault::MasterCrash => {
                let machine = random.chance(0.3);
                self.kills(Node::Master, machine, random);
            }
            Fault::MasterFreeze => self.freezes_master(random),
            Fault::MasterReplaced => self.replaces_master(random),
            Fault::AgentCrash => self.kills(Node::Agent(agent), false, random),
            Fault::AgentReboot => self.kills(Node::Agent(agent), true, random),
            Fault::AgentStop => {
                let cap = random.millis(0, 4_000);
                self.agents[agent].stops(cap, &mut self.outside);
            }
            Fault::AgentChanges => {
                self.agent_dies(agent, false);
                let info = cast::changed(self.agents[agent].info(), random);
                self.agents[agent].changes(info, &mut self.outside);
                self.comes_back(Node::Agent(agent), random);
            }
            Fault::SchedulerCrash => self.kills(Node::Scheduler(scheduler), false, random),
            Fault::SchedulerStop => self.schedulers[scheduler].told(Input::Stop, &mut self.outside),
            Fault::AgentFreeze => {
                let frozen = self.agents[agent].freezes();
                self.thaws_later(frozen, random);
            }
            Fault::SchedulerFreeze => {
                let frozen = self.schedulers[scheduler].freezes();
                self.thaws_later(frozen, random);
            }
            Fault::LinkBreak => {
                let client = self.some_client(random);
                self.outside.net.cut_connection(self.outside.now, client, &mut self.outside.agenda);
            }
            Fault::Cut => {
                let client = self.some_client(random);
                let lasts = cut_for(random);
                self.cuts(client, (true, true), lasts);
            }
            Fault::CutOneWay => {
                let client = self.some_client(random);
                let up = random.chance(0.5);
                let lasts = cut_for(random);
                self.cuts(client, (up, !up), lasts);
            }
            Fault::CutLong => {
                let client = self.some_client(random);
                let lasts = random.millis(11 * 60_000, 25 * 60_000);
                self.cuts(client, (true, true), lasts);
            }
            Fault::CutAll => {
                let lasts = cut_for(random);
                self.clients().into_iter().for_each(|client| self.cuts(client, (true, true), lasts));
            }
            Fault::CutHalf => {
                let lasts = cut_for(random);
                let half: Vec<Node> = self.clients().into_iter().filter(|_| random.chance(0.5)).collect();
                half.into_iter().for_each(|client| self.cuts(client, (true, true), lasts));
            }
            Fault::WallJump => {
                let ahead = jump(random);
                match random.below(3) {
                    0 => self.agents[agent].jumps(ahead),
                    1 => self.schedulers[scheduler].jumps(ahead),
                    _ => self.masters.values_mut().for_each(|master| master.jumps(ahead)),
                }
            }
            Fault::SlowDisk => {
                let all = random.chance(0.3);
                let slow = if all { self.nodes() } else { vec![some_disk(agent, scheduler, random)] };
                let until = self.outside.now + random.millis(1_000, 30_000);
                for node in slow {
                    self.outside.disks.slows(node);
                    self.outside.agenda.enter(until, Happening::DiskRecovers { node });
                }
            }
            Fault::DiskLow => self.fills(Node::Agent(agent), Room::Low, random),
            Fault::DiskFull => {
                let node = some_disk(agent, scheduler, random);
                self.fills(node, Room::Full, random);
            }
        }
    }

    /// Everybody who speaks with the master.
    fn clients(&self) -> Vec<Node> {
        let others = self.nodes().into_iter().filter(|node| *node != Node::Master);
        others.chain([Node::Vandal]).collect()
    }

    fn cuts(&mut self, client: Node, ways: (bool, bool), lasts: Duration) {
        let now = self.outside.now;
        self.outside.net.cut(now, client, ways, now + lasts, &mut self.outside.agenda);
        self.outside.agenda.enter(now + lasts, Happening::Mends { node: client });
    }

    fn fills(&mut self, node: Node, room: Room, random: &mut Random) {
        self.outside.disks.fills(node, room);
        let until = self.outside.now + random.millis(1_000, 120_000);
        self.outside.agenda.enter(until, Happening::RoomAgain { node });
    }

    fn thaws_later(&mut self, process: Option<Process>, random: &mut Random) {
        let Some(process) = process else { return };
        let until = self.outside.now + random.millis(500, 100_000);
        self.outside.agenda.enter(until, Happening::Thaws { process });
    }

    /// Now, or in the middle of the next write: that is when most is half done.
    fn kills(&mut self, node: Node, machine: bool, random: &mut Random) {
        if random.chance(0.5) {
            self.outside.doomed = Some((node, machine));
            return;
        }
        match node {
            Node::Master => {
                if let Some(process) = self.outside.answers {
                    self.ends_master(process.life, machine);
                }
            }
            Node::Agent(index) => self.agent_dies(index, machine),
            Node::Scheduler(index) => self.scheduler_dies(index),
            Node::Vandal => {}
        }
        self.comes_back(node, random);
    }

    /// A process dies in the middle of a write, if it is still there.
    pub(super) fn dies(&mut self, process: Process, machine: bool) {
        match process.node {
            _ if self.act != Act::One => return,
            Node::Master => self.ends_master(process.life, machine),
            Node::Agent(index) if self.agents[index].life() == process.life => {
                self.agent_dies(index, machine)
            }
            Node::Scheduler(index) if self.schedulers[index].life() == process.life => {
                self.scheduler_dies(index)
            }
            Node::Agent(_) | Node::Scheduler(_) | Node::Vandal => return,
        }
        let mut random = self.outside.random.fork();
        self.comes_back(process.node, &mut random);
    }

    fn freezes_master(&mut self, random: &mut Random) {
        let Some(process) = self.outside.answers else { return };
        if let Some(master) = self.masters.get_mut(&process.life) {
            master.freezes();
            self.thaws_later(Some(process), random);
        }
    }

    fn replaces_master(&mut self, random: &mut Random) {
        let Some(old) = self.outside.answers.filter(|_| self.outside.replaced.is_none()) else { return };
        if self.outside.disks.is_full(Node::Master) {
            return; // Nobody can take over.
        }
        self.outside.replaced = Some(old);
        if random.chance(0.3) {
            self.freezes_master(random);
        }
        let wait = random.millis(2_000, 90_000);
        self.outside.agenda.enter(self.outside.now + wait, Happening::Ends { process: old });
        self.starts_master();
    }

    pub(super) fn agent_dies(&mut self, index: usize, machine: bool) {
        let process = Process { node: Node::Agent(index), life: self.agents[index].life() };
        match machine {
            true => self.agents[index].reboots(&mut self.outside),
            false => self.agents[index].dies(&mut self.outside),
        }
        self.outside.process_gone(process, machine);
    }

    fn scheduler_dies(&mut self, index: usize) {
        let process = Process { node: Node::Scheduler(index), life: self.schedulers[index].life() };
        self.schedulers[index].dies(&mut self.outside);
        self.outside.process_gone(process, false);
    }
}

/// How long somebody is cut off: mostly not for long enough that others give up.
fn cut_for(random: &mut Random) -> Duration {
    let longest = if random.chance(0.7) { 20_000 } else { 200_000 };
    random.millis(1_000, longest)
}

fn some_disk(agent: usize, scheduler: usize, random: &mut Random) -> Node {
    match random.below(4) {
        0 => Node::Master,
        1 | 2 => Node::Agent(agent),
        _ => Node::Scheduler(scheduler),
    }
}
