//! Which parts of a dev cluster are started again, and when: a value, told the time.
//!
//! A part that ends by itself is started again, the first time soon, then later and later as long as it keeps ending. One
//! that ran for a while begins anew. Nothing here gives up: whoever watches sees each line, and ends it with Ctrl-C.

use std::time::Duration;

/// The first wait: long enough to see that the part is gone.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest wait. It doubles from the first up to this.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A part that ran for so long was well: its next wait is the first one.
pub const STEADY: Duration = Duration::from_secs(60);

/// The parts of a cluster that has been ready once, by their index. Moments are durations since any one beginning.
#[derive(Debug)]
pub struct Restarts {
    parts: Vec<Past>,
}

/// What has been with one part.
#[derive(Clone, Copy, Debug)]
struct Past {
    life: Life,
    /// How long to wait after its next end.
    next_wait: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Life {
    Runs { since: Duration },
    Waits { until: Duration },
}

impl Restarts {
    /// A number of parts, all of which run from the beginning on.
    pub fn new(parts: usize) -> Restarts {
        let past = Past { life: Life::Runs { since: Duration::ZERO }, next_wait: FIRST };
        Restarts { parts: vec![past; parts] }
    }

    /// A part has ended, or could not be started: how long until it is started again.
    pub fn ended(&mut self, part: usize, now: Duration) -> Duration {
        let past = &mut self.parts[part];
        if let Life::Runs { since } = past.life
            && now.saturating_sub(since) >= STEADY
        {
            past.next_wait = FIRST;
        }
        let wait = past.next_wait;
        past.next_wait = (wait * 2).min(LONGEST);
        past.life = Life::Waits { until: now + wait };
        wait
    }

    /// A part runs again.
    pub fn started(&mut self, part: usize, now: Duration) {
        self.parts[part].life = Life::Runs { since: now };
    }

    /// The next moment at which a part is due, and which; `None` while all run.
    pub fn next(&self) -> Option<(Duration, usize)> {
        let waits = self.parts.iter().enumerate().filter_map(|(part, past)| match past.life {
            Life::Waits { until } => Some((until, part)),
            Life::Runs { .. } => None,
        });
        waits.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_wait_doubles_while_a_part_keeps_ending_and_has_a_bound() {
        let mut restarts = Restarts::new(1);
        let mut now = seconds(1);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let wait = restarts.ended(0, now);
            assert_eq!(restarts.next(), Some((now + wait, 0)));
            now += wait;
            restarts.started(0, now);
            assert_eq!(restarts.next(), None);
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_part_that_ran_for_a_minute_waits_no_longer_than_the_first_time() {
        let mut restarts = Restarts::new(1);
        assert_eq!(restarts.ended(0, seconds(5)), FIRST);
        restarts.started(0, seconds(6));
        assert_eq!(restarts.ended(0, seconds(65)), 2 * FIRST);
        restarts.started(0, seconds(67));
        assert_eq!(restarts.ended(0, seconds(127)), FIRST);
    }

    #[test]
    fn one_that_can_not_be_started_waits_on() {
        let mut restarts = Restarts::new(1);
        restarts.ended(0, seconds(100));
        // No start in between: the time it waited is not time that it ran.
        assert_eq!(restarts.ended(0, seconds(101)), seconds(2));
        assert_eq!(restarts.ended(0, seconds(200)), seconds(4));
    }

    #[test]
    fn parts_wait_each_for_itself_and_the_first_due_comes_first() {
        let mut restarts = Restarts::new(3);
        restarts.ended(2, seconds(1));
        restarts.started(2, seconds(2));
        restarts.ended(2, seconds(3)); // Until 5.
        restarts.ended(1, seconds(3)); // Until 4.
        assert_eq!(restarts.next(), Some((seconds(4), 1)));
        restarts.started(1, seconds(4));
        assert_eq!(restarts.next(), Some((seconds(5), 2)));
    }
}
