//! Registry and history of a master on RocksDB.
//!
//! **What is this room for?** The databases behind [`Registry`](bourse_master::registry::Registry) and
//! [`History`](bourse_master::history::History). Only the binary links it, so that nothing else waits for C++.
//!
//! **What does it promise?** A commit of the registry is one synced write: all of it or nothing is there after a crash.
//! A database that another process has open, that a newer build wrote, or that is damaged is refused in words.
//!
//! **What does it leave to others?** What the records mean: [`bourse_master::disk`].
//!
//! They are two databases, not two column families of one, because they want opposite things of a write-ahead log. The
//! registry's holds synced writes only, so damage anywhere but in its last, unfinished record is a reason to stop. The
//! history's is never synced, so after a power loss it is cut where it stops making sense. In a shared log either the
//! registry could silently lose what was spoken, or a torn line of the history could keep the master down.

#![warn(missing_docs)]

mod database;
mod history;
mod registry;

use std::path::Path;

use bourse_master::Stores;

pub use database::OpenError;
pub use history::RocksHistory;
pub use registry::RocksRegistry;

/// Opens both databases below a master's work directory, and makes them where there are none.
pub fn open(work_dir: &Path) -> Result<Stores, OpenError> {
    // Opening takes some fifty milliseconds each, mostly waiting for the disk: both at once.
    std::thread::scope(|scope| {
        let history = scope.spawn(|| RocksHistory::open(&work_dir.join("history")));
        let registry = RocksRegistry::open(&work_dir.join("registry"))?;
        let history = history.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Stores { registry: Box::new(registry), history: Box::new(history) })
    })
}
