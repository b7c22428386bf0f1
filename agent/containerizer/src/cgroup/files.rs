//! Control group files: small helpers that name the path in every error.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::CgroupError;

/// How long a killed process may take to leave its group, and an empty group to become removable.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// How often processes are moved before others are believed to be made without end.
pub const MOVES: usize = 20;

fn error(what: impl Into<String>, path: &Path, source: io::Error) -> CgroupError {
    CgroupError { what: what.into(), path: path.into(), source }
}

/// Writes a value; control group files take one write.
pub fn write(dir: &Path, file: &str, value: impl ToString) -> Result<(), CgroupError> {
    let (path, value) = (dir.join(file), value.to_string());
    // A write of nothing at all would be none.
    let bytes: &[u8] = if value.is_empty() { b"\n" } else { value.as_bytes() };
    // `fs::write` would create the file in a directory that is no control group: the kernel's files are there
    // already.
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, bytes))
        .map_err(|source| error(format!("write {value} to"), &path, source))
}

/// Writes a value to a file that not every kernel has; tells whether it was there.
pub fn write_if_there(dir: &Path, file: &str, value: impl ToString) -> Result<bool, CgroupError> {
    if_there(write(dir, file, value))
}

/// Tells whether the file of this write was there.
pub fn if_there(written: Result<(), CgroupError>) -> Result<bool, CgroupError> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a file with one number; `None` when it is not there or says `max`.
pub fn number(dir: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

/// Reads a file; `None` when it is not there or the kernel does not count what is in it.
pub fn read(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

/// The number after `key` in a text with one "key number" a line.
pub fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Reads the number after `key` in such a file.
pub fn keyed(dir: &Path, file: &str, key: &str) -> Option<u64> {
    value(&read(dir, file)?, key)
}

/// Makes a group and its parents. Another agent may take an empty parent away in between, so it is tried
/// again.
pub fn make(dir: &Path) -> Result<(), CgroupError> {
    let mut tries = 0..10;
    loop {
        match fs::create_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound && tries.next().is_some() => {}
            result => return result.map_err(|source| error("make the control group", dir, source)),
        }
    }
}

/// Removes one group, without children. The kernel may call it busy for a moment after its last process has
/// ended.
pub fn remove(dir: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    let mut pause = Duration::from_micros(100);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Err(source) => return Err(error("remove the control group", dir, source)),
        }
    }
}

/// Removes a container's directory with its leaves, then our own parents as far as they are empty.
pub fn remove_container(base: &Path, container: &str, leaves: &[&str]) -> Result<(), CgroupError> {
    let dir = base.join(container);
    for leaf in leaves {
        remove(&dir.join(leaf))?;
    }
    remove(&dir)?;
    remove_if_empty(base);
    Ok(())
}

/// Removes the agent's own group and ours above it, if nothing is in them.
pub fn remove_if_empty(base: &Path) {
    for parent in base.ancestors().take(2) {
        if fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

/// The names of the groups in a group.
pub fn children(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The processes in these groups.
pub fn processes<'a>(dirs: impl IntoIterator<Item = &'a PathBuf>) -> BTreeSet<u32> {
    dirs.into_iter()
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Moves processes into a group. Process id 0 stands for one that this pid namespace cannot see, and stays where it is.
pub fn join(group: &Path, processes: impl IntoIterator<Item = u32>) -> Result<(), CgroupError> {
    for pid in processes.into_iter().filter(|&pid| pid != 0) {
        match write(group, "cgroup.procs", pid) {
            // It has ended meanwhile.
            Err(error) if error.source.raw_os_error() == Some(libc::ESRCH) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Sends SIGKILL to all processes in the groups, again and again until there is none left. Process id 0
/// stands for one that this pid namespace cannot see, and is nobody's to kill.
pub fn kill_until_empty(dirs: &[PathBuf]) -> Result<(), CgroupError> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    let mut pause = Duration::from_micros(100);
    loop {
        let found = processes(dirs);
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let source = io::Error::new(ErrorKind::TimedOut, format!("processes {found:?} do not end"));
            return Err(error("empty the control group", &dirs[0], source));
        }
        for pid in found.into_iter().filter(|&pid| pid != 0) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
