//! Virtual time: what happens when, and what the clocks of a process show then.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_types::{Mono, Now, Wall};

/// The calendar at the beginning of every run: some day, the same for all.
const WALL_AT_START: u64 = 1_800_000_000_000;

/// What is going to happen, the first to come in front. Things of one instant happen in the order in which they were
/// entered.
#[derive(Debug)]
pub struct Agenda<T> {
    entries: BTreeMap<(Mono, u64), T>,
    entered: u64,
}

impl<T> Agenda<T> {
    /// Nothing is going to happen.
    pub fn new() -> Agenda<T> {
        Agenda { entries: BTreeMap::new(), entered: 0 }
    }

    /// Enters something, at this instant of the world's time.
    pub fn enter(&mut self, at: Mono, what: T) {
        self.entered += 1;
        self.entries.insert((at, self.entered), what);
    }

    /// Takes what comes next.
    pub fn next(&mut self) -> Option<(Mono, T)> {
        self.entries.pop_first().map(|((at, _), what)| (at, what))
    }
}

/// The clocks of one process. Each process counts from its own start, so that a point in time that was kept from one
/// life to the next is far off and shows; calendars may be wrong, and jump.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    started: Mono,
    /// How far the calendar is ahead of the true one, in milliseconds.
    ahead: i64,
}

impl Clocks {
    /// Of a process that starts now.
    pub fn start(world: Mono, ahead: i64) -> Clocks {
        Clocks { started: world, ahead }
    }

    /// What the process sees at this instant of the world.
    pub fn now(&self, world: Mono) -> Now {
        let true_wall = WALL_AT_START + world.as_nanos() / 1_000_000;
        Now {
            mono: Mono::ZERO + world.since(self.started),
            wall: Wall::from_millis(true_wall.saturating_add_signed(self.ahead)),
        }
    }

    /// The instant of the world when the process' clock shows this.
    pub fn world(&self, mono: Mono) -> Mono {
        self.started + Duration::from_nanos(mono.as_nanos())
    }

    /// Somebody sets the calendar.
    pub fn jump(&mut self, ahead: i64) {
        self.ahead = ahead;
    }
}
