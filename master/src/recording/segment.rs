//! The form of a segment: its name, and its records.

use std::path::{Path, PathBuf};

use bourse_proto::disk::SegmentRecord;
use bourse_proto::disk::segment_record::Record;
use prost::Message as _;

/// What the file of a segment begins with.
pub(super) const MAGIC: &[u8] = b"bourse recording 1\n";

/// The version that is written into segments: hashes of effects are compared by the same one only.
pub(super) const BUILD: &str = env!("CARGO_PKG_VERSION");

const EXTENSION: &str = "segment";

/// Which segment a file is: they sort as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) epoch: u64,
    /// From 1.
    pub(super) number: u64,
}

impl Key {
    pub(super) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}-{:06}.{EXTENSION}", self.epoch, self.number))
    }

    /// `None`: it is no segment.
    fn of(path: &Path) -> Option<Key> {
        if path.extension()? != EXTENSION {
            return None;
        }
        let (epoch, number) = path.file_stem()?.to_str()?.split_once('-')?;
        Some(Key { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
    }
}

/// All segments of a folder, the oldest first. A folder that is not there has none.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<(Key, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        found.extend(Key::of(&path).map(|key| (key, path)));
    }
    found.sort();
    Ok(found)
}

/// Adds a record.
pub(super) fn write(record: Record, into: &mut Vec<u8>) {
    bourse_frames::write(&SegmentRecord { record: Some(record) }.encode_to_vec(), into);
}
