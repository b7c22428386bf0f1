//! What a framework keeps on disk: its id, and what its scheduler saves.
//!
//! One file a value, each replaced as a whole: a crash leaves the old value or the new one. Values that were saved in one
//! turn change together: they are first written down as a batch, and what a crash left of it is carried out when the
//! folder is opened again. A folder belongs to one process at a time.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bourse_proto::disk::{StateBatch, StateWrite};
use bourse_sdk_core::Write;
use bourse_types::FrameworkId;
use bytes::Bytes;
use prost::Message as _;

/// The folder in which a framework keeps its id and its scheduler's values, so that its next life is the same framework.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held as long as any clone lives; the kernel lets go of it when the process ends, however it ends.
    _lock: Arc<File>,
}

/// The state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Two processes would be one framework.
    #[error(
        "the state folder {path:?} is in use by another process; stop that one, or give this framework a folder of its own"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("the state folder {path:?} cannot be {doing}; check its owner and the room on its disk")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The id is damaged.
    #[error("{path:?} holds no framework id; remove the folder to start as a new framework")]
    Id {
        /// The file.
        path: PathBuf,
    },
    /// A batch cannot be read: nobody but this room writes one, and only whole.
    #[error("{path:?} is damaged: {source}; restore it, or remove it to go on without the last change")]
    Batch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: prost::DecodeError,
    },
    /// The key is too long for a file name.
    #[error("the key {0:?} is too long; use at most 80 bytes, or 240 of letters, digits, '-', '_' and '.'")]
    Key(String),
    /// There is nowhere to put it.
    #[error("neither XDG_STATE_HOME nor HOME is set; name a state folder")]
    NoHome,
}

const ID_FILE: &str = "framework-id";
const LOCK_FILE: &str = "lock";
const VALUES: &str = "values";
/// In the folder of values: no key gives this name.
const BATCH: &str = "%batch";

/// So many characters of a key that is refused are repeated.
const SHOWN_CHARS: usize = 64;

/// Linux' own limit is 255 bytes.
const FILE_NAME_MAX: usize = 250;

impl StateDir {
    /// Takes the folder, which is made where it is missing, readable by its owner alone.
    pub fn open(path: impl Into<PathBuf>) -> Result<StateDir, StateError> {
        let path = path.into();
        let open = || -> io::Result<File> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path.join(VALUES))?;
            fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path.join(LOCK_FILE))
        };
        let lock = open().map_err(|source| StateError::Io { path: path.clone(), doing: "opened", source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(StateError::Io { path, doing: "locked", source }),
        }
        let state = StateDir { path, _lock: Arc::new(lock) };
        state.finish_batch()?;
        Ok(state)
    }

    /// The folder of this name among the user's state: `$XDG_STATE_HOME/bourse/frameworks/NAME`, else below
    /// `~/.local/state`.
    pub fn of_user(name: &str) -> Result<StateDir, StateError> {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = set("XDG_STATE_HOME")
            .or_else(|| Some(set("HOME")?.join(".local/state")))
            .ok_or(StateError::NoHome)?;
        StateDir::open(state.join("bourse/frameworks").join(file_name(name)?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The framework's id, if it was ever subscribed.
    pub fn framework_id(&self) -> Result<Option<FrameworkId>, StateError> {
        let path = self.path.join(ID_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => FrameworkId::new(text.trim()).map(Some).map_err(|_| StateError::Id { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io("read", source)),
        }
    }

    /// All that the scheduler has saved, for its next life.
    pub fn values(&self) -> Result<BTreeMap<String, Bytes>, StateError> {
        let read = || -> io::Result<_> {
            let mut values = BTreeMap::new();
            for entry in fs::read_dir(self.path.join(VALUES))? {
                let entry = entry?;
                // What a crash left half written has a name that no key gives.
                if let Some(key) = entry.file_name().to_str().and_then(key_of) {
                    values.insert(key, Bytes::from(fs::read(entry.path())?));
                }
            }
            Ok(values)
        };
        read().map_err(|source| self.io("read", source))
    }

    /// Keeps the id. Durable when this returns.
    pub(crate) fn keep_id(&self, id: &FrameworkId) -> Result<(), StateError> {
        self.replace(&self.path, ID_FILE, id.as_str().as_bytes())
            .and_then(|()| sync(&self.path))
            .map_err(|source| self.io("written", source))
    }

    /// Carries out these writes, in order: all of them or, when a crash comes first, none. Durable when this returns.
    pub(crate) fn write(&self, writes: &[Write]) -> Result<(), StateError> {
        let folder = self.path.join(VALUES);
        let batch = StateBatch { writes: writes.iter().map(written_down).collect() };
        // Refused before anything has changed.
        file_names(&batch)?;
        if batch.writes.len() > 1 {
            self.replace(&folder, BATCH, &batch.encode_to_vec())
                .and_then(|()| sync(&folder))
                .map_err(|source| self.io("written", source))?;
        }
        self.carry_out(&batch)
    }

    /// What a crash left of the last batch.
    fn finish_batch(&self) -> Result<(), StateError> {
        let path = self.path.join(VALUES).join(BATCH);
        match fs::read(&path) {
            Ok(bytes) => {
                let batch =
                    StateBatch::decode(&*bytes).map_err(|source| StateError::Batch { path, source })?;
                self.carry_out(&batch)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(self.io("read", source)),
        }
    }

    /// A second time changes nothing more.
    fn carry_out(&self, batch: &StateBatch) -> Result<(), StateError> {
        let folder = self.path.join(VALUES);
        for (write, name) in batch.writes.iter().zip(file_names(batch)?) {
            match &write.value {
                Some(value) => self.replace(&folder, &name, value),
                None => remove(&folder.join(name)),
            }
            .map_err(|source| self.io("written", source))?;
        }
        // The folder's changes become durable in this order. One sync is for all of them; each content was synced before
        // its name.
        remove(&folder.join(BATCH)).and_then(|()| sync(&folder)).map_err(|source| self.io("written", source))
    }

    /// The framework was torn down: its id and values are of no use any more.
    pub(crate) fn clear(&self) -> Result<(), StateError> {
        let clear = || -> io::Result<()> {
            remove(&self.path.join(ID_FILE))?;
            for entry in fs::read_dir(self.path.join(VALUES))? {
                fs::remove_file(entry?.path())?;
            }
            sync(&self.path.join(VALUES))?;
            sync(&self.path)
        };
        clear().map_err(|source| self.io("cleared", source))
    }

    /// Writes a new file and puts it in the place of the old one.
    fn replace(&self, folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
        let fresh = folder.join("%new"); // No key gives this name, and the lock makes it ours.
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&fresh, folder.join(name))
    }

    fn io(&self, doing: &'static str, source: io::Error) -> StateError {
        StateError::Io { path: self.path.clone(), doing, source }
    }
}

fn written_down(write: &Write) -> StateWrite {
    match write {
        Write::Save { key, value } => StateWrite { key: key.clone(), value: Some(value.clone()) },
        Write::Forget { key } => StateWrite { key: key.clone(), value: None },
    }
}

/// The names of all keys; none where one is no key.
fn file_names(batch: &StateBatch) -> Result<Vec<String>, StateError> {
    batch.writes.iter().map(|write| file_name(&write.key)).collect()
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A key as a file name: letters, digits, `-`, `_`, and `.` but at the start, stay; every other byte becomes `%xx`.
fn file_name(key: &str) -> Result<String, StateError> {
    let mut name = String::new();
    for (at, byte) in key.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.is_empty() {
        name.push_str("%empty");
    }
    if name.len() > FILE_NAME_MAX {
        Err(StateError::Key(key.chars().take(SHOWN_CHARS).collect()))
    } else {
        Ok(name)
    }
}

/// The key of a file name, if it is one.
fn key_of(name: &str) -> Option<String> {
    if name == "%empty" {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_hostile::{damaged, judged, text, told};
    use proptest::prelude::*;

    fn save(key: &str, value: &str) -> Write {
        Write::Save { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    #[test]
    fn what_was_kept_is_there_in_the_next_life() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/state");
        let state = StateDir::open(&path).expect("made");
        assert_eq!(state.framework_id().expect("read"), None);
        state.keep_id(&FrameworkId::new("f-1").expect("valid")).expect("written");
        let keys = ["service/web", "a b", "", "..", ".hidden", "ümlaut", "%new"];
        for key in keys {
            state.write(&[save(key, "old"), save(key, key)]).expect(key);
        }
        state
            .write(&[Write::Forget { key: "a b".into() }, Write::Forget { key: "never".into() }])
            .expect("forgotten");
        drop(state);

        let state = StateDir::open(&path).expect("opened again");
        assert_eq!(state.framework_id().expect("read").expect("kept").as_str(), "f-1");
        let values = state.values().expect("read");
        let wanted = keys
            .into_iter()
            .filter(|key| *key != "a b")
            .map(|key| (key.to_owned(), Bytes::from(key)))
            .collect();
        assert_eq!(values, wanted);
        state.clear().expect("cleared");
        assert_eq!((state.framework_id().expect("read"), state.values().expect("read").len()), (None, 0));
    }

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = StateDir::open(folder.path()).expect("opened");
        let again = first.clone();
        drop(first);
        assert!(matches!(StateDir::open(folder.path()), Err(StateError::InUse { .. })));
        drop(again);
        assert!(StateDir::open(folder.path()).is_ok());
    }

    #[test]
    fn a_value_that_was_half_written_at_a_crash_is_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(folder.path()).expect("opened");
        fs::write(folder.path().join(VALUES).join("%new"), "half").expect("written");
        assert!(state.values().expect("read").is_empty());
    }

    #[test]
    fn a_batch_that_a_crash_cut_short_is_finished_in_the_next_life() {
        let folder = tempfile::tempdir().expect("a folder");
        let values = folder.path().join(VALUES);
        let state = StateDir::open(folder.path()).expect("opened");
        state.write(&[save("done", "1"), save("task-1", ""), save("task-2", "")]).expect("written");
        assert!(!values.join(BATCH).exists(), "it is carried out");
        // The crash: the batch was written down, and of its changes only the first was made.
        let batch = [Write::Forget { key: "task-1".into() }, save("done", "2")];
        let batch = StateBatch { writes: batch.iter().map(written_down).collect() };
        fs::write(values.join(BATCH), batch.encode_to_vec()).expect("written");
        fs::remove_file(values.join("task-1")).expect("removed");
        drop(state);

        let state = StateDir::open(folder.path()).expect("opened again");
        let wanted = [("done", "2"), ("task-2", "")].map(|(key, value)| (key.to_owned(), Bytes::from(value)));
        assert_eq!(state.values().expect("read"), BTreeMap::from(wanted));
        assert!(!values.join(BATCH).exists(), "and not once more");
    }

    #[test]
    fn a_batch_with_a_bad_key_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(folder.path()).expect("opened");
        let refused = state.write(&[save("good", "1"), save(&"x".repeat(300), "")]);
        assert!(matches!(refused, Err(StateError::Key(_))));
        assert!(state.values().expect("read").is_empty());
    }

    #[test]
    fn a_batch_whose_keys_were_damaged_is_told_before_anything_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(StateDir::open(folder.path()).expect("opened"));
        let batch = [save("good", "1"), save(&"\u{1b}".repeat(300), "2")];
        let batch = StateBatch { writes: batch.iter().map(written_down).collect() };
        fs::write(folder.path().join(VALUES).join(BATCH), batch.encode_to_vec()).expect("written");
        told(&StateDir::open(folder.path()).expect_err("refused"));
        assert!(!folder.path().join(VALUES).join("good").exists());
    }

    proptest! {
        #[test]
        fn a_damaged_batch_is_refused_in_words_or_has_keys_that_are_files_of_the_folder(
            bytes in damaged(Just(
                StateBatch { writes: vec![written_down(&save("task/1", "one")), written_down(&save("..", ""))] }
                    .encode_to_vec(),
            )),
        ) {
            let Some(batch) = judged(|| StateBatch::decode(&bytes[..])) else { return Ok(()) };
            for write in &batch.writes {
                if let Some(name) = judged(|| file_name(&write.key)) {
                    let read = key_of(&name);
                    prop_assert_eq!(read.as_ref(), Some(&write.key));
                    prop_assert!(!name.contains('/') && !name.starts_with('.') && name.len() <= FILE_NAME_MAX);
                    prop_assert!(name != BATCH && name != "%new");
                }
            }
        }

        #[test]
        fn any_key_is_a_file_of_the_folder_or_refused_in_words(key in text(Just("service/web.0".to_owned()))) {
            if let Some(name) = judged(|| file_name(&key)) {
                prop_assert_eq!(key_of(&name), Some(key));
                prop_assert!(!name.contains('/') && !name.starts_with('.'), "{}", name);
            }
        }
    }

    #[test]
    fn a_damaged_batch_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(StateDir::open(folder.path()).expect("opened"));
        fs::write(folder.path().join(VALUES).join(BATCH), [0xff]).expect("written");
        let error = StateDir::open(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("%batch") && error.contains("is damaged"), "{error}");
    }

    #[test]
    fn a_damaged_id_and_a_key_beyond_all_bounds_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(folder.path()).expect("opened");
        fs::write(folder.path().join(ID_FILE), "").expect("written");
        assert!(matches!(state.framework_id(), Err(StateError::Id { .. })));
        assert!(matches!(state.write(&[save(&"x".repeat(300), "")]), Err(StateError::Key(_))));
    }
}
