//! The time that the core is told.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bourse_types::{Mono, Now, Wall};

/// Reads both clocks of the machine; monotonic time counts from the clock's making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // A clock set before 1970 is as good as none.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { mono: Mono::from_nanos(mono), wall: Wall::from_millis(wall) }
    }

    /// The instant of a deadline that the core gave.
    pub fn instant(&self, deadline: Mono) -> Instant {
        self.start + std::time::Duration::from_nanos(deadline.as_nanos())
    }
}
