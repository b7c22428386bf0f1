//! Processes: a core each, with a shell as thin as the real one.
//!
//! A shell takes what waits for it, applies each to its core, writes what must survive, and only then carries out the
//! rest. While it writes, everything else waits; when it dies in between, what it wanted to say was never said.

pub mod agent;
pub mod master;
pub mod scheduler;

use bourse_types::Mono;

use crate::world::{Happening, Outside, Process};

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
