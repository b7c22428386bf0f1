//! Values of limits that belong together: what was there before is known until all of them are written.

use std::path::{Path, PathBuf};

use super::CgroupError;
use super::files;
use crate::kernel_file;

/// What was written so far, and what was there before.
#[derive(Debug, Default)]
pub struct Change(Vec<Before>);

#[derive(Debug)]
struct Before {
    dir: PathBuf,
    file: String,
    value: String,
}

impl Change {
    /// Sets all of some values, or leaves each as it was before.
    pub fn whole<E>(set: impl FnOnce(&mut Change) -> Result<(), E>) -> Result<(), E> {
        let mut change = Change::default();
        set(&mut change).inspect_err(|_| change.take_back())
    }

    /// Writes a value, unless it is there already.
    pub fn write(&mut self, dir: &Path, file: &str, value: impl ToString) -> Result<(), CgroupError> {
        let value = value.to_string();
        let before = kernel_file::read(dir.join(file)).unwrap_or_default();
        if !before.is_empty() && before.trim() == value {
            return Ok(());
        }
        files::write(dir, file, value)?;
        self.0.push(Before { dir: dir.into(), file: file.into(), value: before.trim().into() });
        Ok(())
    }

    /// Writes a value to a file that not every kernel has, unless it is there already.
    pub fn write_if_there(
        &mut self,
        dir: &Path,
        file: &str,
        value: impl ToString,
    ) -> Result<(), CgroupError> {
        files::if_there(self.write(dir, file, value)).map(drop)
    }

    /// Writes what was there before, the newest first, as far as the kernel takes it.
    fn take_back(self) {
        for Before { dir, file, value } in self.0.into_iter().rev() {
            if let Err(error) = files::write(&dir, &file, value) {
                tracing::warn!(%error, source = %error.source, "a limit could not be put back as it was");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_was_written_is_taken_back_the_newest_first_and_what_was_so_already_is_left() {
        let root = TempDir::new().expect("a temporary directory");
        let dir = root.path();
        let read = |file: &str| fs::read_to_string(dir.join(file)).expect("it is there");
        for (file, value) in [("a", "1\n"), ("b", "max\n"), ("c", "\n")] {
            fs::write(dir.join(file), value).expect("it is writable");
        }
        let set = |change: &mut Change| {
            for (file, value) in [("a", "2"), ("a", "3"), ("b", "max"), ("c", "0-3")] {
                change.write(dir, file, value)?;
            }
            change.write_if_there(dir, "d", 1)
        };
        Change::whole(|change| {
            set(change).expect("three are there, and the fourth need not be");
            assert_eq!([read("a"), read("b"), read("c")], ["3", "max\n", "0-3"]);
            change.write(dir, "d", 1)
        })
        .expect_err("it is not there");
        assert_eq!([read("a"), read("b"), read("c")], ["1", "max\n", "\n"]);
        assert!(!dir.join("d").exists());
        Change::whole(set).expect("as before");
        assert_eq!([read("a"), read("b"), read("c")], ["3", "max\n", "0-3"]);
    }
}
