//! The checkpoint on disk: one append-only log of checksummed records.
//!
//! **What is this room for?** [`Checkpoint::open`] reads what an earlier agent left, [`Checkpoint::append`] adds to it,
//! and the log is written anew when it has grown far beyond what it adds up to.
//!
//! **What does it promise?** A record that was appended survives the process; after [`Checkpoint::sync`] it survives
//! the machine. A record that was torn by a crash is cut off, as nothing that relied on it was said. A damaged record in
//! the middle is never skipped and never read as something else: the log is refused, and the words say what to do.
//!
//! **What does it leave to others?** What the records mean: the core's [`State`].

mod disk;
mod log;

use std::io;
use std::path::{Path, PathBuf};

use bourse_agent_core::{Record, State};

use disk::BadRecord;
use log::{Log, LogError};

/// A log smaller than this is never written anew: it is read in milliseconds.
const COMPACT_MIN: u64 = 1 << 20;

/// A log so many times larger than what it adds up to is written anew.
const COMPACT_FACTOR: u64 = 4;

/// The checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("could not {what} the checkpoint {}; see whether its disk is full or damaged", path.display())]
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

/// The log of one agent, open for appending.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    log: Log,
    /// Size when the log was last written anew.
    compacted: u64,
}

impl Checkpoint {
    /// Reads the log in this directory, or begins one. What it adds up to is written anew, so that a log never keeps
    /// what an earlier agent has long forgotten.
    pub fn open(folder: &Path) -> Result<(Checkpoint, State), CheckpointError> {
        let path = folder.join("checkpoint");
        let mut state = State::default();
        let at = |error| placed(error, "read", &path);
        log::read(&path, |offset, payload| {
            let record = disk::read(payload).map_err(|bad: BadRecord| LogError::damaged(offset, bad))?;
            state.apply(&record);
            Ok(())
        })
        .map_err(at)?;
        let log = Log::rewrite(&path, &encoded(&state)).map_err(|error| placed(error, "write", &path))?;
        let compacted = log.size();
        Ok((Checkpoint { path, log, compacted }, state))
    }

    /// Adds records. When this returns an error, none of them may be relied upon.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<(), CheckpointError> {
        let payloads: Vec<Vec<u8>> = records.into_iter().map(disk::write).collect();
        self.log.append(&payloads).map_err(|error| placed(error, "write", &self.path))
    }

    /// Makes everything that was appended outlive a crash of the machine.
    pub fn sync(&mut self) -> Result<(), CheckpointError> {
        self.log.sync().map_err(|error| placed(error, "sync", &self.path))
    }

    /// Writes the log anew if it has grown far beyond this state, which is what it adds up to.
    pub fn compact_if_large(&mut self, state: &State) -> Result<(), CheckpointError> {
        if self.log.size() < COMPACT_MIN.max(self.compacted.saturating_mul(COMPACT_FACTOR)) {
            return Ok(());
        }
        let rewritten = Log::rewrite(&self.path, &encoded(state));
        self.log = rewritten.map_err(|error| placed(error, "write", &self.path))?;
        self.compacted = self.log.size();
        Ok(())
    }
}

fn encoded(state: &State) -> Vec<Vec<u8>> {
    state.records().iter().map(disk::write).collect()
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
mod tests {
    use super::*;
    use bourse_agent_core::TaskKey;
    use bourse_types::{AgentId, Epoch, FrameworkId, TaskId};

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
