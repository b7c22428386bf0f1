//! What is written down about each container, so that another agent process can take over.
//!
//! One directory a container, readable by the agent alone:
//! - `plan`: what was to be set up (see `bourse_init::plan`); also tells later who the task runs as, and in which
//!   control groups it is now;
//! - `started`: which processes there are. Written before the task's program may run: without this file
//!   nothing of the task has run. One line: form, boot id, pid and start time of the first process and of the
//!   task's main process;
//! - `exit`: how it ended, written by the container's first process (see `bourse_init::record`).
//!
//! Nothing here is synced: it has to outlive the agent, not the machine, as no container outlives the
//! machine.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bourse_init::plan::Plan;
use bourse_init::record::Record;
use bourse_types::ContainerId;

use crate::process::Process;

const FORM: &str = "1";

/// How long a first process may take to notice that its agent is gone.
const ORPHAN_GONE_WITHIN: Duration = Duration::from_secs(5);

/// The directory with one directory for each container.
#[derive(Debug, Clone)]
pub struct RuntimeDir(PathBuf);

/// The directory of one container.
#[derive(Debug, Clone)]
pub struct ContainerDir(PathBuf);

/// Which processes a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The boot in which it was started.
    pub boot_id: String,
    /// Its first process.
    pub init: Process,
    /// The task's main process.
    pub task: Process,
}

impl RuntimeDir {
    /// Takes a directory into use, making it if need be, for the agent alone.
    pub fn open(path: &Path) -> io::Result<RuntimeDir> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(RuntimeDir(path.canonicalize()?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory of a new container; refused when it exists.
    pub fn create(&self, id: &ContainerId) -> io::Result<ContainerDir> {
        let dir = self.container(id);
        DirBuilder::new().mode(0o700).create(&dir.0)?;
        Ok(dir)
    }

    /// The directory of a container, whether or not it exists.
    pub fn container(&self, id: &ContainerId) -> ContainerDir {
        ContainerDir(self.0.join(id.as_str()))
    }

    /// All containers that have a directory.
    pub fn containers(&self) -> io::Result<Vec<ContainerId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| ContainerId::new(name).ok()) {
                found.push(id);
            }
        }
        found.sort();
        Ok(found)
    }
}

impl ContainerDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the exit record goes.
    pub fn record_path(&self) -> PathBuf {
        self.0.join("exit")
    }

    /// Where the plan is.
    pub fn plan_path(&self) -> PathBuf {
        self.0.join("plan")
    }

    /// Writes the plan down and opens it for its reader.
    pub fn write_plan(&self, plan: &Plan) -> io::Result<File> {
        let path = self.plan_path();
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&plan.encode())?;
        File::open(path)
    }

    /// Writes another plan down; whole or not at all.
    pub fn rewrite_plan(&self, plan: &Plan) -> io::Result<()> {
        let temporary = self.0.join("plan.new");
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&plan.encode())?;
        fs::rename(temporary, self.plan_path())
    }

    /// The plan, as it was written.
    pub fn read_plan(&self) -> io::Result<Plan> {
        let bytes = fs::read(self.plan_path())?;
        Plan::decode(&bytes).map_err(|bad| io::Error::new(ErrorKind::InvalidData, bad))
    }

    /// Writes down which processes there are. Where an agent dies while it does, the line is whole or none: one that was cut
    /// off says that nothing was written down.
    pub fn write_started(&self, started: &Started) -> io::Result<()> {
        let Started { boot_id, init, task } = started;
        let line =
            format!("{FORM} {boot_id} {} {} {} {}\n", init.pid, init.start_time, task.pid, task.start_time);
        fs::write(self.0.join("started"), line)
    }

    /// Which processes there are; `None` when that was never written, or was cut off with the machine.
    pub fn read_started(&self) -> io::Result<Option<Started>> {
        match if_there(fs::read_to_string(self.0.join("started")))? {
            Some(text) => parse_started(&text),
            None => Ok(None),
        }
    }

    /// The exit record; `None` as long as it is not whole.
    pub fn read_record(&self) -> io::Result<Option<Record>> {
        Ok(if_there(fs::read(self.record_path()))?.and_then(|bytes| Record::decode(&bytes)))
    }

    /// Removes the directory. A repeat does nothing. The first process of a launch that died with its agent may
    /// be about to make its record in here, and goes by itself: until then it is tried again.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + ORPHAN_GONE_WITHIN;
        loop {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }
}

/// Only what is not there is not there: another error says nothing about the container.
fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

pub(crate) fn parse_started(text: &str) -> io::Result<Option<Started>> {
    let Some((form, rest)) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')) else {
        return Ok(None);
    };
    if form != FORM {
        let form: String = form.chars().take(64).collect();
        let other = format!("it is of form {form:?}, this agent reads form {FORM}");
        return Err(io::Error::new(ErrorKind::InvalidData, other));
    }
    let mut words = rest.split(' ');
    let mut started = || {
        let boot_id = words.next()?.to_owned();
        let mut process =
            || Some(Process { pid: words.next()?.parse().ok()?, start_time: words.next()?.parse().ok()? });
        Some(Started { boot_id, init: process()?, task: process()? })
    };
    Ok(started())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_was_written_down_is_read_back_and_the_id_is_taken_until_it_is_removed() {
        let root = TempDir::new().expect("a temporary directory");
        let runtime = RuntimeDir::open(&root.path().join("run/containers")).expect("it is made");
        let id = ContainerId::new("c 1").expect("a good id");
        let dir = runtime.create(&id).expect("it is new");
        assert_eq!(runtime.create(&id).expect_err("it exists").kind(), ErrorKind::AlreadyExists);
        assert_eq!(dir.read_started().expect("it is readable"), None);
        let started = Started {
            boot_id: "b".into(),
            init: Process { pid: 1, start_time: 2 },
            task: Process { pid: 3, start_time: 4 },
        };
        dir.write_started(&started).expect("there is room");
        assert_eq!(dir.read_started().expect("it is readable"), Some(started));
        assert_eq!(runtime.containers().expect("it is readable"), [id]);
        dir.remove().expect("it is ours");
        dir.remove().expect("a repeat does nothing");
        assert!(runtime.containers().expect("it is readable").is_empty());
    }

    #[test]
    fn the_line_that_is_on_disks_is_read() {
        let line = "1 6f2b1f0c-5a4e-4d53-9f3a-2c8f6d1b7e90 4321 987654 4322 987655\n";
        let started = Started {
            boot_id: "6f2b1f0c-5a4e-4d53-9f3a-2c8f6d1b7e90".into(),
            init: Process { pid: 4321, start_time: 987_654 },
            task: Process { pid: 4322, start_time: 987_655 },
        };
        assert_eq!(parse_started(line).expect("it is our form"), Some(started));
    }

    #[test]
    fn a_line_that_was_cut_off_is_nothing_and_one_of_another_form_is_refused() {
        let line = "1 boot 1 2 3 4\n";
        assert!(parse_started(line).expect("it is our form").is_some());
        for end in 0..line.len() {
            assert_eq!(parse_started(&line[..end]).expect("it is our form"), None);
        }
        let error = parse_started("2 boot 1 2 3 4\n").expect_err("it may tell of a container that runs");
        assert!(error.to_string().contains("this agent reads form"), "{error}");
    }
}
