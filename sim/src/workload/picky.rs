//! Somebody who likes few machines, and says no for long to all others.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Offer, Task};
use bourse_types::{AttributeValue, Milli, Mono, Now, TaskState};
use bytes::Bytes;

use super::{Pause, Poke, Roster};
use crate::machine::Program;
use crate::random::Random;

/// How many tasks it wants.
const WANTED: usize = 2;

/// Wants two tasks on one rack, each on a machine with two processors to spare, or none.
#[derive(Debug)]
pub struct Picky {
    random: Random,
    pause: Pause,
    pub(super) roster: Roster,
}

impl Picky {
    /// As the driver kept it.
    pub fn new(memory: &BTreeMap<String, Bytes>, random: Random) -> Picky {
        Picky { random, pause: Pause::default(), roster: Roster::remember(memory) }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.pause.deadline()
    }

    pub(super) fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        match event {
            Event::Subscribed { .. } => self.asks(calls),
            Event::Deadline if self.pause.ends(now) => self.asks(calls),
            Event::Offer(offer) => self.offered(offer, calls),
            Event::Update(status) => {
                let paused = self.pause.begins(now, &status);
                // What it said no to it rarely looks at again.
                if self.roster.heard(&status, calls).is_some() && !paused && self.random.chance(0.5) {
                    self.asks(calls);
                }
            }
            _ => {}
        }
    }

    fn asks(&self, calls: &mut Calls) {
        match self.is_content() {
            true => calls.suppress(),
            false => calls.revive(),
        }
    }

    fn is_content(&self) -> bool {
        let there = self.roster.iter().filter(|(_, member)| member.state != Some(TaskState::Unreachable));
        there.count() >= WANTED
    }

    fn offered(&mut self, mut offer: Offer, calls: &mut Calls) {
        let right = offer.attributes().get("rack") == Some(&AttributeValue::text("r1"));
        if !right || offer.left().cpus() < Milli::whole(2) || self.is_content() || self.pause.lasts() {
            let refuse = self.random.millis(60_000, 600_000);
            return calls.decline(offer, refuse);
        }
        let runs = self.random.chance(0.5).then(|| Duration::from_secs(self.random.between(10, 200)));
        let program = Program { runs, code: 0, stubborn: false, sick: false, greedy: false };
        let task =
            Task::new(calls.task_id("choice")).command(program.to_string()).cpus(Milli::new(100)).mem_mib(32);
        if let Ok(placed) = offer.launch(task) {
            self.roster.launched(&placed, "choice", calls);
        }
        calls.accept(offer);
        if self.is_content() {
            calls.suppress();
        }
    }
}
