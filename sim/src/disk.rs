//! Disks: what is written survives the process, what is synced survives the machine.

use std::collections::{BTreeMap, BTreeSet};

use bourse_master_core::{Change, Snapshot};
use bourse_types::{Epoch, MasterId, Wall};

use crate::random::Random;
use crate::world::Node;

/// How much room a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// As much as anybody wants.
    Plenty,
    /// A few words: what an agent holds ready for that.
    Low,
    /// No byte: what is written is not there.
    Full,
}

/// How all disks are at the moment.
#[derive(Debug, Default)]
pub struct Disks {
    slow: BTreeSet<Node>,
    /// Those that have not plenty.
    rooms: BTreeMap<Node, Room>,
}

impl Disks {
    /// It is slow from now on.
    pub fn slows(&mut self, node: Node) {
        self.slow.insert(node);
    }

    /// It is as fast as ever.
    pub fn recovers(&mut self, node: Node) {
        self.slow.remove(&node);
    }

    /// Whether it is slow.
    pub fn is_slow(&self, node: Node) -> bool {
        self.slow.contains(&node)
    }

    /// It has this much room from now on.
    pub fn fills(&mut self, node: Node, room: Room) {
        self.rooms.insert(node, room);
    }

    /// How much room it has.
    pub fn room(&self, node: Node) -> Room {
        self.rooms.get(&node).copied().unwrap_or(Room::Plenty)
    }

    /// Whether what is written to it is not there.
    pub fn is_full(&self, node: Node) -> bool {
        self.room(node) == Room::Full
    }

    /// All is well with all of them from now on.
    pub fn heal(&mut self) {
        *self = Disks::default();
    }
}

/// An append-only log of records.
#[derive(Clone, Debug)]
pub struct Log<R> {
    records: Vec<R>,
    synced: usize,
}

impl<R> Log<R> {
    /// Without records.
    pub fn new() -> Log<R> {
        Log { records: Vec::new(), synced: 0 }
    }

    /// Writes a record: it survives the process.
    pub fn write(&mut self, record: R) {
        self.records.push(record);
    }

    /// Syncs: all that was written survives the machine.
    pub fn sync(&mut self) {
        self.synced = self.records.len();
    }

    /// How many records were ever written.
    pub fn written(&self) -> usize {
        self.records.len()
    }

    /// How many of them survive the machine.
    pub fn synced(&self) -> usize {
        self.synced
    }

    /// The machine stops: of what was not synced an unknown part, from the front, made it to the disk. A record that
    /// was torn in two is cut off when the log is read.
    pub fn lose_unsynced(&mut self, random: &mut Random) {
        let kept = random.between(self.synced as u64, self.records.len() as u64) as usize;
        self.records.truncate(kept);
        self.sync();
    }

    /// What is read back.
    pub fn records(&self) -> &[R] {
        &self.records
    }
}

/// What became of a batch of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is written and synced.
    Yes,
    /// Somebody newer owns the registry, and nothing was written.
    Fenced,
    /// There is no room, and nothing was written.
    NoRoom,
}

/// The master's registry: each batch of changes is there as a whole or not at all, and only the newest master may write.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    snapshot: Snapshot,
    owner: u64,
    /// By incarnation, how many of its changes are safe.
    kept: BTreeMap<u64, u64>,
}

impl Registry {
    /// A new incarnation takes over, by its own calendar; from now on its predecessors cannot write.
    pub fn take_over(&mut self, incarnation: u64, now: Wall) -> (Epoch, MasterId, Snapshot) {
        let epoch = self.snapshot.next_epoch(now);
        let master = MasterId::new(format!("m{incarnation}")).expect("letters and digits make an id");
        self.snapshot.apply(&Change::EpochStarted { epoch, master: master.clone() });
        self.owner = incarnation;
        (epoch, master, self.snapshot.clone())
    }

    /// Writes and syncs a batch, on a disk that may be full.
    pub fn keep(&mut self, incarnation: u64, changes: &[Change], full: bool) -> Kept {
        if self.owner != incarnation {
            return Kept::Fenced;
        }
        if full {
            return Kept::NoRoom;
        }
        changes.iter().for_each(|change| self.snapshot.apply(change));
        *self.kept.entry(incarnation).or_default() += changes.len() as u64;
        Kept::Yes
    }

    /// What is written.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// A fence that does not hold: this incarnation may write again, whoever took over from it.
    pub fn lets_back_in(&mut self, incarnation: u64) {
        self.owner = incarnation;
    }

    /// How many changes of this incarnation are safe.
    pub fn kept(&self, incarnation: u64) -> u64 {
        self.kept.get(&incarnation).copied().unwrap_or_default()
    }
}
