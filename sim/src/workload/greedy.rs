//! Somebody who takes every offer whole, for many small and short tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Offer, Task};
use bourse_types::{Milli, Mono, Now};
use bytes::Bytes;

use super::{Pause, Poke, Roster};
use crate::machine::Program;
use crate::random::Random;

/// How many tasks it has at a time.
const ALIVE_MAX: usize = 40;

/// How many it launches in one life.
const LAUNCHED_MAX: u64 = 120;

/// Fills what it is offered, until it is told to let go.
#[derive(Debug)]
pub struct Greedy {
    random: Random,
    lets_go: bool,
    launched: u64,
    pause: Pause,
    pub(super) roster: Roster,
}

impl Greedy {
    /// As the driver kept it.
    pub fn new(memory: &BTreeMap<String, Bytes>, random: Random) -> Greedy {
        Greedy {
            random,
            lets_go: memory.contains_key("lets go"),
            launched: 0,
            pause: Pause::default(),
            roster: Roster::remember(memory),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.pause.deadline()
    }

    pub(super) fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        match event {
            Event::Subscribed { .. } => self.asks(calls),
            Event::Deadline if self.pause.ends(now) => self.asks(calls),
            Event::Offer(offer) if self.pause.lasts() => calls.decline(offer, Duration::from_secs(5)),
            Event::Offer(offer) => self.offered(offer, calls),
            Event::Update(status) => {
                let paused = self.pause.begins(now, &status);
                let over = self.roster.heard(&status, calls).is_some();
                if over && !paused && self.roster.len() < ALIVE_MAX / 2 {
                    self.asks(calls);
                }
            }
            Event::Message(Poke::LetGo) => {
                calls.save("lets go", Bytes::new());
                self.lets_go = true;
                calls.suppress();
            }
            _ => {}
        }
    }

    fn is_done(&self) -> bool {
        self.lets_go || self.launched >= LAUNCHED_MAX
    }

    fn asks(&self, calls: &mut Calls) {
        match self.is_done() {
            true => calls.suppress(),
            false => calls.revive(),
        }
    }

    fn offered(&mut self, mut offer: Offer, calls: &mut Calls) {
        while !self.is_done() && self.roster.len() < ALIVE_MAX {
            let runs = Some(self.random.millis(1_000, 20_000));
            let program = Program { runs, code: 0, stubborn: false, sick: false, greedy: false };
            let task = Task::new(calls.task_id("bite"))
                .command(program.to_string())
                .cpus(Milli::new(50))
                .mem_mib(16);
            let Ok(placed) = offer.launch(task) else { break };
            self.launched += 1;
            self.roster.launched(&placed, "bite", calls);
        }
        match offer.tasks().is_empty() {
            false => calls.accept(offer),
            true if self.is_done() || self.roster.len() >= ALIVE_MAX => calls.suppress(),
            true => calls.decline(offer, Duration::from_secs(5)),
        }
    }
}
