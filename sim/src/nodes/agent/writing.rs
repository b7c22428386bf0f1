//! What an agent writes down, and what becomes of the rest while it cannot.
//!
//! On a disk that is full to the last byte nothing that rests on a record is said or begun, and all of it waits, in order.
//! What would come to harm by waiting and rests on none goes on, as in the driver.

use std::time::Duration;

use bourse_agent_core::{Effect, Event, FromAgent, Record, Shortage};

use super::AgentNode;
use crate::coverage;
use crate::disk::Room;
use crate::nodes::standstill::{Held, Stoppable};
use crate::plant::Plant;
use crate::world::{Happening, Node, Outside};

/// How often a full disk is looked at.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// What the core is told of a disk that is full.
const NO_ROOM: Shortage = Shortage::Bytes { free: 0, needed: 1 << 20 };

/// What waits for the disk.
#[derive(Debug, Default)]
pub struct Writing {
    /// Records that were decided together are one entry.
    pub entries: Vec<Vec<Record>>,
    /// How many entries, and how many of them synced, each rests on.
    pub effects: Vec<(usize, usize, Effect)>,
    /// It found no room before.
    pub waited: bool,
}

impl Writing {
    /// Whether some of it must survive the machine.
    pub fn must_sync(&self) -> bool {
        self.entries.iter().flatten().any(Record::must_outlive_boot)
    }
}

impl AgentNode {
    /// Records first; the rest when they are written.
    pub(super) fn commit(&mut self, effects: Vec<Effect>, outside: &mut Outside) {
        let process = self.process();
        let Some(running) = &mut self.running else { return };
        let mut writing = std::mem::take(&mut running.held);
        let mut entry = Vec::new();
        for effect in effects {
            outside.say(process, format_args!("-> {effect}"));
            outside.coverage.note(coverage::agent_effect(&effect));
            match effect {
                Effect::Checkpoint(record) => {
                    outside.coverage.note(coverage::record(&record));
                    outside.checks.decided(self.index, &record);
                    if entry.is_empty() {
                        running.decided += 1;
                    }
                    if record.must_outlive_boot() {
                        running.must_sync = running.decided;
                    }
                    entry.push(record);
                }
                effect => writing.effects.push((running.decided, running.must_sync, effect)),
            }
        }
        if !entry.is_empty() {
            writing.entries.push(entry);
        }
        if writing.entries.is_empty() {
            return self.perform(writing.effects, outside);
        }
        if outside.garden.grows(Plant::AgentSpeaksBeforeWritten) {
            let effects = std::mem::take(&mut writing.effects);
            self.perform(effects, outside);
        }
        self.begins_to_write(writing, outside);
    }

    fn begins_to_write(&mut self, writing: Writing, outside: &mut Outside) {
        let process = self.process();
        let takes = match writing.must_sync() {
            true => outside.sync_time(process.node),
            false => Duration::from_micros(outside.random.between(20, 2_000)),
        };
        if let Some(running) = &mut self.running {
            running.writing = Some(writing);
            outside.begins_to_write(process, takes);
        }
    }

    fn perform(&mut self, effects: Vec<(usize, usize, Effect)>, outside: &mut Outside) {
        let process = self.process();
        outside.checks.acts(self.index);
        for (after, synced_after, effect) in effects {
            outside.checks.spoke(process, after as u64, self.disk.written() as u64);
            outside.checks.spoke(process, synced_after as u64, self.disk.synced() as u64);
            outside.checks.in_turn(process, after as u64);
            self.carries_out(effect, outside);
        }
    }

    /// The write is over.
    pub fn has_written(&mut self, outside: &mut Outside) {
        if let Some(held) = self.held() {
            return held.push(Held::Written);
        }
        let Some(running) = &mut self.running else { return };
        let Some(mut writing) = running.writing.take() else { return };
        // How much room there is shows, as on a real disk, by writing.
        match outside.disks.is_full(Node::Agent(self.index)) {
            true => {
                if outside.garden.grows(Plant::FullDiskIgnored) {
                    let effects = std::mem::take(&mut writing.effects);
                    self.perform(effects, outside);
                }
                self.finds_no_room(writing, outside);
            }
            false => {
                if writing.waited {
                    outside.coverage.note("disk.held and let out");
                    if outside.garden.grows(Plant::HeldOutOfOrder) {
                        writing.effects.reverse();
                    }
                }
                let sync = writing.must_sync();
                self.write(writing.entries, outside);
                if sync {
                    self.disk.sync();
                }
                self.perform(writing.effects, outside);
            }
        }
        if let Some(disk) = self.looks_for_room(outside)
            && let Some(running) = &mut self.running
        {
            running.inbox.push_first(disk);
        }
        self.works(outside);
    }

    pub(super) fn write(&mut self, entries: impl IntoIterator<Item = Vec<Record>>, outside: &mut Outside) {
        for records in entries {
            records.iter().for_each(|record| outside.checks.written(record));
            self.disk.write(records);
        }
    }

    /// All waits for room, but for what would come to harm by waiting and relies on no record.
    fn finds_no_room(&mut self, writing: Writing, outside: &mut Outside) {
        outside.coverage.note("disk.write refused");
        let Some(running) = &mut self.running else { return };
        let Writing { entries, effects, waited: _ } = writing;
        let (now, effects): (Vec<_>, Vec<_>) = effects.into_iter().partition(|(_, _, effect)| {
            matches!(
                effect,
                Effect::Send { message: FromAgent::Heartbeat, .. }
                    | Effect::Signal { .. }
                    | Effect::KillAll { .. }
                    | Effect::Probe { .. }
            )
        });
        running.held = Writing { entries, effects, waited: true };
        now.into_iter().for_each(|(_, _, effect)| self.carries_out(effect, outside));
    }

    /// What the core has to be told of the disk, where that has changed. While it is full it is looked at again and again.
    pub(super) fn looks_for_room(&mut self, outside: &mut Outside) -> Option<Event> {
        let process = self.process();
        let running = self.running.as_mut()?;
        let full = outside.disks.room(process.node) != Room::Plenty;
        let changed = std::mem::replace(&mut running.disk_full, full) != full;
        let waits = full || !running.held.entries.is_empty();
        if waits && !std::mem::replace(&mut running.looks, true) {
            outside.agenda.enter(outside.now + ROOM_AGAIN, Happening::LooksForRoom { process });
        }
        changed.then_some(Event::Disk { lacks: full.then_some(NO_ROOM) })
    }

    /// The disk was full a moment ago: what waits for room is tried again.
    pub fn tries_again(&mut self, outside: &mut Outside) {
        let process = self.process();
        let Some(running) = &mut self.running else { return };
        if running.standstill.lasts() {
            outside.agenda.enter(outside.now + ROOM_AGAIN, Happening::LooksForRoom { process });
            return;
        }
        running.looks = false;
        let disk = self.looks_for_room(outside);
        let Some(running) = &mut self.running else { return };
        if let Some(disk) = disk {
            running.inbox.push_first(disk);
        }
        if running.writing.is_none() && !running.held.entries.is_empty() {
            let held = std::mem::take(&mut running.held);
            self.begins_to_write(held, outside);
        }
        self.works(outside);
    }
}
