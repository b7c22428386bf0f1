//! Whose sandbox is measured when: the sooner, the sooner it may hold too much.
//!
//! A sandbox is due again after the interval. One that grows towards its limit is due when half of what is left would be
//! gone at that pace; one that has not changed is due twice as late each time, up to a bound, as a task that sleeps is what
//! most of a thousand tasks do. Such a one may begin to write at any time: so whoever counts on that is told by the disk
//! itself, whose free [`Room`] costs a look at two figures, and all are due again after the interval.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bourse_agent_core::Held;
use bourse_types::ContainerId;

use super::room::Room;
use super::space::Space;

/// The rest of one sandbox after it was measured, in lengths of that.
const REST: u32 = 10;

/// A sandbox that does not change is due after so many intervals at most.
const QUIET: u32 = 8;

/// One that grows is due after this part of the interval at least.
const EAGER: u32 = 16;

/// Those that are new or have grown go before others, unless these have waited for so many intervals longer.
const AHEAD: u32 = 4;

/// What a measurement has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub held: Held,
    /// What it may hold at most. `None`: there is no limit, or the kernel sees to it.
    pub limit_bytes: Option<u64>,
}

/// Whose sandbox is measured when. Times count from the begin of the watch.
#[derive(Debug)]
pub struct Turns {
    every: Duration,
    room: Room,
    turns: BTreeMap<ContainerId, Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    due: Duration,
    /// Before that it is not due again, whatever happens.
    rested: Duration,
    /// How long it was left alone before, or is now.
    pause: Duration,
    /// It is new or has grown.
    is_risky: bool,
    /// What it held last, and when that was.
    last: Option<(Duration, Held)>,
}

impl Turns {
    pub fn new(every: Duration) -> Turns {
        Turns { every, room: Room::new(), turns: BTreeMap::new() }
    }

    /// Goes on with these containers and no others. Who is new is due at once.
    pub fn keep(&mut self, now: Duration, containers: &BTreeSet<&ContainerId>) {
        self.turns.retain(|container, _| containers.contains(container));
        for &container in containers {
            if !self.turns.contains_key(container) {
                let turn = Turn { due: now, rested: now, pause: self.every, is_risky: true, last: None };
                self.turns.insert(container.clone(), turn);
            }
        }
    }

    /// Who is next of those that are due, if anybody is.
    pub fn due(&self, now: Duration) -> Option<&ContainerId> {
        let ahead = self.every.saturating_mul(AHEAD);
        let waited = |turn: &Turn| {
            let waited = now.saturating_sub(turn.due);
            if turn.is_risky { waited.saturating_add(ahead) } else { waited }
        };
        let due = self.turns.iter().filter(|(_, turn)| turn.due <= now);
        due.min_by_key(|(_, turn)| Reverse(waited(turn))).map(|(container, _)| container)
    }

    /// How long nobody is due whom this knows; the interval at most, as there may be others by then.
    pub fn rest(&self, now: Duration) -> Duration {
        let first = self.turns.values().map(|turn| turn.due).min();
        first.map_or(self.every, |due| due.saturating_sub(now).min(self.every))
    }

    /// A measurement has ended that took so long. `None`: nothing came of it.
    pub fn measured(&mut self, container: &ContainerId, now: Duration, took: Duration, found: Option<Found>) {
        let Some(turn) = self.turns.get_mut(container) else { return };
        if let Some(found) = found {
            self.room.explain(turn.last.map(|(_, held)| held), found.held);
        }
        let before = found.and_then(|found| Some((turn.last?, found)));
        let (pause, is_risky) = match before {
            None => (self.every, false),
            Some(((then, before), found)) => {
                let pause = pause(self.every, turn.pause, now.saturating_sub(then), before, found);
                (pause, found.held.counted() > before.counted())
            }
        };
        let rest = took.saturating_mul(REST);
        *turn = Turn {
            due: now.saturating_add(pause.max(rest)),
            rested: now.saturating_add(self.every.max(rest)),
            pause,
            is_risky,
            last: found.map(|found| (now, found.held)),
        };
    }

    /// Looks how much of the disk is free. Where it fills, whoever was left alone for long is due after the interval, as
    /// before.
    pub fn look(&mut self, space: &Space) {
        if self.room.has_shrunk(space) {
            self.hurry();
        }
    }

    fn hurry(&mut self) {
        for turn in self.turns.values_mut() {
            turn.due = turn.due.min(turn.rested);
            turn.pause = turn.pause.min(self.every);
        }
    }
}

/// How long to leave a sandbox alone that held `before` so long ago.
fn pause(every: Duration, paused: Duration, elapsed: Duration, before: Held, found: Found) -> Duration {
    let Found { held, limit_bytes } = found;
    let used_bytes = held.counted();
    if held == before {
        // One that is nearly full is not left alone: a little more is too much.
        let is_near = limit_bytes.is_some_and(|limit| used_bytes > limit - limit / 10);
        let most = if is_near { every } else { every.saturating_mul(QUIET) };
        return paused.saturating_mul(2).clamp(every.min(most), most);
    }
    let grown = used_bytes.checked_sub(before.counted()).filter(|grown| *grown > 0);
    let (Some(grown), Some(limit)) = (grown, limit_bytes) else { return every };
    let left = limit.saturating_sub(used_bytes);
    let full = Duration::try_from_secs_f64(elapsed.as_secs_f64() * left as f64 / grown as f64);
    (full.unwrap_or(Duration::MAX) / 2).clamp(every / EAGER, every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::space::Amount;

    const SECOND: Duration = Duration::from_secs(1);
    const EVERY: Duration = Duration::from_secs(16);
    const MIB: u64 = 1 << 20;

    fn container(name: &str) -> ContainerId {
        ContainerId::new(name).expect("valid")
    }

    fn found(used: u64, limit: Option<u64>) -> Option<Found> {
        let held = Held { bytes: used * MIB, ..Held::default() };
        Some(Found { held, limit_bytes: limit.map(|limit| limit * MIB) })
    }

    /// The pauses of one sandbox that holds these, in MiB, whenever it is due.
    fn pauses(limit: Option<u64>, held: &[u64]) -> Vec<Duration> {
        let one = container("a");
        let mut turns = Turns::new(EVERY);
        turns.keep(Duration::ZERO, &BTreeSet::from([&one]));
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for &used in held {
            assert_eq!(turns.due(now), Some(&one));
            turns.measured(&one, now, Duration::ZERO, found(used, limit));
            let pause = turns.turns[&one].due - now;
            pauses.push(pause);
            now += pause;
        }
        pauses
    }

    #[test]
    fn a_sandbox_that_does_not_change_is_measured_ever_more_rarely_up_to_a_bound_and_one_that_does_as_before()
    {
        let waits: Vec<u64> = pauses(None, &[1; 8]).iter().map(Duration::as_secs).collect();
        assert_eq!(waits, [16, 32, 64, 128, 128, 128, 128, 128]);
        let waits: Vec<u64> = pauses(None, &[1, 1, 1, 2, 2, 1, 1]).iter().map(Duration::as_secs).collect();
        assert_eq!(waits, [16, 32, 64, 16, 32, 16, 32]);
    }

    #[test]
    fn a_sandbox_that_grows_towards_its_limit_is_measured_before_it_is_full_and_a_nearly_full_one_is_not_left_alone()
     {
        // 10 MiB in 16 s, and 20 MiB are left: full after 32 s.
        assert_eq!(pauses(Some(40), &[10, 20])[1], EVERY);
        // 20 MiB in 16 s, and 10 MiB are left: full after 8 s.
        assert_eq!(pauses(Some(40), &[10, 30])[1], 4 * SECOND);
        assert_eq!(pauses(Some(40), &[10, 40])[1], SECOND, "it is full, and is not over it");
        assert_eq!(pauses(Some(40), &[37; 3]), [EVERY; 3]);
        assert_eq!(pauses(Some(40), &[36; 3])[2], 4 * EVERY);
        assert_eq!(
            pauses(Some(0), &[0, u64::MAX / MIB, 0])[1..],
            [SECOND, EVERY],
            "whatever the figures are"
        );
    }

    #[test]
    fn a_sandbox_that_takes_long_is_measured_less_often_and_the_others_are_not() {
        let (slow, quick) = (container("a"), container("b"));
        let both = BTreeSet::from([&slow, &quick]);
        let mut turns = Turns::new(15 * SECOND);
        turns.keep(Duration::ZERO, &both);
        assert_eq!(turns.due(Duration::ZERO), Some(&slow));
        turns.measured(&slow, 60 * SECOND, 60 * SECOND, None);
        // The rest of the watch as a whole is as long as that took.
        assert_eq!(turns.due(120 * SECOND), Some(&quick));
        turns.measured(&quick, 120 * SECOND, SECOND / 1000, None);
        for round in 9..44_u32 {
            let now = 15 * round * SECOND;
            turns.keep(now, &both);
            turns.hurry();
            assert_eq!((turns.due(now - SECOND), turns.rest(now - SECOND)), (None, SECOND), "{now:?}");
            assert_eq!(turns.due(now), Some(&quick), "{now:?}");
            turns.measured(&quick, now, SECOND / 1000, None);
        }
        assert_eq!(turns.due(660 * SECOND), Some(&slow), "ten times as long as it took");
    }

    #[test]
    fn who_is_new_or_grows_goes_before_those_that_were_quiet_unless_these_have_waited_for_long() {
        let [grows, new, quiet] = ["a", "b", "c"].map(container);
        let mut turns = Turns::new(EVERY);
        let old = BTreeSet::from([&grows, &quiet]);
        turns.keep(Duration::ZERO, &old);
        for (now, used) in [(SECOND, 1), (17 * SECOND, 2)] {
            turns.measured(&quiet, now, Duration::ZERO, found(1, None));
            turns.measured(&grows, now, Duration::ZERO, found(used, None));
        }
        // The quiet one was due before the others.
        turns.turns.get_mut(&quiet).expect("known").due = 20 * SECOND;
        let now = 40 * SECOND;
        turns.keep(now, &BTreeSet::from([&grows, &new, &quiet]));
        assert_eq!(turns.due(now), Some(&grows));
        turns.measured(&grows, now, Duration::ZERO, found(3, None));
        assert_eq!(turns.due(now), Some(&new));
        assert_eq!(turns.due(now + 3 * EVERY), Some(&new));
        turns.turns.get_mut(&new).expect("known").due = now + 3 * EVERY;
        turns.turns.get_mut(&grows).expect("known").due = now + 3 * EVERY;
        assert_eq!(turns.due(now + 3 * EVERY), Some(&quiet), "for four intervals longer");
    }

    #[test]
    fn who_is_new_is_due_at_once_after_others_that_are_and_who_is_gone_is_forgotten() {
        let (old, new) = (container("b"), container("a"));
        let mut turns = Turns::new(15 * SECOND);
        assert_eq!((turns.due(SECOND), turns.rest(SECOND)), (None, 15 * SECOND));
        turns.keep(SECOND, &BTreeSet::from([&old]));
        turns.keep(2 * SECOND, &BTreeSet::from([&old, &new]));
        assert_eq!(turns.due(2 * SECOND), Some(&old));
        turns.measured(&old, 2 * SECOND, Duration::ZERO, None);
        assert_eq!(turns.due(2 * SECOND), Some(&new));
        turns.keep(3 * SECOND, &BTreeSet::from([&old]));
        assert_eq!((turns.due(3 * SECOND), turns.rest(3 * SECOND)), (None, 14 * SECOND));
        // However large the figures are, and whoever is gone.
        turns.measured(&old, Duration::MAX, Duration::MAX, None);
        turns.measured(&new, 3 * SECOND, Duration::ZERO, None);
        assert_eq!((turns.due(3 * SECOND), turns.rest(3 * SECOND)), (None, 15 * SECOND));
    }

    #[test]
    fn when_the_disk_fills_whoever_was_left_alone_is_measured_again_after_the_interval() {
        let one = container("a");
        let mut turns = Turns::new(EVERY);
        turns.keep(Duration::ZERO, &BTreeSet::from([&one]));
        for second in [0, 16, 48] {
            turns.measured(&one, second * SECOND, Duration::ZERO, found(1, None));
        }
        assert_eq!(turns.rest(100 * SECOND), 12 * SECOND);
        let free = |mebibytes: u64| Space {
            bytes: Amount::new(1 << 40, mebibytes * MIB),
            inodes: None,
            has_table: true,
            is_read_only: false,
        };
        turns.look(&free(1 << 20));
        turns.look(&free((1 << 20) - 64));
        assert_eq!(turns.rest(100 * SECOND), 12 * SECOND, "that is not much");
        turns.look(&free((1 << 20) - 64 - 65));
        assert_eq!(turns.due(48 * SECOND + EVERY), Some(&one));
        turns.measured(&one, 100 * SECOND, Duration::ZERO, found(1, None));
        assert_eq!(turns.due(100 * SECOND + 2 * EVERY), Some(&one), "and is left alone for a little again");
    }

    #[test]
    fn a_sandbox_that_gets_more_files_is_no_quiet_one_and_goes_by_what_they_count() {
        let one = container("a");
        let mut turns = Turns::new(EVERY);
        turns.keep(Duration::ZERO, &BTreeSet::from([&one]));
        let mut pause = |second: u32, inodes| {
            let held = Held { bytes: MIB, inodes, bytes_per_inode: 16 << 10 };
            let now = second * SECOND;
            turns.measured(&one, now, Duration::ZERO, Some(Found { held, limit_bytes: Some(6 * MIB) }));
            turns.turns[&one].due - now
        };
        assert_eq!(pause(0, 64), EVERY);
        // They count for less than its bytes.
        assert_eq!(pause(16, 65), EVERY);
        // 320 of them are 5 MiB: 4 MiB more in 16 s, and 1 MiB is left.
        assert_eq!(pause(32, 64 + 320), 2 * SECOND);
    }
}
