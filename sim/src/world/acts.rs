//! Act two: everything is mended, and looked at until all is as it has to be; then somebody takes every offer.

use std::time::Duration;

use bourse_master_core::Command;
use bourse_sdk_core::Input;

use super::{Act, Happening, Node, Process, World};
use crate::cast;
use crate::convergence;
use crate::nodes::scheduler::SchedulerNode;
use crate::nodes::standstill::Stoppable;
use crate::workload::{Craft, Poke, services};

/// Act two must be over after so long: an agent's longest retry (10 min), twice the SDK's own reconciliation (15 min
/// each), and some room.
const CONVERGENCE: Duration = Duration::from_secs(45 * 60);

/// What nobody holds must be offered within so long after that: longer than an offer may go unanswered, and than the
/// longest refusal that is left of act one (the SDK's 5 min).
const OFFERED_AGAIN: Duration = Duration::from_secs(8 * 60);

/// How often it is looked whether act two is over.
const LOOK: Duration = Duration::from_secs(5);

impl World {
    /// The faults stop, and everybody who is down is started.
    pub(super) fn heals(&mut self) {
        let nobody = Process { node: Node::Master, life: 0 };
        self.outside.say(nobody, format_args!("ACT TWO"));
        self.act = Act::Two { until: self.outside.now + CONVERGENCE };
        self.outside.net.heal();
        self.outside.misfortune = false;
        self.outside.disks.heal();
        let answers = self.outside.answers.map(|process| process.life);
        let others: Vec<u64> = self.masters.keys().copied().filter(|life| Some(*life) != answers).collect();
        others.into_iter().for_each(|life| self.ends_master(life, false));
        answers.into_iter().for_each(|life| self.thaws(Process { node: Node::Master, life }));
        self.agents.iter_mut().for_each(|agent| agent.thaws(&mut self.outside));
        self.schedulers.iter_mut().for_each(|scheduler| scheduler.thaws(&mut self.outside));
        if self.agents.len() > 2 && self.outside.random.chance(0.15) {
            self.agent_dies(0, true);
            self.dead = Some(0);
        }
        let nodes = self.nodes();
        nodes.into_iter().for_each(|node| self.restarts(node));
        if self.outside.random.chance(0.3)
            && let Some(last) = self.schedulers.last_mut()
        {
            last.told(Input::Teardown, &mut self.outside);
        }
        for scheduler in &mut self.schedulers {
            if scheduler.is_in_the_way() {
                scheduler.told(Input::Message(Poke::LetGo), &mut self.outside);
            }
            if scheduler.is_services() {
                services::in_the_end()
                    .for_each(|wish| scheduler.told(Input::Message(wish), &mut self.outside));
            }
        }
        self.vandal.leaves();
        self.outside.agenda.enter(self.outside.now + LOOK, Happening::Looks);
    }

    pub(super) fn looks(&mut self) {
        self.outside.agenda.enter(self.outside.now + LOOK, Happening::Looks);
        let now = self.outside.now;
        match self.act {
            Act::One | Act::Over => {}
            Act::Two { until } => {
                self.tidies();
                let lacking = convergence::lacking(self);
                if lacking.is_empty() {
                    if self.dead.is_some() {
                        self.outside.coverage.note("converged with an agent that never came back");
                    }
                    let wrong = convergence::accounts(self);
                    wrong.into_iter().for_each(|wrong| self.outside.checks.broken(wrong));
                    if let Some(known) = self.master().map(|master| master.view(&self.outside).snapshot()) {
                        self.outside.checks.master_ends(&known);
                    }
                    self.begins_to_take();
                } else if until <= now {
                    for what in lacking {
                        self.outside.checks.broken(format!("not converged: {what}"));
                    }
                }
            }
            Act::Taking { until } => {
                let idle = convergence::idle(self);
                if idle.is_empty() {
                    self.act = Act::Over;
                } else if until <= now {
                    idle.into_iter().for_each(|what| self.outside.checks.broken(what));
                }
            }
        }
    }

    /// What an operator does in the end: ends drains, gives up what never comes back, starts what was refused.
    pub(super) fn tidies(&mut self) {
        let Some(master) = self.master() else { return };
        let view = master.view(&self.outside);
        let own: Vec<_> = self
            .agents
            .iter()
            .enumerate()
            .filter(|(index, _)| self.dead != Some(*index))
            .filter_map(|(_, agent)| agent.core()?.id().cloned())
            .collect();
        let mut commands = Vec::new();
        for agent in view.agents() {
            if !own.contains(&agent.id) {
                // A former life of a machine that joined anew, or the machine that is dead.
                commands.push(Command::MarkGone { agent: agent.id.clone() });
            } else if agent.drain.is_some() {
                commands.push(Command::Reactivate { agent: agent.id.clone() });
            }
        }
        for command in commands {
            self.operate(Some(command));
        }
        for index in 0..self.schedulers.len() {
            self.schedulers[index].start(&mut self.outside);
        }
    }

    pub(super) fn begins_to_take(&mut self) {
        let mut info = cast::info("taker", &["*", "batch", "web"]);
        info.capabilities.partition_aware = true;
        let taker = SchedulerNode::new(self.schedulers.len(), Craft::Taker, info);
        self.schedulers.push(taker);
        self.restarts(Node::Scheduler(self.schedulers.len() - 1));
        self.act = Act::Taking { until: self.outside.now + OFFERED_AGAIN };
    }
}
