//! Whether the room on the disk shrinks: by much of it, or by more than is known of those who are measured.

use bourse_agent_core::Held;

use super::space::{Amount, Space};

/// The part of what is free by which that has to shrink.
const FALL: u64 = 16;

/// So much may be taken from one look to the next by whoever is not known. It is much for most limits, and little beside what
/// a busy disk writes in an interval.
const UNKNOWN_BYTES: u64 = 64 << 20;

/// Likewise: as many inodes as ext4 has for so many bytes where nobody says otherwise.
const UNKNOWN_INODES: u64 = UNKNOWN_BYTES / (16 << 10);

/// What is free on the disk, from look to look.
#[derive(Debug)]
pub struct Room {
    bytes: Level,
    inodes: Level,
}

impl Room {
    pub fn new() -> Room {
        Room { bytes: Level::new(UNKNOWN_BYTES), inodes: Level::new(UNKNOWN_INODES) }
    }

    /// A sandbox that held so much, or was not known, holds this: what it grew by is no riddle at the next look.
    pub fn explain(&mut self, before: Option<Held>, now: Held) {
        let before = before.unwrap_or_default();
        self.bytes.explain(now.bytes.saturating_sub(before.bytes));
        self.inodes.explain(now.inodes.saturating_sub(before.inodes));
    }

    /// Looks what is free now. Whether that is a sixteenth less than when it was last told, or less than at the look before
    /// by more than nobody grew who was measured meanwhile.
    pub fn has_shrunk(&mut self, space: &Space) -> bool {
        let bytes = self.bytes.has_shrunk(space.bytes.map(Amount::free));
        // Where they are made as they are needed, how many are left follows from the bytes that are.
        let inodes = space.inodes.filter(|_| space.has_table).map(Amount::free);
        let inodes = self.inodes.has_shrunk(inodes);
        bytes || inodes
    }
}

/// One of the two.
#[derive(Debug)]
struct Level {
    /// So much may be taken between two looks without an explanation.
    unknown: u64,
    /// What was free when it was last told that it shrinks, or more where there was more since.
    mark: Option<u64>,
    /// What was free at the look before.
    last: Option<u64>,
    /// What sandboxes have grown by that were measured since.
    explained: u64,
}

impl Level {
    fn new(unknown: u64) -> Level {
        Level { unknown, mark: None, last: None, explained: 0 }
    }

    fn explain(&mut self, grown: u64) {
        self.explained = self.explained.saturating_add(grown);
    }

    fn has_shrunk(&mut self, free: Option<u64>) -> bool {
        let explained = std::mem::take(&mut self.explained);
        let Some(free) = free else { return false };
        let mark = *self.mark.get_or_insert(free);
        let last = self.last.replace(free).unwrap_or(free);
        let riddle = last.saturating_sub(free).saturating_sub(explained);
        let has_shrunk = free < mark - mark / FALL || riddle > self.unknown;
        if has_shrunk || free > mark {
            self.mark = Some(free);
        }
        has_shrunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;

    #[test]
    fn the_disk_fills_when_a_sixteenth_of_its_room_is_gone_however_slowly_and_is_told_once_for_each() {
        let mut level = Level::new(u64::MAX);
        let told = [1600, 1550, 1510, 1499, 1450, 1400, 2000, 1880, 1870, 0, 0]
            .map(|free| level.has_shrunk(Some(free)));
        assert_eq!(told, [false, false, false, true, false, true, false, false, true, true, false]);
        assert!(!Level::new(0).has_shrunk(Some(0)));
    }

    /// A large disk with so many MiB of it taken.
    fn taken(mebibytes: u64) -> Space {
        Space {
            bytes: Amount::new(TIB, TIB - mebibytes * MIB),
            inodes: None,
            has_table: true,
            is_read_only: false,
        }
    }

    fn holding(mebibytes: u64) -> Held {
        Held { bytes: mebibytes * MIB, ..Held::default() }
    }

    #[test]
    fn of_a_large_disk_an_amount_that_nobody_has_taken_who_was_measured_is_enough() {
        let mut room = Room::new();
        let told = [0, 64, 129, 129, 150, 100, 164, 229].map(|mebibytes| room.has_shrunk(&taken(mebibytes)));
        assert_eq!(told, [false, false, true, false, false, false, false, true]);
    }

    #[test]
    fn what_a_sandbox_is_seen_to_have_grown_by_since_the_look_before_is_no_riddle_and_after_the_look_it_is_forgotten()
     {
        let mut room = Room::new();
        assert!(!room.has_shrunk(&taken(0)));
        room.explain(Some(holding(10)), holding(500));
        room.explain(None, holding(10));
        assert!(!room.has_shrunk(&taken(564)), "64 MiB more are not much");
        room.explain(Some(holding(500)), holding(600));
        assert!(room.has_shrunk(&taken(729)), "and 65 MiB are");
        assert!(room.has_shrunk(&taken(800)), "what was explained is so once");
        // One that has become smaller explains nothing.
        room.explain(Some(holding(600)), holding(0));
        assert!(room.has_shrunk(&taken(900)));
        room.explain(None, holding(100_000));
        assert!(!room.has_shrunk(&taken(1000)), "more than all that is gone");
    }

    #[test]
    fn inodes_are_looked_at_as_bytes_are_where_there_is_a_table_of_them() {
        let taken = |inodes: u64| Space { inodes: Amount::new(1 << 30, (1 << 30) - inodes), ..taken(0) };
        let mut room = Room::new();
        assert!(!room.has_shrunk(&taken(0)));
        assert!(!room.has_shrunk(&taken(4096)));
        assert!(room.has_shrunk(&taken(8193)));
        room.explain(None, Held { inodes: 10_000, ..Held::default() });
        assert!(!room.has_shrunk(&taken(18_193)));

        let dynamic = |inodes| Space { has_table: false, ..taken(inodes) };
        let mut room = Room::new();
        assert!(![0, 1 << 20, 1 << 29].into_iter().any(|inodes| room.has_shrunk(&dynamic(inodes))));
    }
}
