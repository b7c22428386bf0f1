//! The clocks, read in one place and told to the core.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bourse_types::{Mono, Now, Wall};
use tokio::time::Instant;

/// Reads the clocks of this process. All copies count from the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Its monotonic time starts now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// What the clocks say.
    pub fn now(self) -> Now {
        // Tokio's clock, so that a deadline and the sleep for it are of one kind.
        let mono = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono: Mono(mono), wall: Wall(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)) }
    }

    /// Sleeps until then; for ever without a deadline.
    pub async fn sleep_until(self, deadline: Option<Mono>) {
        match deadline.and_then(|deadline| self.start.checked_add(Duration::from_nanos(deadline.as_nanos())))
        {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }
}
