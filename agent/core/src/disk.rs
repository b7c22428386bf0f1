//! The disk of a task: how much its sandbox may hold, and what becomes of a task whose sandbox holds more. And the disk of
//! the agent, on which all of them are: what it may lack.
//!
//! As Mesos' isolator `disk/du` has it: what is measured afterwards cannot be refused, so the container is ended at once.
//! Measuring is the shell's.
//!
//! A file system has only so many inodes, and one without a byte in it takes one as well. So a part of the disk comes with
//! the same part of its inodes, and a sandbox may hold neither more of the one nor of the other: as its quota has it, where
//! there is one.

use std::fmt;
use std::time::Duration;

use bourse_types::units::bytes;
use bourse_types::{ContainerId, Milli, Name, Now, Resource, ResourceKey, Resources};

use crate::agent::Agent;
use crate::checkpoint::{KillCause, Task};
use crate::effect::Effect;
use crate::event::Work;

/// So many inodes every sandbox may have beside those of its part of the disk: its logs and the folders that are made for
/// it are among them, so that a task with little disk can begin also where inodes are few.
pub const OWN_INODES: u64 = 64;

/// What a sandbox holds on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The blocks that are allocated to it.
    pub bytes: u64,
    /// Files, folders and links in it, itself among them: each is one inode, however many names it has.
    pub inodes: u64,
    /// So many bytes its file system has for each of its inodes. 0: they do not count.
    pub bytes_per_inode: u64,
}

impl Held {
    /// What counts towards the disk of its task, in bytes: what it takes of the bytes of its file system, or as large a part
    /// of them as it takes of the inodes, beyond [`OWN_INODES`], whichever is more.
    pub fn counted(&self) -> u64 {
        let beyond = self.inodes.saturating_sub(OWN_INODES);
        self.bytes.max(beyond.saturating_mul(self.bytes_per_inode))
    }
}

/// The most inodes that a sandbox may have which may hold so many bytes. `None`: they do not count.
pub fn inodes_of(limit_bytes: u64, bytes_per_inode: u64) -> Option<u64> {
    Some(limit_bytes.checked_div(bytes_per_inode)?.saturating_add(OWN_INODES))
}

/// What the disk of an agent's work directory lacks for another task. Shown after the words "the disk".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Bytes that are free.
    Bytes {
        /// So many are.
        free: u64,
        /// So many have to be.
        needed: u64,
    },
    /// Inodes that are free, however many bytes are.
    Inodes {
        /// So many are.
        free: u64,
        /// So many have to be.
        needed: u64,
    },
    /// Writes: it takes none.
    ReadOnly,
    /// Nothing by its own figures, and yet it takes no more, as with a quota of the agent's user.
    Unknown,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortage::Bytes { free, needed } => write!(
                f,
                "has too few bytes free, {} KiB of the {} KiB that a launch needs",
                free >> 10,
                needed >> 10
            ),
            Shortage::Inodes { free, needed } => write!(
                f,
                "has too few inodes free, {free} of the {needed} that a launch needs, however many bytes are: there are too \
                 many files on it"
            ),
            Shortage::ReadOnly => f.write_str("is read-only"),
            Shortage::Unknown => f.write_str(
                "takes no more, though it has room by its own figures: see the quota of the agent's user",
            ),
        }
    }
}

impl Task {
    /// The most that its sandbox may hold, in MiB: the disk that it asked for, reserved or not. `None`: it asked for none,
    /// and has no limit but the machine's.
    pub fn disk_limit(&self) -> Option<Milli> {
        match &self.assignment.work {
            Work::Run(spec) => limit_of(&spec.resources),
            Work::Refuse(_) => None,
        }
    }
}

/// The most that the sandbox of a task with these resources may hold, in MiB. `None`: they are without disk for it, and it has
/// no limit but the machine's.
pub fn limit_of(resources: &Resources) -> Option<Milli> {
    // Limits apart from requests are for cpus and mem only, so the request is the limit.
    let asked = resources.iter().filter(|resource| is_sandboxes(&resource.key));
    let limit: Milli = asked.map(|resource| resource.value.quantity()).sum();
    (!limit.is_zero()).then_some(limit)
}

/// Whether it is disk for the sandbox: a persistent volume is not, and no other disk than the work directory's.
fn is_sandboxes(key: &ResourceKey) -> bool {
    let own = key.disk.as_ref().is_none_or(|disk| disk.persistence.is_none() && disk.source.is_none());
    key.name == Name::disk() && own
}

impl Agent {
    /// Ends a task whose sandbox holds more than it may, at once. A repeat changes nothing; a kill under way keeps its
    /// cause, and its grace is over.
    pub(crate) fn on_sandbox_measured(
        &mut self,
        now: Now,
        container: &ContainerId,
        held: Held,
        out: &mut Vec<Effect>,
    ) {
        if !self.config.enforce_disk {
            return;
        }
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(limit) = self.state.tasks.get(&key).and_then(Task::disk_limit) else { return };
        if !exceeds(held.counted(), limit) {
            return;
        }
        self.begin_kill(now, &key, KillCause::OverDisk { held, limit }, Duration::ZERO, out);
        self.shorten_kill(now, &key, Duration::ZERO, out);
    }
}

pub(crate) fn exceeds(counted_bytes: u64, limit: Milli) -> bool {
    u128::from(counted_bytes) * 1000 > u128::from(limit.thousandths()) << 20
}

/// What the end says, with figures of what there is too much of: `disk limit 10 MiB exceeded: 12 MiB in its sandbox`, or
/// `disk limit 10 MiB exceeded: 800 files and folders in its sandbox, and 10 MiB of its disk come with inodes for 704`.
pub(crate) fn message(held: &Held, limit: Milli) -> String {
    let most = inodes_of(bytes(limit), held.bytes_per_inode).filter(|most| held.inodes > *most);
    if let Some(most) = most.filter(|_| !exceeds(held.bytes, limit)) {
        let inodes = held.inodes;
        return format!(
            "disk limit {limit} MiB exceeded: {inodes} files and folders in its sandbox, and {limit} MiB of its disk come \
             with inodes for {most}"
        );
    }
    // Rounded up to tenths of a MiB, so that what is little more is seen to be more.
    let tenths = (u128::from(held.bytes) * 10).div_ceil(1 << 20);
    let used = Milli::new(u64::try_from(tenths).unwrap_or(u64::MAX).saturating_mul(100));
    format!("disk limit {limit} MiB exceeded: {used} MiB in its sandbox")
}

/// The resources whose limit it was.
pub(crate) fn limitation(limit: Milli) -> Resources {
    [Resource::scalar(Name::disk(), limit)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes(bytes: u64) -> Held {
        Held { bytes, ..Held::default() }
    }

    #[test]
    fn a_byte_more_than_the_limit_is_too_much_and_is_seen_to_be_more() {
        let limit = Milli::whole(10);
        let told = |bytes| message(&of_bytes(bytes), limit);
        assert!(!exceeds(10 << 20, limit) && exceeds((10 << 20) + 1, limit));
        assert_eq!(told((10 << 20) + 1), "disk limit 10 MiB exceeded: 10.1 MiB in its sandbox");
        assert_eq!(told(12 << 20), "disk limit 10 MiB exceeded: 12 MiB in its sandbox");
        // A thousandth of a MiB is 1048.576 bytes.
        assert!(!exceeds(1048, Milli::new(1)) && exceeds(1049, Milli::new(1)));
        assert!(!exceeds(u64::MAX, Milli::new(u64::MAX)));
        assert_eq!(told(u64::MAX), "disk limit 10 MiB exceeded: 17592186044416 MiB in its sandbox");
    }

    #[test]
    fn a_part_of_the_disk_comes_with_the_same_part_of_its_inodes_and_one_more_is_too_much() {
        let limit = Milli::whole(10);
        let holding = |inodes| Held { bytes: 1 << 20, inodes, bytes_per_inode: 16 << 10 };
        let most = inodes_of(10 << 20, 16 << 10).expect("they count");
        assert_eq!(most, 640 + OWN_INODES);
        assert_eq!(holding(most).counted(), 10 << 20);
        assert!(!exceeds(holding(most).counted(), limit) && exceeds(holding(most + 1).counted(), limit));
        assert_eq!(
            message(&holding(most + 1), limit),
            "disk limit 10 MiB exceeded: 705 files and folders in its sandbox, and 10 MiB of its disk come with inodes for \
             704"
        );
        // Whichever is more counts, and not both together: so it is with a quota.
        assert_eq!(holding(OWN_INODES + 64).counted(), 1 << 20);
        assert_eq!(holding(OWN_INODES + 65).counted(), (1 << 20) + (16 << 10));
        assert_eq!(holding(OWN_INODES).counted(), 1 << 20);
        let both = Held { bytes: 11 << 20, ..holding(most + 1) };
        assert_eq!(message(&both, limit), "disk limit 10 MiB exceeded: 11 MiB in its sandbox");
    }

    #[test]
    fn what_the_quota_of_a_limit_lets_a_sandbox_have_is_never_too_much() {
        for bytes_per_inode in [1, 3, 4096, 15_873, 1 << 20] {
            for thousandths in [1, 999, 1000, 1501, 64_000, 1_000_001] {
                let limit = Milli::new(thousandths);
                let inodes = inodes_of(bytes(limit), bytes_per_inode).expect("they count");
                let full = Held { bytes: 0, inodes, bytes_per_inode };
                assert!(!exceeds(full.counted(), limit), "{full:?} of {limit} MiB");
                // A limit is cut to whole bytes for a quota.
                let over = Held { inodes: inodes + 2, ..full };
                assert!(exceeds(over.counted(), limit), "{over:?} of {limit} MiB");
            }
        }
    }

    #[test]
    fn what_a_disk_lacks_is_told_with_its_figures() {
        let told = [
            Shortage::Bytes { free: 300 << 10, needed: 1 << 20 },
            Shortage::Inodes { free: 12, needed: 64 },
            Shortage::ReadOnly,
        ]
        .map(|shortage| shortage.to_string());
        assert_eq!(told[0], "has too few bytes free, 300 KiB of the 1024 KiB that a launch needs");
        assert_eq!(
            told[1],
            "has too few inodes free, 12 of the 64 that a launch needs, however many bytes are: there are too many files on \
             it"
        );
        assert_eq!(told[2], "is read-only");
    }

    #[test]
    fn where_inodes_are_not_counted_there_is_no_limit_of_them_and_no_figure_is_too_large() {
        assert_eq!(inodes_of(10 << 20, 0), None);
        assert_eq!(Held { bytes: 7, inodes: u64::MAX, bytes_per_inode: 0 }.counted(), 7);
        assert_eq!(Held { bytes: 7, inodes: u64::MAX, bytes_per_inode: u64::MAX }.counted(), u64::MAX);
        assert_eq!(inodes_of(u64::MAX, 1), Some(u64::MAX));
    }
}
