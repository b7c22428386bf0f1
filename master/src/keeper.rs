//! The thread that writes: registry first, synced; then the history.
//!
//! **What is this room for?** RocksDB blocks; the driver must not. One thread owns the registry and is told what to
//! keep, a batch at a time.
//!
//! **What does it promise?** The answer to a batch with changes comes after its one sync. A batch without changes is
//! not synced and not waited for. Entries of a batch are written only after its changes are on the disk.
//!
//! **What does it leave to others?** What to do when a write fails: the driver stops. A history that cannot be written
//! is logged and does not stop anybody.

use std::sync::Arc;
use std::time::Duration;

use bourse_master_core::registry::Change;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::config::HistoryBounds;
use crate::history::{History, Stamped};
use crate::metrics::Metrics;
use crate::registry::{Registry, RegistryError};

/// Batches on their way to the disk. More than a few means that the disk is slower than the master, and the driver
/// waits.
const QUEUE_MAX: usize = 64;

/// The history is trimmed so often.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// What one batch leaves behind.
struct Work {
    changes: Vec<Change>,
    entries: Vec<Stamped>,
    done: oneshot::Sender<Result<(), RegistryError>>,
}

/// The driver's end of the thread.
#[derive(Debug)]
pub(crate) struct Keeper {
    work: mpsc::Sender<Work>,
}

/// The batch is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The registry said no.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The thread is gone, which happens only when it panicked.
    #[error("the thread that writes the registry has died; its panic is in the log")]
    Died,
}

impl Keeper {
    /// Starts the thread. It ends when the keeper is dropped and all is written; the receiver then gets its end.
    pub(crate) fn start(
        mut registry: Box<dyn Registry>,
        history: Arc<dyn History>,
        bounds: HistoryBounds,
        clock: Clock,
        metrics: Metrics,
    ) -> std::io::Result<(Keeper, oneshot::Receiver<()>)> {
        let (work, mut inbox) = mpsc::channel::<Work>(QUEUE_MAX);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            let mut trimmed = None;
            while let Some(Work { changes, entries, done }) = inbox.blocking_recv() {
                let result = if changes.is_empty() {
                    Ok(())
                } else {
                    let timer = metrics.sync_time();
                    let result = registry.commit(&changes);
                    timer.stop();
                    result
                };
                let failed = result.is_err();
                // A driver that no longer listens has stopped.
                let _ = done.send(result);
                if !failed && !entries.is_empty() {
                    if let Err(error) = history.append(&entries) {
                        warn!(error = &error as &dyn std::error::Error, "the history was not written");
                    }
                    let now = clock.now();
                    if trimmed.is_none_or(|last| now.mono.since(last) >= TRIM_INTERVAL) {
                        trimmed = Some(now.mono);
                        match history.trim(now.wall, bounds) {
                            Ok(0) => {}
                            Ok(dropped) => debug!(dropped, "old history was dropped"),
                            Err(error) => {
                                warn!(
                                    error = &error as &dyn std::error::Error,
                                    "the history was not trimmed"
                                );
                            }
                        }
                    }
                }
            }
            // The databases are closed before anybody hears of the end.
            drop((registry, history));
            let _ = ended.send(());
        })?;
        Ok((Keeper { work }, end))
    }

    /// Keeps a batch. Returns when its changes are synced; at once when there are none.
    pub(crate) async fn keep(&self, changes: Vec<Change>, entries: Vec<Stamped>) -> Result<(), KeepError> {
        let sync = !changes.is_empty();
        let (done, answer) = oneshot::channel();
        self.work.send(Work { changes, entries, done }).await.map_err(|_| KeepError::Died)?;
        if !sync {
            return Ok(());
        }
        Ok(answer.await.map_err(|_| KeepError::Died)??)
    }
}
