//! A file of checksummed payloads.
//!
//! The file begins with a line that names it and its version. Each payload has a head of 12 bytes: its length, the
//! length with every bit turned over, and the CRC-32 of the payload, each as 32 bits, low byte first. The second length
//! tells a damaged head from a file that ends early: without it, one flipped bit in a length could make the rest of the
//! file look like the torn end of one record, and be cut off.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

const MAGIC: &[u8] = b"bourse agent checkpoint 1\n";
const HEAD: usize = 12;

/// What is wrong with a log.
#[derive(Debug)]
pub enum LogError {
    Io(io::Error),
    Foreign(String),
    Damaged { at: u64, why: String },
}

impl LogError {
    pub fn damaged(at: u64, why: impl fmt::Display) -> LogError {
        LogError::Damaged { at, why: why.to_string() }
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> LogError {
        LogError::Io(error)
    }
}

/// Hands each payload with its offset to `take`, in order. A file that is not there has none. A torn end is left out;
/// the caller writes the file anew.
pub fn read(path: &Path, mut take: impl FnMut(u64, &[u8]) -> Result<(), LogError>) -> Result<(), LogError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        let first: Vec<u8> = bytes.iter().copied().take(MAGIC.len()).collect();
        return Err(LogError::Foreign(format!("it begins with {:?}", String::from_utf8_lossy(&first))));
    };
    let total = bytes.len();
    while !rest.is_empty() {
        let at = (total - rest.len()) as u64;
        match split(rest) {
            Frame::Whole { payload, after } => {
                take(at, payload)?;
                rest = after;
            }
            Frame::Torn => return Ok(()),
            Frame::Damaged(why) => return Err(LogError::damaged(at, why)),
        }
    }
    Ok(())
}

enum Frame<'a> {
    Whole { payload: &'a [u8], after: &'a [u8] },
    Torn,
    Damaged(&'static str),
}

fn split(bytes: &[u8]) -> Frame<'_> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Frame::Torn };
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 of 12 bytes"));
    let (length, inverse, sum) = (number(0), number(4), number(8));
    if length != !inverse {
        // A file system may have grown the file and lost the data: zeros to the end are a torn record.
        let zeros = bytes.iter().all(|byte| *byte == 0);
        return if zeros { Frame::Torn } else { Frame::Damaged("the length of a record is damaged") };
    }
    let Some((payload, after)) = rest.split_at_checked(length as usize) else { return Frame::Torn };
    match crc32fast::hash(payload) == sum {
        true => Frame::Whole { payload, after },
        // Only the last record can have been torn.
        false if after.is_empty() => Frame::Torn,
        false => Frame::Damaged("the checksum of a record does not match"),
    }
}

fn frame(payload: &[u8], into: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a record is bounded by the size of a message");
    into.extend(length.to_le_bytes());
    into.extend((!length).to_le_bytes());
    into.extend(crc32fast::hash(payload).to_le_bytes());
    into.extend(payload);
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    file: File,
    size: u64,
}

impl Log {
    /// Replaces the file by one with these payloads, in one step: after a crash it is the old or the new one, whole.
    pub fn rewrite(path: &Path, payloads: &[Vec<u8>]) -> Result<Log, LogError> {
        let mut bytes = MAGIC.to_vec();
        payloads.iter().for_each(|payload| frame(payload, &mut bytes));
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Log { file, size: bytes.len() as u64 })
    }

    /// Adds payloads in one write.
    pub fn append(&mut self, payloads: &[Vec<u8>]) -> Result<(), LogError> {
        let mut bytes = Vec::new();
        payloads.iter().for_each(|payload| frame(payload, &mut bytes));
        self.file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), LogError> {
        Ok(self.file.sync_data()?)
    }

    pub fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads() -> Vec<Vec<u8>> {
        vec![b"first".to_vec(), Vec::new(), vec![0; 300], b"last".to_vec()]
    }

    fn read_all(path: &Path) -> Result<Vec<Vec<u8>>, LogError> {
        let mut found = Vec::new();
        read(path, |_, payload| {
            found.push(payload.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    fn written() -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let mut log = Log::rewrite(&path, &payloads()[..1]).expect("written");
        log.append(&payloads()[1..]).expect("written");
        let bytes = fs::read(&path).expect("readable");
        assert_eq!(log.size(), bytes.len() as u64);
        (folder, path, bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_folder, path, _) = written();
        assert_eq!(read_all(&path).expect("readable"), payloads());
        assert_eq!(
            read_all(&path.with_extension("none")).expect("no file, no records"),
            Vec::<Vec<u8>>::new()
        );
    }

    #[test]
    fn a_log_cut_anywhere_in_its_last_record_has_all_the_others() {
        let (_folder, path, bytes) = written();
        let last = bytes.len() - HEAD - 4;
        for length in last..bytes.len() {
            fs::write(&path, &bytes[..length]).expect("written");
            assert_eq!(read_all(&path).expect("readable"), payloads()[..3], "cut to {length}");
        }
        let mut zeros = bytes[..last].to_vec();
        zeros.extend([0; 100]);
        fs::write(&path, &zeros).expect("written");
        assert_eq!(read_all(&path).expect("readable"), payloads()[..3]);
    }

    #[test]
    fn every_flipped_bit_before_the_last_record_is_refused_and_none_is_read_as_something_else() {
        let (_folder, path, bytes) = written();
        let last = bytes.len() - HEAD - 4;
        for at in 0..last {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                fs::write(&path, &damaged).expect("written");
                match read_all(&path) {
                    Err(LogError::Foreign(_)) => assert!(at < MAGIC.len(), "byte {at}"),
                    Err(LogError::Damaged { at: record, .. }) => assert!(record <= at as u64, "byte {at}"),
                    other => panic!("byte {at} bit {bit} was not noticed: {other:?}"),
                }
            }
        }
    }
}
