//! One RocksDB with a format version, opened with small buffers.

use std::path::{Path, PathBuf};

use rocksdb::{DB, DBCompressionType, DBRecoveryMode, LogLevel, Options, WriteOptions};

/// The format that this build writes. A build reads its own and the one before it.
pub(crate) const FORMAT: u32 = 1;

/// Where the format's number is, as decimal text.
pub(crate) const FORMAT_KEY: &[u8] = b"format";

/// What to do with a write-ahead log that does not end well.
#[derive(Clone, Copy)]
pub(crate) enum Recovery {
    /// Only an unfinished last record is forgiven.
    Strict,
    /// All up to the first damage.
    UpToDamage,
}

/// A database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error("the database {} is in use by another process; stop that master or give this one its own work-dir", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// This build is too old for it.
    #[error(
        "the database {} has format {found}, and this build knows formats up to {FORMAT}; start the newer build that \
         wrote it, or restore a copy from before",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Its format is not a number.
    #[error("the database {} has no readable format; is it a master's? Name another work-dir", path.display())]
    NoFormat {
        /// The file.
        path: PathBuf,
    },
    /// What is there does not agree with its checksums.
    #[error("the database {} is damaged; restore the work-dir from a copy, nothing was changed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What RocksDB found.
        #[source]
        source: rocksdb::Error,
    },
    /// Its disk is full.
    #[error(
        "the database {} has no room on its disk; make some, then start again, nothing was lost",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What the system or RocksDB said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its disk takes no writes.
    #[error(
        "the database {} is on a disk that is read-only; mend it and mount it for writing, then start again, nothing was \
         lost",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the system or RocksDB said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Anything else: permissions, no such directory, a disk that fails.
    #[error("opening the database {} failed; look at the directory and its owner", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What RocksDB said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Opens the database and checks its format; makes one of this build's format where there is none.
pub(crate) fn open(path: &Path, recovery: Recovery) -> Result<DB, OpenError> {
    std::fs::create_dir_all(path).map_err(|source| disks_refusal(path, source))?;
    let db = DB::open(&options(recovery), path).map_err(|source| refusal(path, source))?;
    match db.get(FORMAT_KEY).map_err(|source| refusal(path, source))? {
        Some(format) => {
            let format = std::str::from_utf8(&format).ok().and_then(|text| text.parse::<u32>().ok());
            match format {
                None => return Err(OpenError::NoFormat { path: path.to_owned() }),
                Some(found) if found > FORMAT => {
                    return Err(OpenError::Newer { path: path.to_owned(), found });
                }
                Some(_) => {}
            }
        }
        // The very first start, or one that a crash stopped before this line.
        None if is_empty(&db) => {
            let format = FORMAT.to_string();
            db.put_opt(FORMAT_KEY, format, &synced()).map_err(|source| refusal(path, source))?;
        }
        None => return Err(OpenError::NoFormat { path: path.to_owned() }),
    }
    Ok(db)
}

/// For writes that must be on the disk before they are spoken of.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

fn is_empty(db: &DB) -> bool {
    db.iterator(rocksdb::IteratorMode::Start).next().is_none()
}

fn options(recovery: Recovery) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(match recovery {
        Recovery::Strict => DBRecoveryMode::TolerateCorruptedTailRecords,
        Recovery::UpToDamage => DBRecoveryMode::PointInTime,
    });
    // A few MB of data: RocksDB's own defaults (64 MB buffers, all files open) are for a thousand times as much.
    options.set_write_buffer_size(4 << 20);
    options.set_max_open_files(64);
    // No compression library is linked.
    options.set_compression_type(DBCompressionType::None);
    options.set_keep_log_file_num(2);
    options.set_log_level(LogLevel::Warn);
    options
}

pub(crate) fn refusal(path: &Path, source: rocksdb::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        rocksdb::ErrorKind::Corruption => OpenError::Damaged { path, source },
        // Before the next one: it may be the file LOCK that there is no room for.
        _ if is_of_disk(&source) => disks_refusal(&path, source),
        // RocksDB has no kind for it: "While lock file: .../LOCK: Resource temporarily unavailable" for another
        // process, "lock hold by current process" for this one.
        _ if source.to_string().to_lowercase().contains("lock") => OpenError::Locked { path },
        _ => OpenError::Failed { path, source: Box::new(source) },
    }
}

/// What the system says of a disk that is full, of one that is full for this user, and of one that takes no writes.
/// RocksDB has no kinds for them and passes on these words: strerror(3).
const NO_ROOM: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
const READ_ONLY: &str = "Read-only file system";

fn is_of_disk(source: &rocksdb::Error) -> bool {
    let text = source.to_string();
    text.contains(READ_ONLY) || NO_ROOM.iter().any(|words| text.contains(words))
}

/// By the words of the error, be it the system's own or passed on.
fn disks_refusal(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    let (path, text) = (path.to_owned(), source.to_string());
    let source: Box<dyn std::error::Error + Send + Sync> = Box::new(source);
    if text.contains(READ_ONLY) {
        OpenError::ReadOnly { path, source }
    } else if NO_ROOM.iter().any(|words| text.contains(words)) {
        OpenError::NoRoom { path, source }
    } else {
        OpenError::Failed { path, source }
    }
}
