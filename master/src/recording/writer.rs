//! The thread that writes a recording, and keeps it within its bounds.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bourse_proto::disk::segment_record::Record;
use bourse_proto::disk::{PartsEnd, SegmentEnd, SegmentHead};
use tracing::{debug, warn};

use super::segment::{self, BUILD, Key, MAGIC};
use super::{REST, SNAPSHOT, Snapshot, Taken, Work};
use crate::disk;
use crate::metrics::Metrics;

/// A segment's inputs may have so much, or twice what its master has if that is more: then a recording is for the most part
/// inputs, and little has to be applied to come to any of them.
const INPUTS: u64 = 16 << 20;

/// After so long a segment ends also with less, so that little has to be applied.
const AGE: Duration = Duration::from_secs(600);

/// With less than that it is not worth another whole master.
const INPUTS_LEAST: u64 = 1 << 20;

/// One master may have this part of all that a recording may have, and the inputs behind it too: there are always a few
/// segments.
const SHARE: u64 = 4;

/// Panics whose segment is kept.
const CRASHES_MAX: usize = 4;

/// So much of a master is written at once.
const CHUNK: usize = 1 << 20;

/// A disk that took nothing is tried again after so long.
const RETRY: Duration = Duration::from_secs(60);

/// A master that is too large for the bound may be smaller after so long.
const RETRY_LARGE: Duration = Duration::from_secs(600);

/// Why nothing is recorded for a while.
enum Pause {
    Disk(io::Error),
    Large,
}

impl From<io::Error> for Pause {
    fn from(error: io::Error) -> Pause {
        Pause::Disk(error)
    }
}

/// The segment that is being written.
struct Open {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// Of these, how many are the master.
    master: u64,
    since: Instant,
    chain: u64,
    /// The next segment was asked for.
    asked: bool,
}

pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) max_bytes: u64,
    /// Segments that are whole, the oldest first, and their sizes.
    kept: VecDeque<(PathBuf, u64)>,
    number: u64,
    open: Option<Open>,
    wish: Arc<AtomicU8>,
    /// While it rests: until when.
    resting: Option<Instant>,
    metrics: Metrics,
}

impl Writer {
    pub(super) fn new(folder: &Path, max_bytes: u64, wish: Arc<AtomicU8>, metrics: Metrics) -> Writer {
        Writer {
            folder: folder.to_owned(),
            max_bytes,
            kept: VecDeque::new(),
            number: 0,
            open: None,
            wish,
            resting: None,
            metrics,
        }
    }

    /// Works until there is nobody more who could want something.
    pub(super) fn run(mut self, inbox: &Receiver<Work>) {
        match segment::list(&self.folder) {
            Ok(found) => self.kept.extend(found.into_iter().map(|(_, path)| sized(path))),
            Err(error) => warn!(%error, path = %self.folder.display(), "looking for recordings of before"),
        }
        loop {
            let work = match self.resting {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => inbox.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match work {
                Ok(work) => self.take(work),
                Err(RecvTimeoutError::Timeout) => {
                    self.resting = None;
                    self.wish.store(SNAPSHOT, Ordering::Release);
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.close(false) {
            warn!(%error, "the end of the recording");
        }
    }

    pub(super) fn take(&mut self, work: Work) {
        match work {
            Work::Batch { inputs, snapshot } => {
                if let Err(why) = self.batch(&inputs, snapshot) {
                    self.rest(why);
                }
            }
            Work::Crashed { inputs, reply } => {
                // Nobody waits any more where this fails.
                let _ = reply.send(self.crashed(&inputs));
            }
        }
    }

    fn batch(&mut self, inputs: &[Taken], snapshot: Option<Box<Snapshot>>) -> Result<(), Pause> {
        self.put(inputs)?;
        match snapshot {
            Some(snapshot) => {
                let gap = snapshot.gap || (self.number > 0 && self.open.is_none());
                self.close(false)?;
                self.begin(&snapshot, gap)?;
            }
            None => self.ask(),
        }
        self.trim();
        Ok(())
    }

    /// Adds inputs to the segment; without one they have nothing to stand behind.
    fn put(&mut self, inputs: &[Taken]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(last) = inputs.last() else { return Ok(()) };
        let mut bytes = Vec::new();
        for Taken { now, event, chain } in inputs {
            segment::write(Record::Input(disk::event::record(*now, event, *chain)), &mut bytes);
        }
        open.chain = last.chain;
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.write_all(bytes)?;
        open.bytes += bytes.len() as u64;
        self.metrics.recorded(bytes.len());
        Ok(())
    }

    /// Another segment, with this master in front.
    fn begin(&mut self, snapshot: &Snapshot, gap: bool) -> Result<(), Pause> {
        let Snapshot { master, chain, .. } = snapshot;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.number += 1;
        let mut epoch = 0;
        let mut bytes = MAGIC.to_vec();
        for part in master.parts() {
            if let bourse_master_core::state::Part::Head(head) = &part {
                epoch = head.epoch.0;
                let key = Key { epoch, number: self.number };
                let path = key.path(&self.folder);
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                let since = Instant::now();
                let open = Open { file, path, bytes: 0, master: 0, since, chain: *chain, asked: false };
                self.open = Some(open);
                let head = SegmentHead {
                    build: BUILD.to_owned(),
                    epoch,
                    number: self.number,
                    opened_ms: wall_ms(),
                    gap,
                    chain: *chain,
                };
                segment::write(Record::Head(head), &mut bytes);
            }
            segment::write(Record::Part(disk::state::write(&part)), &mut bytes);
            if bytes.len() >= CHUNK {
                self.append(&bytes)?;
                bytes.clear();
                if self.open.as_ref().is_some_and(|open| open.bytes > self.max_bytes / SHARE) {
                    return Err(Pause::Large);
                }
            }
        }
        segment::write(Record::PartsEnd(PartsEnd {}), &mut bytes);
        self.append(&bytes)?;
        if let Some(open) = &mut self.open {
            if open.bytes > self.max_bytes / SHARE {
                return Err(Pause::Large);
            }
            open.master = open.bytes;
            debug!(epoch, number = self.number, bytes = open.bytes, "another segment of the recording");
        }
        self.metrics.recording_rests(false);
        Ok(())
    }

    /// Asks for the next segment when this one has enough.
    fn ask(&mut self) {
        let Some(open) = &mut self.open else { return };
        let inputs = open.bytes - open.master;
        let most = INPUTS.max(2 * open.master).min(self.max_bytes / SHARE);
        let enough = inputs > most || (inputs > INPUTS_LEAST && open.since.elapsed() > AGE);
        if enough && !open.asked {
            open.asked = true;
            self.wish.store(SNAPSHOT, Ordering::Release);
        }
    }

    /// Ends the segment, if there is one.
    pub(super) fn close(&mut self, crashed: bool) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let mut bytes = Vec::new();
        segment::write(Record::End(SegmentEnd { chain: open.chain, crashed }), &mut bytes);
        self.append(&bytes)?;
        if let Some(open) = self.open.take() {
            self.kept.push_back((open.path, open.bytes));
        }
        Ok(())
    }

    /// Nothing is recorded until it is tried again.
    fn rest(&mut self, why: Pause) {
        let open = self.open.take();
        let pause = match why {
            Pause::Disk(error) => {
                warn!(
                    %error,
                    path = %self.folder.display(),
                    "the recording rests: it could not be written; it is tried again in a minute"
                );
                RETRY
            }
            Pause::Large => {
                warn!(
                    max_bytes = self.max_bytes,
                    "the recording rests: the master alone has more than a quarter of --recording-max-bytes; raise it"
                );
                RETRY_LARGE
            }
        };
        // A segment whose master is not whole is of no use, and what a failed write has left behind belongs to nothing.
        match open {
            Some(open) if open.master == 0 => drop(fs::remove_file(&open.path)),
            Some(open) => {
                let _ = open.file.set_len(open.bytes);
                self.kept.push_back((open.path, open.bytes));
            }
            None => {}
        }
        self.metrics.recording_rests(true);
        self.resting = Some(Instant::now() + pause);
        self.wish.store(REST, Ordering::Release);
    }

    /// Removes the oldest segments until the rest is within the bound.
    fn trim(&mut self) {
        let open = self.open.as_ref().map_or(0, |open| open.bytes);
        let mut bytes = open + self.kept.iter().map(|(_, bytes)| bytes).sum::<u64>();
        while bytes > self.max_bytes {
            let Some((path, size)) = self.kept.pop_front() else { return };
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    warn!(%error, path = %path.display(), "removing the oldest segment of the recording");
                }
                _ => {}
            }
            bytes -= size;
        }
    }

    /// Writes and syncs all that led to a panic, and keeps it beside the recording.
    fn crashed(&mut self, inputs: &[Taken]) -> io::Result<PathBuf> {
        self.put(inputs)?;
        let Some(open) = &self.open else {
            return Err(io::Error::other("the recording rests, so it is not known what led to it"));
        };
        let path = open.path.clone();
        self.close(true)?;
        File::open(&path)?.sync_all()?;
        let beside = self.folder.parent().unwrap_or(&self.folder);
        let epoch = path.file_stem().and_then(|stem| stem.to_str()?.split_once('-')).map_or("", |it| it.0);
        let kept = beside.join(format!("crash-{epoch}-{}", wall_ms()));
        DirBuilder::new().recursive(true).mode(0o700).create(&kept)?;
        let copy = kept.join(path.file_name().unwrap_or_default());
        // Where no file may have two names it is copied.
        fs::hard_link(&path, &copy).or_else(|_| fs::copy(&path, &copy).map(drop))?;
        File::open(&kept)?.sync_all()?;
        File::open(beside)?.sync_all()?;
        forget_crashes(beside)?;
        Ok(kept)
    }
}

fn sized(path: PathBuf) -> (PathBuf, u64) {
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    (path, bytes)
}

/// Keeps the newest crashes only.
fn forget_crashes(folder: &Path) -> io::Result<()> {
    let mut crashes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("crash-"));
        let at = name.and_then(|name| name.split_once('-')?.1.parse::<u64>().ok());
        crashes.extend(at.map(|at| (at, path.clone())));
    }
    crashes.sort();
    let old = crashes.len().saturating_sub(CRASHES_MAX);
    crashes.iter().take(old).try_for_each(|(_, path)| fs::remove_dir_all(path))
}

fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
