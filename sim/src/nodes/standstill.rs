//! Clients of the master that stand still for a while, as by SIGSTOP, and go on as if nothing had been.

use crate::letter::Letter;
use crate::net::ConnId;
use crate::plant::Plant;
use crate::world::{Outside, Process};

/// What came while a process stood still: in its sockets, from its disk, and of whatever else speaks to it.
#[derive(Debug)]
pub enum Held<E> {
    /// A connection that it dialled is open.
    Opens(ConnId),
    /// A connection is gone, or could not be opened.
    Break(ConnId),
    /// A letter.
    Letter(ConnId, Letter),
    /// Something for its core.
    Event(E),
    /// Its write is over.
    Written,
}

/// Whether a process stands still, and what waits for it then.
#[derive(Debug)]
pub struct Standstill<E>(Option<Vec<Held<E>>>);

impl<E> Standstill<E> {
    /// It goes on.
    pub fn none() -> Standstill<E> {
        Standstill(None)
    }

    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        self.0.is_some()
    }
}

/// A process that may stand still.
pub trait Stoppable {
    /// What its core takes.
    type Event;

    /// What a run that saw one go on has reached.
    const THAWS: &'static str;

    /// Which one it is.
    fn process(&self) -> Process;

    /// Whether it stands still. `None`: it does not run.
    fn standstill(&mut self) -> Option<&mut Standstill<Self::Event>>;

    /// Its timer rings before it takes up anything else, if it is due.
    fn ticks_first_if_due(&mut self, outside: &mut Outside);

    /// Something that waited reaches it.
    fn takes_up(&mut self, held: Held<Self::Event>, outside: &mut Outside);

    /// It does what it can.
    fn works(&mut self, outside: &mut Outside);

    /// What waits for it, while it stands still.
    fn held(&mut self) -> Option<&mut Vec<Held<Self::Event>>> {
        self.standstill()?.0.as_mut()
    }

    /// It is stopped; what comes waits. `None`: it does not run.
    fn freezes(&mut self) -> Option<Process> {
        self.standstill()?.0.get_or_insert_default();
        Some(self.process())
    }

    /// It goes on. A repeat changes nothing.
    fn thaws(&mut self, outside: &mut Outside) {
        let Some(held) = self.standstill().and_then(|standstill| standstill.0.take()) else { return };
        outside.coverage.note(Self::THAWS);
        self.ticks_first_if_due(outside);
        for held in held {
            let lost = matches!(held, Held::Letter(..)) && outside.garden.has(Plant::ThawsDeaf);
            if !lost {
                self.takes_up(held, outside);
            }
        }
        self.works(outside);
    }
}
