//! Processes: a core each, with a shell as thin as the real one.
//!
//! A shell takes what waits for it, applies each to its core, writes what must survive, and only then carries out the
//! rest. While it writes, everything else waits; when it dies in between, what it wanted to say was never said.

pub mod agent;
pub mod master;
pub mod scheduler;
pub mod standstill;

use std::collections::VecDeque;

use bourse_types::{Mono, Now};

use crate::clock::Clocks;
use crate::world::{Happening, Outside, Process};

/// What waits for the core of a process that takes one event at a time, with the clocks that tell it the time.
#[derive(Debug)]
pub struct Inbox<E> {
    events: VecDeque<E>,
    clocks: Clocks,
    alarm: Alarm,
}

impl<E> Inbox<E> {
    /// Of a process that starts now.
    pub fn new(process: Process, clocks: Clocks) -> Inbox<E> {
        Inbox { events: VecDeque::new(), clocks, alarm: Alarm::new(process) }
    }

    /// Behind everything that waits already.
    pub fn push(&mut self, event: E) {
        self.events.push_back(event);
    }

    /// Before everything that waits already.
    pub fn push_first(&mut self, event: E) {
        self.events.push_front(event);
    }

    /// What the core gets next, and when: what came first, or else `tick` when its deadline has come. `None`: nothing
    /// before the deadline, at which the alarm rings.
    pub fn next(&mut self, deadline: Option<Mono>, tick: E, outside: &mut Outside) -> Option<(Now, E)> {
        let now = self.clocks.now(outside.now);
        if let Some(event) = self.events.pop_front() {
            return Some((now, event));
        }
        let deadline = deadline?;
        if deadline <= now.mono {
            return Some((now, tick));
        }
        self.alarm.set(self.clocks.world(deadline), outside);
        None
    }

    /// The process goes on after it stood still. Timer and sockets are ready at once, and a select takes them in any order:
    /// where the deadline has come, `tick` may be before everything that waits.
    pub fn ticks_first_if_due(&mut self, deadline: Option<Mono>, tick: E, outside: &mut Outside) {
        let due = deadline.is_some_and(|deadline| deadline <= self.clocks.now(outside.now).mono);
        if due && outside.random.chance(0.5) {
            self.push_first(tick);
        }
    }

    /// The alarm rings.
    pub fn rings(&mut self, outside: &Outside) {
        self.alarm.rings(outside.now);
    }

    /// Somebody sets the calendar.
    pub fn jump(&mut self, ahead: i64) {
        self.clocks.jump(ahead);
    }
}

/// The one timer of a process.
#[derive(Clone, Copy, Debug)]
pub struct Alarm {
    process: Process,
    set: Mono,
}

impl Alarm {
    /// Not set.
    pub fn new(process: Process) -> Alarm {
        Alarm { process, set: Mono::MAX }
    }

    /// Rings at this instant of the world's time, unless it rings sooner already. What is past rings in a moment.
    pub fn set(&mut self, at: Mono, outside: &mut Outside) {
        let at = at.max(outside.now + std::time::Duration::from_micros(1));
        if at < self.set {
            self.set = at;
            outside.agenda.enter(at, Happening::Wakes { process: self.process });
        }
    }

    /// It rings. A ring that was overtaken by an earlier one does no harm.
    pub fn rings(&mut self, now: Mono) {
        if self.set <= now {
            self.set = Mono::MAX;
        }
    }
}
