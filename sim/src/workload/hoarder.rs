//! Somebody who keeps offers, answers late or never, and acknowledges when it suits.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_sdk_core::{Acknowledgement, Calls, Event, Offer, Task};
use bourse_types::{Milli, Mono, Now, Size};
use bytes::Bytes;

use super::{Poke, Roster};
use crate::machine::Program;
use crate::random::Random;

/// How many tasks it launches in one life.
const TASKS_MAX: u64 = 12;

/// Keeps offers; when it only takes, it does nothing else.
#[derive(Debug)]
pub struct Hoarder {
    only_takes: bool,
    lets_go: bool,
    random: Random,
    held: Vec<Offer>,
    owed: Vec<Acknowledgement>,
    launched: u64,
    next: Mono,
    pub(super) roster: Roster,
}

impl Hoarder {
    /// As the driver kept it.
    pub fn new(only_takes: bool, memory: &BTreeMap<String, Bytes>, random: Random) -> Hoarder {
        let roster = Roster::remember(memory);
        let lets_go = memory.contains_key("lets go");
        Hoarder {
            only_takes,
            lets_go,
            random,
            held: Vec::new(),
            owed: Vec::new(),
            launched: 0,
            next: Mono::MAX,
            roster,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        Some(self.next).filter(|next| *next < Mono::MAX)
    }

    pub(super) fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        match event {
            Event::Offer(offer) if !self.lets_go => self.held.push(offer),
            Event::Message(Poke::LetGo) => {
                calls.save("lets go", Bytes::new());
                self.lets_go = true;
                self.held.clear();
            }
            // Sometimes it does not listen, and launches on what it does not have any more.
            Event::Rescinded(id) => {
                let listens = self.only_takes || self.random.chance(0.7);
                self.held.retain(|offer| *offer.id() != id || !listens);
            }
            Event::Disconnected if self.only_takes || self.random.chance(0.5) => self.held.clear(),
            Event::Update(status) => {
                self.roster.heard(&status, calls);
                if self.random.chance(0.3) {
                    self.owed.extend(calls.acknowledge_later());
                }
            }
            Event::Subscribed { .. } => self.later(now),
            Event::Deadline => {
                self.later(now);
                if !self.only_takes {
                    self.act(calls);
                }
            }
            _ => {}
        }
    }

    fn later(&mut self, now: Now) {
        self.next = now.mono + self.random.millis(500, 40_000);
    }

    fn act(&mut self, calls: &mut Calls) {
        self.owed.drain(..).for_each(|owed| calls.acknowledge(owed));
        if self.random.chance(0.2) {
            calls.reconcile();
        }
        if self.held.is_empty() || self.random.chance(0.3) {
            return;
        }
        let mut offer = self.held.remove(0);
        // Two offers of one agent are as good as one.
        if let Some(at) =
            self.held.iter().position(|other| other.agent() == offer.agent() && other.role() == offer.role())
            && offer.join(self.held.remove(at)).is_err()
        {
            unreachable!("both are of one agent and one role");
        }
        if self.launched < TASKS_MAX && self.random.chance(0.7) {
            let runs = Some(Duration::from_millis(self.random.between(100, 20_000)));
            let code = i32::from(self.random.chance(0.3));
            let program =
                Program { runs, code, stubborn: self.random.chance(0.2), sick: false, greedy: false };
            let task = Task::new(calls.task_id("whim"))
                .command(program.to_string())
                .cpus(Milli::new(self.random.between(100, 900)))
                .mem_mib(32);
            if let Ok(placed) = offer.launch(task) {
                self.launched += 1;
                self.roster.launched(&placed, "whim", calls);
                if self.random.chance(0.2) {
                    calls.kill(&placed.task);
                }
                calls.accept(offer);
                // Too early: the task does not run yet.
                if self.launched.is_multiple_of(2) {
                    calls.shrink(&placed.task, Size::of(placed.resources));
                }
                return;
            }
        }
        if self.random.chance(0.5) {
            calls.decline(offer, Duration::from_secs(1));
        }
    }
}
