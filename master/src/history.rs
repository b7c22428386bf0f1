//! What happened, for people: the history.
//!
//! **What is this room for?** The [`History`] trait, behind which a database keeps what the core
//! [records](bourse_master_core::Effect::Record), and the history in memory that tests use.
//!
//! **What does it promise?** Entries are numbered from 1 in the order in which they happened, without gaps while the
//! master lives, and are read newest first. It is bounded by age and by size, the oldest go first.
//!
//! **What does it leave to others?** Nothing depends on it: it is written without a sync, and a crash may take its last
//! second. What must survive is in the [`registry`](crate::registry).

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bourse_master_core::history::{Entry, Kind};
use bourse_types::Wall;

use crate::config::HistoryBounds;

/// An entry with its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    /// From 1.
    pub sequence: u64,
    /// When the master wrote it down.
    pub at: Wall,
    /// What happened.
    pub entry: Arc<Entry>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these; empty: all.
    pub kinds: Vec<Kind>,
    /// Only what names an agent, framework, task or role that begins so; empty: all.
    pub about: String,
    /// Or what names one of these.
    pub ids: BTreeSet<String>,
}

impl Filter {
    /// Whether the entry is wanted.
    pub fn matches(&self, entry: &Entry) -> bool {
        let named = || {
            let ids = [
                entry.agent.as_ref().map(|id| id.as_str()),
                entry.framework.as_ref().map(|id| id.as_str()),
                entry.task.as_ref().map(|id| id.as_str()),
                entry.role.as_ref().map(|role| role.as_str()),
            ];
            ids.into_iter().flatten().any(|id| id.starts_with(&self.about) || self.ids.contains(id))
        };
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind)) && (self.about.is_empty() || named())
    }
}

/// A read looks at no more than so many entries, so that a filter that matches nothing has an end: a fraction of a
/// second on the machines that we know.
pub const SCAN_MAX: usize = 200_000;

/// Keeps the history. Reading does not wait for writing.
pub trait History: Send + Sync {
    /// The highest sequence number that is kept; 0 when there is none.
    fn last_sequence(&self) -> Result<u64, HistoryError>;

    /// Adds entries, without waiting for the disk. Their numbers follow [`last_sequence`](History::last_sequence).
    fn append(&self, entries: &[Stamped]) -> Result<(), HistoryError>;

    /// The newest entries with a number below `before` that the filter wants, newest first, at most `limit`.
    fn read(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Vec<Stamped>, HistoryError>;

    /// Drops the oldest entries until both bounds hold. Tells how many.
    fn trim(&self, now: Wall, bounds: HistoryBounds) -> Result<u64, HistoryError>;
}

/// The history could not be read or written. The master goes on: nothing depends on it.
#[derive(Debug, thiserror::Error)]
#[error("{tried} the history failed; look at the disk of the work directory")]
pub struct HistoryError {
    /// "reading", "writing", "trimming".
    pub tried: &'static str,
    /// What the store said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A history without a disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryHistory {
    entries: Arc<Mutex<VecDeque<Stamped>>>,
}

impl MemoryHistory {
    /// An empty one.
    pub fn new() -> MemoryHistory {
        MemoryHistory::default()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, VecDeque<Stamped>> {
        // No method here stops half way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History for MemoryHistory {
    fn last_sequence(&self) -> Result<u64, HistoryError> {
        Ok(self.entries().back().map_or(0, |entry| entry.sequence))
    }

    fn append(&self, entries: &[Stamped]) -> Result<(), HistoryError> {
        self.entries().extend(entries.iter().cloned());
        Ok(())
    }

    fn read(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Vec<Stamped>, HistoryError> {
        let entries = self.entries();
        let newest_first =
            entries.iter().rev().filter(|entry| before.is_none_or(|before| entry.sequence < before));
        Ok(newest_first.filter(|entry| filter.matches(&entry.entry)).take(limit).cloned().collect())
    }

    fn trim(&self, now: Wall, bounds: HistoryBounds) -> Result<u64, HistoryError> {
        let mut entries = self.entries();
        let mut dropped = 0;
        // Its size is what it has in memory; a rough figure is enough for a test.
        while entries.front().is_some_and(|entry| {
            now.since(entry.at) > bounds.max_age
                || (entries.len() * size_of::<Entry>()) as u64 > bounds.max_bytes
        }) {
            entries.pop_front();
            dropped += 1;
        }
        Ok(dropped)
    }
}
