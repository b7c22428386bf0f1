//! Goes through a recording again, with a master that is told the same at the same times.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use bourse_frames::Frame;
use bourse_master_core::state::{BadState, Part};
use bourse_master_core::{Effect, Effects, Event, Master};
use bourse_proto::disk::segment_record::Record;
use bourse_proto::disk::{InputRecord, SegmentEnd, SegmentHead, SegmentRecord};
use bourse_types::{Epoch, Now};
use prost::Message as _;

use super::segment::{self, BUILD, Key, MAGIC};
use super::{FOLDER, link};
use crate::disk::{self, BadRecord};

/// A recording that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum BadRecording {
    /// The disk.
    #[error("reading the recording at {path}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is nothing in the folder.
    #[error(
        "there is no recording in {0}; name a master's work directory, the folder \"recording\" in it, or what a panic left there"
    )]
    Empty(PathBuf),
    /// No segment is of this epoch.
    #[error("there is no recording of epoch {wanted}; there are {}", listed(.there))]
    Epoch {
        /// What was asked for.
        wanted: Epoch,
        /// What there is.
        there: Vec<Epoch>,
    },
    /// It is something else.
    #[error("{0} is no segment of a recording that this build knows")]
    Foreign(PathBuf),
    /// It was changed after it was written, or a piece is missing.
    #[error(
        "{path} is damaged at byte {at}: {why}; segments behind it may still be whole, move it away to replay them"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The offset.
        at: u64,
        /// In what way.
        why: String,
    },
    /// A record is whole, and makes no sense to this build.
    #[error("{path} says at byte {at} what this build does not understand; it was recorded by build {build}")]
    Record {
        /// The segment.
        path: PathBuf,
        /// The offset.
        at: u64,
        /// Who wrote it; empty before that was read.
        build: String,
        /// What is wrong.
        #[source]
        source: BadRecord,
    },
    /// The master in front of a segment is none.
    #[error("{path} begins with a master that cannot be")]
    State {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: BadState,
    },
}

fn listed(epochs: &[Epoch]) -> String {
    epochs.iter().map(|epoch| epoch.0.to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether an input has the effects again that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Same,
    /// Other ones. Each by the hash of all effects up to and with its own.
    Other {
        /// What it had.
        recorded: u64,
        /// What it has.
        replayed: u64,
    },
    /// What it had is not known, or was written by another build, which may have another hash for it.
    Unknown,
    /// The master panicked over it. It is the last one.
    Panicked,
}

/// One input, after it was applied.
#[derive(Debug)]
pub struct Step<'a> {
    /// When it was applied.
    pub now: Now,
    /// The input.
    pub event: &'a Event,
    /// What comes of it; after a panic what was said up to then.
    pub effects: &'a [Effect],
    /// The master behind it.
    pub master: &'a Master,
    /// Whether that is what came of it then.
    pub verdict: Verdict,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Inputs that were applied.
    pub inputs: u64,
    /// Effects that they had.
    pub effects: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Segments that begin behind missing inputs; the first one of a recording may.
    pub gaps: u64,
    /// Inputs that had other effects.
    pub others: u64,
    /// Inputs of which it is not known.
    pub unknown: u64,
    /// Numbers of segments that begin with another master than the one that was replayed up to there.
    pub other_states: Vec<u64>,
    /// Who wrote it.
    pub builds: BTreeSet<String>,
    /// The hash of all effects.
    pub chain: u64,
    /// It was ended by a panic when it was recorded.
    pub crashed: bool,
    /// The replayed master panicked.
    pub panicked: bool,
}

impl Outcome {
    /// Whether nothing was other than it was, as far as that is known.
    pub fn is_same(&self) -> bool {
        self.others == 0 && self.other_states.is_empty() && self.panicked == self.crashed
    }
}

/// A folder of segments.
#[derive(Debug)]
pub struct Recording {
    epochs: BTreeMap<Epoch, Vec<(u64, PathBuf)>>,
}

impl Recording {
    /// The recording in a folder: that of a master, what a panic left, or a master's work directory.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or has no segment.
    pub fn open(folder: &Path) -> Result<Recording, BadRecording> {
        let read = |path: &Path| {
            segment::list(path).map_err(|source| BadRecording::Read { path: path.to_owned(), source })
        };
        let mut found = read(folder)?;
        if found.is_empty() {
            found = read(&folder.join(FOLDER))?;
        }
        if found.is_empty() {
            return Err(BadRecording::Empty(folder.to_owned()));
        }
        let mut epochs: BTreeMap<Epoch, Vec<(u64, PathBuf)>> = BTreeMap::new();
        for (Key { epoch, number }, path) in found {
            epochs.entry(Epoch(epoch)).or_default().push((number, path));
        }
        Ok(Recording { epochs })
    }

    /// The epochs of which there is something, the oldest first. There is at least one.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> {
        self.epochs.keys().copied()
    }

    /// Applies every input of an epoch in order, and shows each to `each` until that breaks. At the head of each segment
    /// the replayed master is compared with what is written there; it goes on with what is written.
    ///
    /// # Errors
    ///
    /// What is damaged is never passed over. Only what was torn by the end of the master is.
    pub fn replay(
        &self,
        epoch: Epoch,
        mut each: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, BadRecording> {
        let segments = self
            .epochs
            .get(&epoch)
            .ok_or_else(|| BadRecording::Epoch { wanted: epoch, there: self.epochs().collect() })?;
        let mut replay = Replay::default();
        for (number, path) in segments {
            if replay.segment(*number, path, &mut each)?.is_break() {
                break;
            }
        }
        replay.outcome.chain = replay.chain;
        Ok(replay.outcome)
    }
}

/// What is known while a recording is gone through.
#[derive(Default)]
struct Replay {
    master: Option<Master>,
    chain: u64,
    /// The segment before, and whether its end was there.
    before: Option<(u64, bool)>,
    outcome: Outcome,
}

impl Replay {
    fn segment(
        &mut self,
        number: u64,
        path: &Path,
        each: &mut impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, BadRecording> {
        let bytes =
            std::fs::read(path).map_err(|source| BadRecording::Read { path: path.to_owned(), source })?;
        let mut records = Records::of(path, &bytes)?;
        let damaged =
            |at: u64, why: &str| BadRecording::Damaged { path: path.to_owned(), at, why: why.to_owned() };
        // One that was torn before its master was whole has no inputs.
        let Some((at, record)) = records.next()? else { return Ok(ControlFlow::Continue(())) };
        let Record::Head(head) = record else { return Err(damaged(at, "its head is missing")) };
        records.build.clone_from(&head.build);
        let mut parts = Vec::new();
        loop {
            match records.next()? {
                None => return Ok(ControlFlow::Continue(())),
                Some((_, Record::PartsEnd(_))) => break,
                Some((at, Record::Part(part))) => {
                    parts.push(disk::state::read(part).map_err(|source| records.bad(at, source))?);
                }
                Some((at, _)) => return Err(damaged(at, "the end of its master is missing")),
            }
        }
        let follows = !head.gap && self.before.is_some_and(|(before, _)| before + 1 == number);
        if follows && self.before.is_some_and(|(_, ended)| !ended) {
            return Err(damaged(at, "the end of the segment before it is missing"));
        }
        self.begin(number, path, &head, parts, follows)?;

        let mut ended = None;
        while let Some((at, record)) = records.next()? {
            match record {
                _ if ended.is_some() => return Err(damaged(at, "there is something behind its end")),
                Record::Input(input) => {
                    let flow = self.input(input, head.build == BUILD, each);
                    if flow.map_err(|source| records.bad(at, source))?.is_break() {
                        // The last word may be that it panicked then, too.
                        if self.outcome.panicked
                            && let Some((_, Record::End(end))) = records.next()?
                        {
                            self.outcome.crashed |= end.crashed;
                        }
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Record::End(end) => ended = Some(end),
                Record::Head(_) | Record::Part(_) | Record::PartsEnd(_) => {
                    return Err(damaged(at, "the master begins again"));
                }
            }
        }
        self.outcome.crashed |= matches!(ended, Some(SegmentEnd { crashed: true, .. }));
        self.before = Some((number, ended.is_some()));
        Ok(ControlFlow::Continue(()))
    }

    /// Goes on with the master in front of a segment.
    fn begin(
        &mut self,
        number: u64,
        path: &Path,
        head: &SegmentHead,
        parts: Vec<Part>,
        follows: bool,
    ) -> Result<(), BadRecording> {
        self.outcome.segments += 1;
        self.outcome.gaps += u64::from(head.gap);
        self.outcome.builds.insert(head.build.clone());
        let known = self.master.as_ref().filter(|_| follows);
        if known.is_some_and(|master| master.parts().eq(parts.iter().cloned())) {
            return Ok(());
        }
        if known.is_some() {
            self.outcome.other_states.push(number);
        }
        let master =
            Master::restore(parts).map_err(|source| BadRecording::State { path: path.to_owned(), source })?;
        self.master = Some(master);
        self.chain = head.chain;
        Ok(())
    }

    fn input(
        &mut self,
        record: InputRecord,
        same_build: bool,
        each: &mut impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, BadRecord> {
        let recorded = record.chain;
        let (now, event) = disk::event::told(record)?;
        let master = self.master.as_mut().ok_or(BadRecord::Missing("the master in front of it"))?;
        let mut effects = Effects::default();
        let told = event.clone();
        let applied = std::panic::catch_unwind(AssertUnwindSafe(|| master.apply(now, told, &mut effects)));
        let replayed = link(self.chain, &effects);
        let verdict = match (applied, recorded) {
            (Err(_), _) => Verdict::Panicked,
            (Ok(()), 0) => Verdict::Unknown,
            (Ok(()), _) if recorded == replayed => Verdict::Same,
            (Ok(()), _) if !same_build => Verdict::Unknown,
            (Ok(()), _) => Verdict::Other { recorded, replayed },
        };
        // From here on it is compared what comes of the next ones.
        self.chain = if recorded == 0 { replayed } else { recorded };
        self.outcome.inputs += 1;
        self.outcome.effects += effects.len() as u64;
        self.outcome.others += u64::from(matches!(verdict, Verdict::Other { .. }));
        self.outcome.unknown += u64::from(verdict == Verdict::Unknown);
        self.outcome.panicked |= verdict == Verdict::Panicked;
        let flow = each(Step { now, event: &event, effects: &effects, master, verdict });
        // A master that panicked is no more.
        Ok(if verdict == Verdict::Panicked { ControlFlow::Break(()) } else { flow })
    }
}

/// The records of one segment.
struct Records<'a> {
    path: &'a Path,
    total: usize,
    rest: &'a [u8],
    build: String,
}

impl<'a> Records<'a> {
    fn of(path: &'a Path, bytes: &'a [u8]) -> Result<Records<'a>, BadRecording> {
        let rest: &[u8] = match bytes.strip_prefix(MAGIC) {
            Some(rest) => rest,
            // Torn before it had its first line.
            None if MAGIC.starts_with(bytes) => &[],
            None => return Err(BadRecording::Foreign(path.to_owned())),
        };
        Ok(Records { path, total: bytes.len(), rest, build: String::new() })
    }

    /// The next one and where it stands; nothing at the end, and where the rest is torn.
    fn next(&mut self) -> Result<Option<(u64, Record)>, BadRecording> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = (self.total - self.rest.len()) as u64;
        match bourse_frames::split(self.rest) {
            Frame::Whole { payload, after } => {
                self.rest = after;
                let decoded = SegmentRecord::decode(payload).map_err(BadRecord::from);
                let record = decoded.and_then(|it| it.record.ok_or(BadRecord::Missing("the record")));
                Ok(Some((at, record.map_err(|source| self.bad(at, source))?)))
            }
            Frame::Torn => {
                self.rest = &[];
                Ok(None)
            }
            Frame::Damaged(why) => {
                Err(BadRecording::Damaged { path: self.path.to_owned(), at, why: why.to_owned() })
            }
        }
    }

    fn bad(&self, at: u64, source: BadRecord) -> BadRecording {
        BadRecording::Record { path: self.path.to_owned(), at, build: self.build.clone(), source }
    }
}
