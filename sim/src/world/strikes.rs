//! Faults, as they are carried out.

use bourse_sdk_core::Input;

use super::{Act, Happening, Node, Process, World};
use crate::cast;
use crate::coverage;
use crate::faults::Fault;

impl World {
    /// A calendar that is wrong, by up to an hour either way.
    pub(super) fn jump(&mut self) -> i64 {
        self.outside.random.between(0, 7_200_000) as i64 - 3_600_000
    }

    fn some_client(&mut self) -> Node {
        let clients = self.agents.len() + self.schedulers.len();
        match self.outside.random.below(clients) {
            index if index < self.agents.len() => Node::Agent(index),
            index => Node::Scheduler(index - self.agents.len()),
        }
    }

    fn comes_back(&mut self, node: Node) {
        // Mostly soon; sometimes after others have given up.
        let longest = if self.outside.random.chance(0.8) { 10_000 } else { 200_000 };
        let wait = self.outside.random.millis(100, longest);
        self.outside.agenda.enter(self.outside.now + wait, Happening::Restarts { node });
    }

    pub(super) fn strikes(&mut self) {
        if self.act != Act::One {
            return;
        }
        let (pause, fault) = self.faults.next(&mut self.outside.random);
        self.outside.agenda.enter(self.outside.now + pause, Happening::Strikes);
        let Some(fault) = fault else { return };
        let nobody = Process { node: Node::Master, life: 0 };
        self.outside.say(nobody, format_args!("FAULT {fault:?}"));
        self.outside.coverage.note(coverage::fault(&fault));
        let agent = self.outside.random.below(self.agents.len());
        let scheduler = self.outside.random.below(self.schedulers.len());
        let now = self.outside.now;
        match fault {
            Fault::MasterCrash => {
                let machine = self.outside.random.chance(0.3);
                self.kills(Node::Master, machine);
            }
            Fault::MasterFreeze => self.freezes_master(),
            Fault::MasterReplaced => self.replaces_master(),
            Fault::AgentCrash => self.kills(Node::Agent(agent), false),
            Fault::AgentReboot => self.kills(Node::Agent(agent), true),
            Fault::AgentStop => {
                let cap = self.outside.random.millis(0, 4_000);
                self.agents[agent].stops(cap, &mut self.outside);
            }
            Fault::AgentChanges => {
                self.agent_dies(agent, false);
                let info = cast::changed(self.agents[agent].info(), &mut self.outside.random);
                self.agents[agent].changes(info, &mut self.outside);
                self.comes_back(Node::Agent(agent));
            }
            Fault::SchedulerCrash => self.kills(Node::Scheduler(scheduler), false),
            Fault::SchedulerStop => self.schedulers[scheduler].told(Input::Stop, &mut self.outside),
            Fault::LinkBreak => {
                let client = self.some_client();
                self.outside.net.cut_connection(now, client, &mut self.outside.agenda);
            }
            Fault::Cut | Fault::CutOneWay => {
                let client = self.some_client();
                let up = fault == Fault::Cut || self.outside.random.chance(0.5);
                let down = fault == Fault::Cut || !up;
                self.outside.net.cut(now, client, up, down, &mut self.outside.agenda);
                let longest = if self.outside.random.chance(0.7) { 20_000 } else { 200_000 };
                let wait = self.outside.random.millis(1_000, longest);
                self.outside.agenda.enter(now + wait, Happening::Mends { node: client });
            }
            Fault::WallJump => {
                let ahead = self.jump();
                match self.outside.random.chance(0.5) {
                    true => self.agents[agent].jumps(ahead),
                    false => self.masters.values_mut().for_each(|master| master.jumps(ahead)),
                }
            }
            Fault::SlowDisk => {
                self.outside.slow_disks = true;
                let wait = self.outside.random.millis(1_000, 30_000);
                self.outside.agenda.enter(now + wait, Happening::DisksRecover);
            }
        }
    }

    /// Now, or in the middle of the next write: that is when most is half done.
    fn kills(&mut self, node: Node, machine: bool) {
        if self.outside.random.chance(0.5) {
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
        self.comes_back(node);
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
        self.comes_back(process.node);
    }

    fn freezes_master(&mut self) {
        let Some(process) = self.outside.answers else { return };
        if let Some(master) = self.masters.get_mut(&process.life) {
            master.freezes();
            let wait = self.outside.random.millis(500, 100_000);
            self.outside.agenda.enter(self.outside.now + wait, Happening::Thaws { process });
        }
    }

    fn replaces_master(&mut self) {
        let Some(old) = self.outside.answers.filter(|_| self.outside.replaced.is_none()) else { return };
        self.outside.replaced = Some(old);
        if self.outside.random.chance(0.3) {
            self.freezes_master();
        }
        let wait = self.outside.random.millis(2_000, 90_000);
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
