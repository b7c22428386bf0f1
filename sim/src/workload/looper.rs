//! Somebody whose task is broken, and who starts it again and again, a little later each time.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_sdk_core::{Calls, Event, Offer, Task};
use bourse_types::{Milli, Mono, Now};
use bytes::Bytes;

use super::{Poke, Roster};
use crate::machine::Program;

/// The first and the longest wait.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// One task that exits with 1 at once.
#[derive(Debug)]
pub struct Looper {
    /// How long it waits after the next end.
    wait: Duration,
    /// Until when it wants no offers.
    until: Option<Mono>,
    pub(super) roster: Roster,
}

impl Looper {
    /// As the driver kept it.
    pub fn new(memory: &BTreeMap<String, Bytes>) -> Looper {
        Looper { wait: FIRST, until: None, roster: Roster::remember(memory) }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.until
    }

    pub(super) fn on(&mut self, now: Now, event: Event<Poke>, calls: &mut Calls) {
        match event {
            Event::Subscribed { .. } if self.until.is_none() => calls.revive(),
            Event::Deadline if self.until.take_if(|until| *until <= now.mono).is_some() => calls.revive(),
            Event::Offer(offer) => self.offered(now, offer, calls),
            Event::Update(status) if self.roster.heard(&status, calls).is_some() => {
                self.until = Some(now.mono + self.wait);
                self.wait = (self.wait * 2).min(LONGEST);
            }
            _ => {}
        }
    }

    fn offered(&mut self, now: Now, mut offer: Offer, calls: &mut Calls) {
        if self.until.is_none() && self.roster.len() == 0 {
            let runs = Some(Duration::from_millis(20));
            let program = Program { runs, code: 1, stubborn: false, sick: false, greedy: false };
            let task = Task::new(calls.task_id("broken"))
                .command(program.to_string())
                .cpus(Milli::new(100))
                .mem_mib(32);
            match offer.launch(task) {
                Ok(placed) => {
                    self.roster.launched(&placed, "broken", calls);
                    calls.accept(offer);
                }
                // An offer that is let go is declined.
                Err(_) => self.until = Some(now.mono + FIRST),
            }
        }
        calls.suppress();
    }
}
