//! Operators, who change things at the wrong moment.
//!
//! What a command is, is drawn from a source of its own, as with faults.

use std::time::Duration;

use bourse_master_core::Command;
use bourse_sdk_core::Input;
use bourse_types::{Milli, Role};

use super::{Act, Happening, World};
use crate::less::Part;
use crate::random::Random;
use crate::workload::{Poke, services};

/// Which kind of things commands are, for [`Random::nth`].
const COMMANDS: u64 = 2;

/// The same, for what people ask of a service framework.
const WISHES: u64 = 3;

impl World {
    pub(super) fn operates(&mut self) {
        if self.act != Act::One {
            return;
        }
        self.operated += 1;
        let random = &mut Random::nth(self.seed, COMMANDS, self.operated);
        let wait = random.millis(1_000, self.faults.operators_pause);
        self.outside.agenda.enter(self.outside.now + wait, Happening::Operates);
        if !self.less.lacks(Part::Operators) {
            let command = self.some_command(random);
            self.operate(command);
        }
    }

    pub(super) fn operate(&mut self, command: Option<Command>) {
        let Some(life) = self.outside.answers.map(|process| process.life) else { return };
        if let (Some(command), Some(master)) = (command, self.masters.get_mut(&life)) {
            master.operate(command, &mut self.outside);
        }
    }

    fn some_command(&mut self, random: &mut Random) -> Option<Command> {
        let ids: Vec<_> = self.agents.iter().filter_map(|agent| agent.core()?.id().cloned()).collect();
        let agent = random.pick(&ids).cloned();
        let expendable = self.schedulers.last().and_then(|scheduler| scheduler.framework()).cloned();
        match random.below(14) {
            0..=2 => {
                let scheduler = random.pick(&self.schedulers)?;
                let (framework, witness) = (scheduler.framework()?.clone(), scheduler.witness()?);
                let tasks: Vec<_> = witness.author().alive().into_keys().collect();
                Some(Command::Kill { framework, task: random.pick(&tasks)?.clone(), policy: None })
            }
            3 | 4 => {
                let deadline = if random.chance(0.2) { Duration::ZERO } else { random.millis(0, 40_000) };
                Some(Command::Drain { agent: agent?, deadline, mark_gone: random.chance(0.2) })
            }
            5 | 6 => Some(Command::Reactivate { agent: agent? }),
            7 => random.chance(0.4).then_some(Command::MarkGone { agent: agent? }),
            8 => {
                let role = Role::new(*random.pick(&["batch", "web", "web/eu"])?).expect("valid");
                Some(Command::SetWeight { role, weight: Milli::new(random.between(0, 5_000)) })
            }
            9 => {
                let tear_down = random.chance(0.4);
                expendable.filter(|_| tear_down).map(|framework| Command::Teardown { framework })
            }
            which => {
                let count = random.between(0, 5) as usize;
                let poke = if which == 10 { Poke::Scale(count) } else { Poke::Resize };
                let mut scalable = self.schedulers.iter_mut().filter(|scheduler| scheduler.is_scalable());
                if let Some(scheduler) = scalable.next() {
                    scheduler.told(Input::Message(poke), &mut self.outside);
                }
                None
            }
        }
    }

    /// Somebody asks something of a service framework, if there is one.
    pub(super) fn deploys(&mut self) {
        if self.act != Act::One {
            return;
        }
        self.deployed += 1;
        let random = &mut Random::nth(self.seed, WISHES, self.deployed);
        let mut known = self.schedulers.iter_mut().filter(|scheduler| scheduler.is_services());
        let Some(scheduler) = known.next() else { return };
        self.outside.agenda.enter(self.outside.now + services::pause(random), Happening::Deploys);
        let wish = services::some_wish(self.deployed, random);
        scheduler.told(Input::Message(wish), &mut self.outside);
    }
}
