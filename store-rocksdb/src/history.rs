//! The history: an entry a key, in the order of their numbers.

use std::path::Path;
use std::sync::Mutex;

use bourse_master::config::HistoryBounds;
use bourse_master::disk::history as disk;
use bourse_master::history::{Filter, History, HistoryError, SCAN_MAX, Stamped};
use bourse_types::Wall;
use rocksdb::{DB, Direction, IteratorMode, WriteBatch};

use crate::database::{self, OpenError, Recovery};

/// In front of every entry's number, which keeps them apart from the format.
const ENTRY: u8 = b'e';

/// How many bytes all entries take, as eight bytes, the highest first: written together with what changes it, so that a
/// start need not read a full history.
const BYTES_KEY: &[u8] = b"bytes";

/// The history on RocksDB.
#[derive(Debug)]
pub struct RocksHistory {
    db: DB,
    /// Of all entries: what [`BYTES_KEY`] says. Held while it is changed on the disk; there is one writer.
    bytes: Mutex<u64>,
}

impl RocksHistory {
    /// Opens the database in this directory; makes it where there is none.
    pub fn open(path: &Path) -> Result<RocksHistory, OpenError> {
        let db = database::open(path, Recovery::UpToDamage)?;
        let known = db.get(BYTES_KEY).map_err(|error| database::refusal(path, error))?;
        let known = known.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let history = RocksHistory { db, bytes: Mutex::new(known.unwrap_or(0)) };
        if known.is_none() {
            // A new one, or one of a build that did not write it down: the next append does.
            *history.bytes() =
                history.oldest_first().map_while(Result::ok).map(|(_, value)| stored(&value)).sum();
        }
        Ok(history)
    }

    fn oldest_first(&self) -> impl Iterator<Item = Result<(u64, Box<[u8]>), rocksdb::Error>> + '_ {
        let all = self.db.iterator(IteratorMode::From(&key(0), Direction::Forward));
        all.map_while(|item| match item {
            Ok((key, value)) => Some(Ok((sequence(&key)?, value))),
            Err(error) => Some(Err(error)),
        })
    }

    fn newest_first(
        &self,
        before: u64,
    ) -> impl Iterator<Item = Result<(u64, Box<[u8]>), rocksdb::Error>> + '_ {
        // Number 0 is never given, so nothing comes before 1.
        let from = key(before.saturating_sub(1));
        let all = self.db.iterator(IteratorMode::From(&from, Direction::Reverse));
        all.map_while(|item| match item {
            Ok((key, value)) => Some(Ok((sequence(&key)?, value))),
            Err(error) => Some(Err(error)),
        })
    }

    fn bytes(&self) -> std::sync::MutexGuard<'_, u64> {
        self.bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl History for RocksHistory {
    fn last_sequence(&self) -> Result<u64, HistoryError> {
        let newest =
            self.newest_first(u64::MAX).next().transpose().map_err(|error| failed("reading", error))?;
        Ok(newest.map_or(0, |(sequence, _)| sequence))
    }

    fn append(&self, entries: &[Stamped]) -> Result<(), HistoryError> {
        let mut batch = WriteBatch::default();
        let mut bytes = self.bytes();
        let mut after = *bytes;
        for entry in entries {
            let value = disk::encode(entry);
            after += stored(&value);
            batch.put(key(entry.sequence), value);
        }
        batch.put(BYTES_KEY, after.to_be_bytes());
        self.db.write(batch).map_err(|error| failed("writing", error))?;
        *bytes = after;
        Ok(())
    }

    fn read(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Vec<Stamped>, HistoryError> {
        let (mut found, mut passed_over) = (Vec::new(), 0_usize);
        for item in self.newest_first(before.unwrap_or(u64::MAX)).take(SCAN_MAX) {
            if found.len() == limit {
                break;
            }
            let (sequence, value) = item.map_err(|error| failed("reading", error))?;
            match disk::decode(sequence, &value) {
                Ok(entry) if filter.matches(&entry.entry) => found.push(entry),
                Ok(_) => {}
                Err(_) => passed_over += 1,
            }
        }
        // A newer build may have written kinds that this one does not know: one of them is no reason to show nothing.
        if passed_over > 0 {
            tracing::warn!(
                entries = passed_over,
                "entries of the history cannot be read by this build, passed over"
            );
        }
        Ok(found)
    }

    fn trim(&self, now: Wall, bounds: HistoryBounds) -> Result<u64, HistoryError> {
        let (mut dropped, mut end) = (0, None);
        let mut bytes = self.bytes();
        let mut after = *bytes;
        for item in self.oldest_first() {
            let (sequence, value) = item.map_err(|error| failed("trimming", error))?;
            // What cannot be read has no age that would keep it.
            let young =
                disk::decode(sequence, &value).is_ok_and(|entry| now.since(entry.at) <= bounds.max_age);
            if young && after <= bounds.max_bytes {
                break;
            }
            dropped += 1;
            after = after.saturating_sub(stored(&value));
            end = Some(sequence + 1);
        }
        if let Some(end) = end {
            let mut batch = WriteBatch::default();
            batch.delete_range(key(0), key(end));
            batch.put(BYTES_KEY, after.to_be_bytes());
            self.db.write(batch).map_err(|error| failed("trimming", error))?;
            *bytes = after;
        }
        Ok(dropped)
    }
}

fn key(sequence: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&sequence.to_be_bytes());
    key
}

fn sequence(key: &[u8]) -> Option<u64> {
    let (first, number) = key.split_first()?;
    (*first == ENTRY).then(|| number.try_into().ok().map(u64::from_be_bytes))?
}

/// What an entry takes, its key included.
fn stored(value: &[u8]) -> u64 {
    value.len() as u64 + 9
}

fn failed(tried: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> HistoryError {
    HistoryError { tried, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bourse_master_core::history::{Entry, Kind};

    use super::*;

    fn entries(numbers: std::ops::RangeInclusive<u64>) -> Vec<Stamped> {
        let entry = Entry {
            kind: Kind::Task,
            summary: "x".repeat(100),
            agent: None,
            framework: None,
            task: None,
            role: None,
            reason: None,
            principal: None,
        };
        let entry = Arc::new(entry);
        numbers.map(|sequence| Stamped { sequence, at: Wall(1), entry: entry.clone() }).collect()
    }

    fn counted(history: &RocksHistory) -> u64 {
        history.oldest_first().map(|item| stored(&item.expect("it is read").1)).sum()
    }

    #[test]
    fn a_start_takes_the_size_from_its_record_and_reads_no_entries() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let history = RocksHistory::open(dir.path()).expect("it opens");
        history.append(&entries(1..=100)).expect("appended");
        history.append(&entries(101..=150)).expect("appended");
        let bounds = HistoryBounds { max_age: Duration::from_secs(60), max_bytes: 10_000 };
        assert!(history.trim(Wall(1), bounds).expect("trimmed") > 0);
        let bytes = *history.bytes();
        assert_eq!(bytes, counted(&history));
        drop(history);

        let history = RocksHistory::open(dir.path()).expect("it opens");
        assert_eq!(*history.bytes(), bytes);
        // A record that is not true is believed: nothing else was looked at.
        history.db.put(BYTES_KEY, 77_u64.to_be_bytes()).expect("written");
        drop(history);
        assert_eq!(*RocksHistory::open(dir.path()).expect("it opens").bytes(), 77);
    }

    #[test]
    fn a_history_of_a_build_without_the_record_is_counted_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let history = RocksHistory::open(dir.path()).expect("it opens");
        history.append(&entries(1..=10)).expect("appended");
        history.db.delete(BYTES_KEY).expect("deleted");
        drop(history);
        let history = RocksHistory::open(dir.path()).expect("it opens");
        assert_eq!(*history.bytes(), counted(&history));
        history.append(&entries(11..=12)).expect("appended");
        assert_eq!(history.db.get(BYTES_KEY).expect("read"), Some(counted(&history).to_be_bytes().to_vec()));
    }
}
