//! The checkpoint on disk: one append-only log of checksummed records.
//!
//! **What is this room for?** [`Checkpoint::open`] reads what an earlier agent left, [`Checkpoint::append`] adds to it,
//! and the log is written anew when it has grown far beyond what it adds up to.
//!
//! **What does it promise?** A record that was appended survives the process; after [`Checkpoint::sync`] it survives
//! the machine. What one append adds is there as a whole or not at all: what was torn by a crash is cut off, as nothing
//! that relied on it was said. The log holds some of the disk ahead of need, so that on a full one kills and ends can
//! still be written down; and it is never written anew where there is no room for that. A disk that has become read-only
//! is like one that is full to the last byte. A damaged record in the middle
//! is never skipped and never read as something else: the log is refused, and the words say what to do.
//!
//! **What does it leave to others?** What the records mean: the core's [`State`].

mod disk;
mod log;

use std::io;
use std::path::{Path, PathBuf};

use bourse_agent_core::{OWN_INODES, Record, Shortage, State};

use crate::disk::Space;

use disk::BadRecord;
pub use disk::{read as read_records, write as write_records};
use log::{Log, LogError};

/// A log smaller than this is never written anew: it is read in milliseconds.
const COMPACT_MIN: u64 = 1 << 20;

/// A log so many times larger than what it adds up to is written anew.
const COMPACT_FACTOR: u64 = 4;

/// With less than this free beside what the log holds, a task that starts could write nothing.
const FREE_MIN: u64 = 1 << 20;

/// With fewer inodes free it could make nothing.
const FREE_INODES_MIN: u64 = OWN_INODES;

/// The checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("could not {what} the checkpoint {}; see whether its disk is full, read-only or damaged", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not a checkpoint, or one of a later release.
    #[error(
        "{} is not a checkpoint that this release can read ({why}); start the release that wrote it, or move the file \
         away to begin as a new agent: tasks that still run are then killed",
        path.display()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A record in the middle is damaged.
    #[error(
        "the checkpoint {} is damaged at byte {at} ({why}); its disk may be failing. Restore the file from a backup, or \
         move it away to begin as a new agent: tasks that still run are then killed",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the damaged record begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl CheckpointError {
    /// The disk is full or read-only, and the same can be tried again once it is not.
    pub fn is_blocked(&self) -> bool {
        matches!(self, CheckpointError::Io { source, .. } if log::is_blocked(source))
    }
}

/// The log of one agent, open for appending.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    log: Log,
    /// What the disk lacked for another task when that was last looked for.
    lacks: Option<Shortage>,
    /// From this size on the log is written anew.
    compact_at: u64,
}

impl Checkpoint {
    /// Reads the log in this directory, or begins one. What it adds up to is written anew, so that a log never keeps
    /// what an earlier agent has long forgotten; where the disk is too full for that, the old one goes on.
    pub fn open(folder: &Path) -> Result<(Checkpoint, State), CheckpointError> {
        let path = folder.join("checkpoint");
        let mut state = State::default();
        let at = |error| placed(error, "read", &path);
        let end = log::read(&path, |offset, payload| {
            let records = disk::read(payload).map_err(|bad: BadRecord| LogError::damaged(offset, bad))?;
            records.iter().for_each(|record| state.apply(record));
            Ok(())
        })
        .map_err(at)?;
        let log = match Log::rewrite(&path, &encoded(&state)) {
            Err(LogError::Io(error)) if end > 0 && log::is_blocked(&error) => Log::resume(&path, end),
            written => written,
        };
        let log = log.map_err(|error| placed(error, "write", &path))?;
        let compact_at = compact_at(log.size());
        Ok((Checkpoint { path, log, lacks: None, compact_at }, state))
    }

    /// Adds records, all of them or none. After an error none may be relied upon, and when the disk was
    /// [full or read-only](CheckpointError::is_blocked) they may be tried again.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<(), CheckpointError> {
        self.log.append(&disk::write(records)).map_err(|error| placed(error, "write", &self.path))
    }

    /// There is no room for more than a few words, or for none. Does not ask the disk: those below do.
    pub fn is_full(&self) -> bool {
        self.lacks.is_some() || self.log.is_full()
    }

    /// Why it [is full](Checkpoint::is_full), by another look at the disk where that was not looked for.
    pub fn shortage(&self) -> Shortage {
        self.lacks.or_else(|| self.looked_at()).unwrap_or(Shortage::Unknown)
    }

    /// Looks how much of the disk is free, of bytes and of inodes, and whether it takes anything: what the log holds of it
    /// says nothing of that before it is used up.
    pub fn look_for_room(&mut self) {
        self.lacks = self.looked_at();
    }

    fn looked_at(&self) -> Option<Shortage> {
        if self.log.is_read_only() {
            return Some(Shortage::ReadOnly);
        }
        Space::of(&self.path).ok()?.lacks(FREE_MIN, FREE_INODES_MIN)
    }

    /// Looks whether a full or read-only disk has room again.
    pub fn make_room(&mut self) {
        self.log.make_room();
        self.look_for_room();
    }

    /// Makes everything that was appended outlive a crash of the machine.
    pub fn sync(&mut self) -> Result<(), CheckpointError> {
        self.log.sync().map_err(|error| placed(error, "sync", &self.path))
    }

    /// Writes the log anew if it has grown far beyond this state, which is what it adds up to. Where the disk has no room
    /// for a second one, the log goes on growing for a while.
    pub fn compact_if_large(&mut self, state: &State) -> Result<(), CheckpointError> {
        if self.log.size() < self.compact_at {
            return Ok(());
        }
        match Log::rewrite(&self.path, &encoded(state)) {
            Ok(log) => {
                self.compact_at = compact_at(log.size());
                self.log = log;
            }
            Err(LogError::Io(error)) if log::is_blocked(&error) => {
                self.compact_at = self.log.size() + COMPACT_MIN;
            }
            Err(error) => return Err(placed(error, "write", &self.path)),
        }
        Ok(())
    }
}

fn compact_at(size: u64) -> u64 {
    COMPACT_MIN.max(size.saturating_mul(COMPACT_FACTOR))
}

fn encoded(state: &State) -> Vec<Vec<u8>> {
    state.records().iter().map(|record| disk::write([record])).collect()
}

fn placed(error: LogError, what: &'static str, path: &Path) -> CheckpointError {
    let path = path.to_owned();
    match error {
        LogError::Io(source) => CheckpointError::Io { what, path, source },
        LogError::Foreign(why) => CheckpointError::Foreign { path, why },
        LogError::Damaged { at, why } => CheckpointError::Damaged { path, at, why },
    }
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_agent_core::TaskKey;
    use bourse_types::{AgentId, Epoch, FrameworkId, TaskId};
    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    fn admitted(id: &str) -> Record {
        Record::Admitted { agent: AgentId::new(id).expect("valid") }
    }

    fn forgotten(number: usize) -> Record {
        let framework = FrameworkId::new("F").expect("valid");
        Record::TaskForgotten {
            task: TaskKey { framework, task: TaskId::new(format!("t{number}")).expect("valid") },
        }
    }

    #[test]
    fn what_was_appended_is_there_for_the_next_agent() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut checkpoint, state) = Checkpoint::open(folder.path()).expect("fresh");
        assert_eq!(state, State::default());
        checkpoint.append(&[admitted("S1"), Record::EpochSeen { epoch: Epoch(3) }]).expect("written");
        checkpoint.append(&[forgotten(1)]).expect("written");
        drop(checkpoint);
        let (_, state) = Checkpoint::open(folder.path()).expect("readable");
        assert_eq!(
            (state.agent.expect("kept").as_str(), state.epoch, state.ended.len()),
            ("S1", Epoch(3), 1)
        );
    }

    #[test]
    fn records_that_were_added_together_are_there_together_or_not_at_all_wherever_the_log_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let (mut checkpoint, _) = Checkpoint::open(folder.path()).expect("fresh");
        checkpoint.append(&[admitted("S1")]).expect("written");
        let before = checkpoint.log.size();
        checkpoint.append(&[Record::EpochSeen { epoch: Epoch(3) }, forgotten(1)]).expect("written");
        drop(checkpoint);
        let bytes = std::fs::read(&path).expect("readable");
        for length in before as usize..=bytes.len() {
            std::fs::write(&path, &bytes[..length]).expect("written");
            let (_, state) = Checkpoint::open(folder.path()).expect("readable");
            let expected = if length == bytes.len() { (Epoch(3), 1) } else { (Epoch(0), 0) };
            assert_eq!((state.epoch, state.ended.len()), expected, "cut to {length}");
        }
    }

    #[test]
    fn a_disk_that_is_short_of_inodes_is_full_for_another_task_and_is_told_with_the_figure() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path();
        let options = Some("size=16m,nr_inodes=100");
        mount(Some("none"), disk, Some("tmpfs"), MsFlags::empty(), options).expect("as root");
        let (mut checkpoint, _) = Checkpoint::open(disk).expect("fresh");
        checkpoint.look_for_room();
        assert!(!checkpoint.is_full(), "{}", checkpoint.shortage());
        let files = disk.join("files");
        std::fs::create_dir(&files).expect("there is room");
        for number in 0..40 {
            std::fs::File::create(files.join(number.to_string())).expect("there is room");
        }
        checkpoint.look_for_room();
        assert!(checkpoint.is_full());
        let shortage = checkpoint.shortage();
        assert!(
            matches!(shortage, Shortage::Inodes { free: 1..FREE_INODES_MIN, needed: FREE_INODES_MIN }),
            "{shortage:?}"
        );
        checkpoint.append(&[admitted("S1")]).expect("that takes none");
        std::fs::remove_dir_all(&files).expect("there");
        checkpoint.make_room();
        assert!(!checkpoint.is_full(), "{}", checkpoint.shortage());
        drop(checkpoint);
        umount2(disk, MntFlags::MNT_DETACH).expect("mounted");
    }

    #[test]
    fn a_log_that_has_grown_is_written_anew_and_says_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut checkpoint, mut state) = Checkpoint::open(folder.path()).expect("fresh");
        let mut largest = 0;
        for number in 0..100_000 {
            let record = forgotten(number);
            state.apply(&record);
            checkpoint.append(&[record]).expect("written");
            largest = largest.max(checkpoint.log.size());
            checkpoint.compact_if_large(&state).expect("written");
        }
        assert!(largest < 2 * COMPACT_MIN, "{largest} bytes");
        drop(checkpoint);
        assert_eq!(Checkpoint::open(folder.path()).expect("readable").1, state);
    }
}
