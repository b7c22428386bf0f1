//! A pause after a launch that came to nothing: what an agent does not take is offered again within milliseconds, and an
//! author who launched on it at once would do nothing else.

use std::time::Duration;

use bourse_types::{Mono, Now, TaskState, TaskStatus};

/// How long an author waits who was told that a launch was dropped.
const LASTS: Duration = Duration::from_secs(5);

/// Until when nothing is launched, if so.
#[derive(Debug, Default)]
pub struct Pause(Option<Mono>);

impl Pause {
    /// It begins with a launch that was dropped. Whether this was one.
    pub fn begins(&mut self, now: Now, status: &TaskStatus) -> bool {
        let dropped = status.state == TaskState::Dropped;
        if dropped {
            self.0 = Some(now.mono + LASTS);
        }
        dropped
    }

    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        self.0.is_some()
    }

    /// When it is over, if it lasts.
    pub fn deadline(&self) -> Option<Mono> {
        self.0
    }

    /// It is over if its time has come. Whether it is over now and was not before.
    pub fn ends(&mut self, now: Now) -> bool {
        self.0.take_if(|until| *until <= now.mono).is_some()
    }
}
