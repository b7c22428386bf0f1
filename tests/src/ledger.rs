//! A witness outside Bourse: a file to which tasks themselves append what happens to them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::journal::whole_lines;

/// What ran, told by those who ran. A line is `ID start` or `ID end`; a line so short is appended whole or not at all.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
}

/// What one task wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// How often it started.
    pub starts: u32,
    /// How often it came to its end by itself.
    pub ends: u32,
}

impl Ledger {
    /// An empty one in this folder, that every user may append to.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn new(folder: &Path) -> Ledger {
        let path = folder.join("ledger");
        fs::write(&path, "").expect("a test's own folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
        Ledger { path }
    }

    /// One that another process opened.
    pub fn at(path: impl Into<PathBuf>) -> Ledger {
        Ledger { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A shell command that runs `work` between its two lines and exits with `code`. The lines are written under the
    /// task's id.
    pub fn wrap(&self, work: &str, code: u32) -> String {
        let path = self.path.display();
        format!(
            "echo \"$MESOS_TASK_ID start\" >> {path}; {work}; echo \"$MESOS_TASK_ID end\" >> {path}; exit {code}"
        )
    }

    /// A shell command that writes its first line and becomes `program`.
    pub fn open(&self, program: &str) -> String {
        format!("echo \"$MESOS_TASK_ID start\" >> {}; exec {program}", self.path.display())
    }

    /// All that is written so far, by task id.
    ///
    /// # Panics
    /// When a line is none that a task writes.
    pub fn read(&self) -> BTreeMap<String, Entry> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for line in whole_lines(&fs::read_to_string(&self.path).expect("the ledger is there")) {
            match line.split_once(' ') {
                Some((id, "start")) => entries.entry(id.to_owned()).or_default().starts += 1,
                Some((id, "end")) => entries.entry(id.to_owned()).or_default().ends += 1,
                _ => panic!("the ledger holds {line:?}"),
            }
        }
        entries
    }
}
