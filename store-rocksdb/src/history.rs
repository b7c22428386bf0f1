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

/// The history on RocksDB.
#[derive(Debug)]
pub struct RocksHistory {
    db: DB,
    /// Of all entries, as long as this is open. A leaf: held for an addition.
    bytes: Mutex<u64>,
}

impl RocksHistory {
    /// Opens the database in this directory; makes it where there is none.
    pub fn open(path: &Path) -> Result<RocksHistory, OpenError> {
        let db = database::open(path, Recovery::UpToDamage)?;
        let history = RocksHistory { db, bytes: Mutex::new(0) };
        let bytes = history.oldest_first().map_while(Result::ok).map(|(_, value)| stored(&value)).sum();
        history.count(|counted| *counted = bytes);
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

    fn count<R>(&self, change: impl FnOnce(&mut u64) -> R) -> R {
        change(&mut self.bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
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
        let mut bytes = 0;
        for entry in entries {
            let value = disk::encode(entry);
            bytes += stored(&value);
            batch.put(key(entry.sequence), value);
        }
        self.db.write(batch).map_err(|error| failed("writing", error))?;
        self.count(|counted| *counted += bytes);
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
        let (mut dropped, mut end, mut bytes) = (0, None, 0);
        let kept = self.count(|counted| *counted);
        for item in self.oldest_first() {
            let (sequence, value) = item.map_err(|error| failed("trimming", error))?;
            // What cannot be read has no age that would keep it.
            let young =
                disk::decode(sequence, &value).is_ok_and(|entry| now.since(entry.at) <= bounds.max_age);
            if young && kept - bytes <= bounds.max_bytes {
                break;
            }
            dropped += 1;
            bytes += stored(&value);
            end = Some(sequence + 1);
        }
        if let Some(end) = end {
            let mut batch = WriteBatch::default();
            batch.delete_range(key(0), key(end));
            self.db.write(batch).map_err(|error| failed("trimming", error))?;
            self.count(|counted| *counted -= bytes);
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
