//! The registry: a record a key, changed in synced batches.

use std::path::Path;

use bourse_master::disk::registry as disk;
use bourse_master::registry::{Registry, RegistryError};
use bourse_master_core::registry::{Change, Snapshot};
use rocksdb::{DB, IteratorMode, WriteBatch};

use crate::database::{self, FORMAT_KEY, OpenError, Recovery};

/// The registry on RocksDB.
#[derive(Debug)]
pub struct RocksRegistry {
    db: DB,
    /// What is committed: a change is written as the records that it leaves behind. `None` before the first load and
    /// after a failed write.
    stored: Option<Snapshot>,
}

impl RocksRegistry {
    /// Opens the database in this directory; makes it where there is none.
    pub fn open(path: &Path) -> Result<RocksRegistry, OpenError> {
        let db = database::open(path, Recovery::Strict)?;
        Ok(RocksRegistry { db, stored: None })
    }
}

impl Registry for RocksRegistry {
    fn load(&mut self) -> Result<Snapshot, RegistryError> {
        let mut snapshot = Snapshot::default();
        for record in self.db.iterator(IteratorMode::Start) {
            let (key, value) = record.map_err(|error| RegistryError::Read(Box::new(error)))?;
            if *key == *FORMAT_KEY {
                continue;
            }
            let corrupt =
                |source| RegistryError::Corrupt { key: String::from_utf8_lossy(&key).into_owned(), source };
            disk::read(&key, &value, &mut snapshot).map_err(corrupt)?;
        }
        self.stored = Some(snapshot.clone());
        Ok(snapshot)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), RegistryError> {
        // Taken out, and put back only when it is true again: after a failed write nobody knows what the disk has.
        let Some(mut stored) = self.stored.take() else {
            let source = "it was not loaded, or a write before this one failed".into();
            return Err(RegistryError::Write { changes: changes.len(), source });
        };
        let mut batch = WriteBatch::default();
        for record in changes.iter().flat_map(|change| disk::apply(change, &mut stored)) {
            match record.value {
                Some(value) => batch.put(record.key, value),
                None => batch.delete(record.key),
            }
        }
        self.db
            .write_opt(batch, &database::synced())
            .map_err(|error| RegistryError::Write { changes: changes.len(), source: Box::new(error) })?;
        self.stored = Some(stored);
        Ok(())
    }
}
