//! What must survive: the registry.
//!
//! **What is this room for?** The [`Registry`] trait, behind which a database keeps the core's
//! [`Snapshot`], and the registry in memory that tests use.
//!
//! **What does it promise?** When [`commit`](Registry::commit) returns, all of the changes are on the disk, or none of
//! them is and the error says so. What was committed is there after any crash.
//!
//! **What does it leave to others?** What a change means is decided once, by [`Snapshot::apply`]; how a record looks on
//! disk by [`disk`](crate::disk); the RocksDB behind it is `bourse-store-rocksdb`, which only the binary links.

use std::sync::{Arc, Mutex, PoisonError};

use bourse_master_core::registry::{Change, Snapshot};

/// Keeps the registry. One master at a time has it open.
pub trait Registry: Send {
    /// Everything as it was committed last; empty the very first time. Called once, before any commit.
    fn load(&mut self) -> Result<Snapshot, RegistryError>;

    /// Writes the changes in order, in one synced write: all of them or none. Blocks for the disk, some milliseconds.
    /// Committing the same changes again does no harm.
    fn commit(&mut self, changes: &[Change]) -> Result<(), RegistryError>;
}

/// The registry could not be read or written. After a failed write nothing of the batch may be spoken.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The records could not be read at all.
    #[error("reading the registry failed; look at the disk of the work directory")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record is there but makes no sense.
    #[error("the registry has a record {key:?} that cannot be read; restore the work directory from a copy")]
    Corrupt {
        /// Which one.
        key: String,
        /// What is wrong with it.
        #[source]
        source: crate::disk::BadRecord,
    },
    /// The changes are not on the disk.
    #[error("writing {changes} changes to the registry failed; look at the disk of the work directory")]
    Write {
        /// How many there were.
        changes: usize,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A registry without a disk: what is committed outlives the master that committed it, as a clone of this value. It
/// can be told to fail.
#[derive(Clone, Debug, Default)]
pub struct MemoryRegistry {
    state: Arc<Mutex<MemoryState>>,
}

#[derive(Debug, Default)]
struct MemoryState {
    snapshot: Snapshot,
    commits: u64,
    broken: bool,
}

impl MemoryRegistry {
    /// An empty one.
    pub fn new() -> MemoryRegistry {
        MemoryRegistry::default()
    }

    /// From now on every commit fails, or works again.
    pub fn set_broken(&self, broken: bool) {
        self.state().broken = broken;
    }

    /// What is committed.
    pub fn snapshot(&self) -> Snapshot {
        self.state().snapshot.clone()
    }

    /// How many commits succeeded.
    pub fn commits(&self) -> u64 {
        self.state().commits
    }

    fn state(&self) -> std::sync::MutexGuard<'_, MemoryState> {
        // A test that panicked elsewhere leaves a whole value: no method here stops half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry for MemoryRegistry {
    fn load(&mut self) -> Result<Snapshot, RegistryError> {
        Ok(self.snapshot())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), RegistryError> {
        let mut state = self.state();
        if state.broken {
            let source = "this registry was told to fail".into();
            return Err(RegistryError::Write { changes: changes.len(), source });
        }
        changes.iter().for_each(|change| state.snapshot.apply(change));
        state.commits += 1;
        Ok(())
    }
}
