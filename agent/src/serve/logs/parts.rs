//! The files that a log is in: the one that is written now, and those that were put aside before, each named by the offset
//! of its first byte in the whole log (`stdout.10485760`).
//!
//! The sandbox belongs to the task, who may have put anything there under these names. So links are not followed and
//! nothing but a plain file is read, as the agent may read files that the task may not; names and sizes that lie lead to
//! a log of the task's own that lacks something, and to no more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// So many that were put aside are read at most, the newest: an agent keeps fewer.
const ASIDE_MAX: usize = 1000;

/// Looks at a log that is being put aside right now before it is taken to be gone, and the pause between two: that takes its
/// writer microseconds.
const LOOKS: usize = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Offsets beyond are lies: nobody writes so much.
const OFFSET_MAX: u64 = 1 << 60;

/// A log as it was found, oldest first.
#[derive(Debug, Default)]
pub struct Parts {
    pub aside: Vec<Aside>,
    pub current: Option<Current>,
}

/// A part that grows no more.
#[derive(Debug)]
pub struct Aside {
    pub path: PathBuf,
    /// The offset of its first byte.
    pub start: u64,
    /// That behind its last byte.
    pub end: u64,
}

/// The part that is written.
#[derive(Debug)]
pub struct Current {
    pub file: File,
    /// The offset of its first byte.
    pub start: u64,
    pub path: PathBuf,
}

impl Parts {
    /// Finds the parts of a log of this name. Without any there is none yet.
    pub fn find(sandbox: &Path, name: &str) -> io::Result<Parts> {
        let path = sandbox.join(name);
        for _ in 0..LOOKS {
            let file = match open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                file => Some(file?),
            };
            let aside = aside(sandbox, name)?;
            let Some(file) = file else {
                if aside.is_empty() {
                    break;
                }
                // Between its going aside and the next one's coming.
                thread::sleep(BETWEEN_LOOKS);
                continue;
            };
            let current =
                Current { start: aside.last().map_or(0, |last| last.end), file, path: path.clone() };
            // Else it was put aside between the looks, and may be among them.
            if !current.was_put_aside()? {
                return Ok(Parts { aside, current: Some(current) });
            }
        }
        // Its writer was killed in between, or the task has removed it.
        Ok(Parts { aside: aside(sandbox, name)?, current: None })
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> io::Result<u64> {
        match &self.current {
            Some(current) => Ok(current.start.saturating_add(current.size()?)),
            None => Ok(self.aside.last().map_or(0, |last| last.end)),
        }
    }
}

impl Current {
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Another file is in its place, so it grows no more.
    pub fn was_put_aside(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            there => there.map(|there| (there.dev(), there.ino()) != (ours.dev(), ours.ino())),
        }
    }
}

/// Opens a plain file that has one name only.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    let replaced = |what| Err(io::Error::other(format!("{what}; the task has replaced it")));
    match about.is_file() {
        true if about.nlink() > 1 => replaced("it has a second name"),
        true => Ok(file),
        false => replaced("it is not a plain file"),
    }
}

fn aside(sandbox: &Path, name: &str) -> io::Result<Vec<Aside>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sandbox)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let start =
            file_name.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('.')?.parse().ok());
        let Some(start) = start.filter(|&start: &u64| start < OFFSET_MAX) else { continue };
        // One that was just removed is gone.
        if let Ok(about) = entry.metadata()
            && about.is_file()
        {
            found.push(Aside { path: entry.path(), start, end: start.saturating_add(about.len()) });
        }
    }
    found.sort_by_key(|part| part.start);
    let too_many = found.len().saturating_sub(ASIDE_MAX);
    Ok(found.split_off(too_many))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sandbox(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("it is writable");
        }
        folder
    }

    fn starts(parts: &Parts) -> Vec<(u64, u64)> {
        parts.aside.iter().map(|part| (part.start, part.end)).collect()
    }

    #[test]
    fn the_parts_of_a_log_come_in_order_and_what_is_named_otherwise_is_none() {
        let folder = sandbox(&[
            ("stdout", "now"),
            ("stdout.0", "0123"),
            ("stdout.10", "later"),
            ("stdout.4", "456789"),
            ("stdout.txt", ""),
            ("stdout.", ""),
            ("stderr.7", "other"),
            ("stdout.99999999999999999999", "a lie"),
            ("stdout.9999999999999999999", "a lie"),
        ]);
        let parts = Parts::find(folder.path(), "stdout").expect("readable");
        assert_eq!(starts(&parts), [(0, 4), (4, 10), (10, 15)]);
        assert_eq!(parts.end().expect("readable"), 18);
    }

    #[test]
    fn without_a_file_there_is_no_log_and_one_without_the_newest_part_ends_where_the_others_do() {
        let folder = sandbox(&[]);
        let parts = Parts::find(folder.path(), "stdout").expect("readable");
        assert!(parts.current.is_none() && parts.aside.is_empty());
        let folder = sandbox(&[("stdout.5", "67")]);
        let parts = Parts::find(folder.path(), "stdout").expect("readable");
        assert_eq!((starts(&parts), parts.end().expect("readable")), (vec![(5, 7)], 7));
    }

    #[test]
    fn a_log_that_the_task_replaced_by_something_else_is_not_read() {
        let folder = sandbox(&[("secret", "secret")]);
        let at = |name: &str| folder.path().join(name);
        symlink(at("secret"), at("link")).expect("linked");
        symlink(at("secret"), at("link.3")).expect("linked");
        fs::hard_link(at("secret"), at("hard")).expect("linked");
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        fs::create_dir(at("folder")).expect("made");
        for name in ["link", "hard", "pipe", "folder"] {
            Parts::find(folder.path(), name).expect_err("refused");
        }
        assert!(aside(folder.path(), "link").expect("readable").is_empty());
    }
}
