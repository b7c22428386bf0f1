//! What the master was told, kept on the disk so that it can be told again.
//!
//! **What is this room for?** A recording is a folder of segments, each with a whole master as it was at one moment and all
//! inputs from then on, with their times and a hash of what came of them. The [`Recorder`] is the driver's end of it, a
//! [`Recording`] the reader's: it goes through the same states again.
//!
//! **What does it promise?** The driver never waits for it, and nothing that goes wrong with it stops the master: what does
//! not reach the disk is a gap, which is counted, and recording goes on behind it with another whole master. It takes a
//! bounded part of the disk. An input is handed over before it is applied, so that of a panic the cause is there.
//!
//! **What does it leave to others?** What survives a restart: that is the [`registry`](crate::registry). A recording is not
//! synced but after a panic, so a machine that goes down may take the last seconds of it along; a process that is killed
//! does not.

mod reader;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use bourse_master_core::{Effect, Event, Master};
use bourse_types::Now;

use crate::metrics::Metrics;
use writer::Writer;

pub use reader::{BadRecording, Outcome, Recording, Step, Verdict};

/// The folder of a master's recording, in its work directory.
pub const FOLDER: &str = "recording";

/// Batches on their way to the disk. With more than that the disk is slower than the master, and a gap is left.
const QUEUE_MAX: usize = 16;

/// How long the end of a master is held up for what is not written yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// The thread wants all inputs.
const FOLLOW: u8 = 0;

/// The thread wants all inputs and with the next ones a whole master, for another segment.
const SNAPSHOT: u8 = 1;

/// The thread wants nothing for now.
const REST: u8 = 2;

/// An input, and what is known of what came of it.
struct Taken {
    now: Now,
    event: Event,
    /// Of all effects up to and with its own; 0 while that is not known.
    chain: u64,
}

/// A master between two inputs.
struct Snapshot {
    master: Master,
    chain: u64,
    /// Inputs before it are missing.
    gap: bool,
}

enum Work {
    Batch { inputs: Vec<Taken>, snapshot: Option<Box<Snapshot>> },
    Crashed { inputs: Vec<Taken>, reply: SyncSender<io::Result<PathBuf>> },
}

/// Why a panic left no recording of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrashLost {
    /// It is off, rests, or had just left a gap.
    #[error("recording was off or at rest, so it is not known what led to it")]
    NotRecorded,
    /// The disk.
    #[error("the recording could not be finished")]
    Write(#[from] io::Error),
    /// The disk stands still.
    #[error("the recording was not finished within {}s; what is in its folder may lack the end", PATIENCE.as_secs())]
    Late,
}

/// The driver's end of a recording.
pub(crate) struct Recorder {
    taken: Vec<Taken>,
    chain: u64,
    /// All inputs since the last whole master were handed over.
    following: bool,
    work: Option<SyncSender<Work>>,
    /// What the thread wants.
    wish: Arc<AtomicU8>,
    /// Closed by the end of the thread.
    ended: mpsc::Receiver<()>,
    metrics: Metrics,
}

impl Recorder {
    /// One that records nothing.
    pub(crate) fn off() -> Recorder {
        let (mut recorder, ..) = Recorder::new(&Metrics::default());
        recorder.work = None;
        recorder
    }

    /// Begins a recording in this folder, which is made when it is not there, from this master on. Recordings of masters
    /// before stay as long as all of it has at most `max_bytes`; 0: nothing is recorded.
    ///
    /// # Errors
    ///
    /// No thread could be started. A folder that cannot be written is told in the log and tried again.
    pub(crate) fn start(
        folder: &Path,
        max_bytes: u64,
        master: &Master,
        metrics: &Metrics,
    ) -> io::Result<Recorder> {
        if max_bytes == 0 {
            return Ok(Recorder::off());
        }
        let (mut recorder, inbox, ending) = Recorder::new(metrics);
        let writer = Writer::new(folder, max_bytes, recorder.wish.clone(), metrics.clone());
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            writer.run(&inbox);
            drop(ending);
        })?;
        recorder.send(Vec::new(), Some(master), false);
        Ok(recorder)
    }

    /// One whose work goes to the receiver; who works drops the sender at the end.
    fn new(metrics: &Metrics) -> (Recorder, mpsc::Receiver<Work>, mpsc::Sender<()>) {
        let (work, inbox) = mpsc::sync_channel(QUEUE_MAX);
        let (ending, ended) = mpsc::channel();
        let recorder = Recorder {
            taken: Vec::new(),
            chain: 0,
            following: false,
            work: Some(work),
            wish: Arc::new(AtomicU8::new(FOLLOW)),
            ended,
            metrics: metrics.clone(),
        };
        (recorder, inbox, ending)
    }

    /// An input, before it is applied.
    pub(crate) fn input(&mut self, now: Now, event: &Event) {
        if self.following {
            self.taken.push(Taken { now, event: event.clone(), chain: 0 });
        }
    }

    /// All that came of the last input.
    pub(crate) fn effects(&mut self, effects: &[Effect]) {
        if let Some(last) = self.taken.last_mut() {
            self.chain = link(self.chain, effects);
            last.chain = self.chain;
        }
    }

    /// All inputs of a batch were applied: hands them over, with a clone of the master where one is wanted. Never waits.
    pub(crate) fn batch(&mut self, master: &Master) {
        let inputs = std::mem::take(&mut self.taken);
        match self.wish.load(Ordering::Acquire) {
            REST => self.following = false,
            SNAPSHOT => self.send(inputs, Some(master), !self.following),
            _ if !self.following => self.send(inputs, Some(master), true),
            _ if inputs.is_empty() => {}
            _ => self.send(inputs, None, false),
        }
    }

    fn send(&mut self, inputs: Vec<Taken>, master: Option<&Master>, gap: bool) {
        let Some(work) = &self.work else { return };
        let snapshot =
            master.map(|master| Box::new(Snapshot { master: master.clone(), chain: self.chain, gap }));
        match work.try_send(Work::Batch { inputs, snapshot }) {
            Ok(()) => {
                self.following = true;
                if master.is_some() {
                    // Not where it has come to want something else meanwhile.
                    let wish = &self.wish;
                    let _ = wish.compare_exchange(SNAPSHOT, FOLLOW, Ordering::AcqRel, Ordering::Acquire);
                }
            }
            Err(TrySendError::Full(_)) => {
                if self.following {
                    self.metrics.recording_gap();
                }
                self.following = false;
            }
            // It panicked, which is in the log.
            Err(TrySendError::Disconnected(_)) => {
                self.following = false;
                self.work = None;
            }
        }
    }

    /// The master panicked over the last input: writes and syncs all up to it, and tells the folder where it is kept.
    /// Nothing is recorded from then on. Waits for ten seconds at most.
    pub(crate) fn crashed(&mut self) -> Result<PathBuf, CrashLost> {
        let following = std::mem::replace(&mut self.following, false);
        let work = self.work.take().filter(|_| following).ok_or(CrashLost::NotRecorded)?;
        let until = Instant::now() + PATIENCE;
        let (reply, answer) = mpsc::sync_channel(1);
        let mut message = Work::Crashed { inputs: std::mem::take(&mut self.taken), reply };
        loop {
            match work.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < until => message = back,
                Err(_) => return Err(CrashLost::Late),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = until.saturating_duration_since(Instant::now());
        Ok(answer.recv_timeout(left).map_err(|_| CrashLost::Late)??)
    }
}

impl Drop for Recorder {
    /// What was applied is written, unless the disk stands still.
    fn drop(&mut self) {
        let inputs = std::mem::take(&mut self.taken);
        if !inputs.is_empty() {
            self.send(inputs, None, false);
        }
        if self.work.take().is_some() {
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

/// The chain with these effects behind it; never 0. By the hasher of this build: another one may have another.
fn link(chain: u64, effects: &[Effect]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(chain);
    effects.hash(&mut hasher);
    hasher.finish().max(1)
}
