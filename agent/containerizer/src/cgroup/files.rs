//! Control group files: small helpers that name the path in every error.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, unlinkat};

use super::CgroupError;
use crate::kernel_file;

/// How long a killed process may take to leave its group, and an empty group to become removable.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// How often processes are moved before others are believed to be made without end.
pub const MOVES: usize = 20;

/// Version 2, from Linux 4.14 on: how many groups there may be below one, whoever makes them.
pub const MAX_DESCENDANTS: &str = "cgroup.max.descendants";

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
    read(dir, file)?.trim().parse().ok()
}

/// Reads a file; `None` when it is not there or the kernel does not count what is in it.
pub fn read(dir: &Path, file: &str) -> Option<String> {
    kernel_file::read(dir.join(file)).ok()
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

/// Removes one group, and the groups in it that others have made. The kernel may call it busy for a moment after its last
/// process has ended.
pub fn remove(dir: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    let mut pause = Duration::from_micros(100);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                let is_late = Instant::now() >= deadline;
                // What is wrong there, the next attempt tells of the group itself.
                if !is_late && matches!(remove_below(dir), Ok(true)) {
                    continue;
                }
                if is_late || source.kind() != ErrorKind::ResourceBusy {
                    return Err(error("remove the control group", dir, source));
                }
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    }
}

/// Removes the groups below one, the deepest first, until one is in use; tells whether there were any. It goes by open
/// directories and not by paths, as groups can be nested deeper than a path is long, and only through directories, so that
/// nothing leads out. What is above a group never changes, so `..` is where it came from.
fn remove_below(top: &Path) -> io::Result<bool> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = open(top, directory, Mode::empty())?;
    let mut way: Vec<CString> = Vec::new();
    let mut were_any = false;
    loop {
        if let Some(name) = a_group_in(&here)? {
            here = openat(&here, name.as_c_str(), directory, Mode::empty())?;
            way.push(name);
        } else if let Some(name) = way.pop() {
            here = openat(&here, c"..", directory, Mode::empty())?;
            unlinkat(&here, name.as_c_str(), AtFlags::REMOVEDIR)?;
            were_any = true;
        } else {
            return Ok(were_any);
        }
    }
}

fn a_group_in(dir: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let is_itself = [c".", c".."].contains(&entry.file_name());
        if entry.file_type() == FileType::Directory && !is_itself {
            return Ok(Some(entry.file_name().to_owned()));
        }
    }
    Ok(None)
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

/// The same, if there is nothing in any of them: without a wait, and it tells whether there are none any more. The kernel
/// refuses to remove a group with a process or another group in it.
pub fn remove_empty_container(base: &Path, container: &str, leaves: &[&str]) -> bool {
    let dir = base.join(container);
    let is_gone = |dir: &Path| match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    let gone = leaves.iter().all(|leaf| is_gone(&dir.join(leaf))) && is_gone(&dir);
    if gone {
        remove_if_empty(base);
    }
    gone
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
        .filter_map(|dir| read(dir, "cgroup.procs"))
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// All groups below these that are not among them.
pub fn below(dirs: &[PathBuf]) -> Vec<PathBuf> {
    // To the kernel each group in a group is a link to it, and there are two more (`kernfs_refresh_inode` in its
    // fs/kernfs/inode.c): so much cheaper to ask than what is in it. Other file systems may say 1 of all.
    let may_have_groups = |dir: &Path| fs::symlink_metadata(dir).is_ok_and(|about| about.nlink() != 2);
    let mut found: Vec<PathBuf> = dirs.to_vec();
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        next += 1;
        if !may_have_groups(&dir) {
            continue;
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let others = groups.map(|entry| entry.path()).filter(|path| !dirs.contains(path));
        found.extend(others);
    }
    found.split_off(dirs.len())
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

/// Sends SIGKILL to all processes in the groups and below them, again and again until there is none left.
pub fn kill_until_empty(dirs: &[PathBuf]) -> Result<(), CgroupError> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    let mut pause = Duration::from_micros(100);
    loop {
        let mut found = processes(dirs);
        if found.is_empty() {
            found = processes(&below(dirs));
        }
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let source = io::Error::new(ErrorKind::TimedOut, format!("processes {found:?} do not end"));
            return Err(error("empty the control group", &dirs[0], source));
        }
        kill_each(found);
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Sends SIGKILL to each. Process id 0 stands for one that this pid namespace cannot see, and is nobody's to kill.
pub fn kill_each(processes: impl IntoIterator<Item = u32>) {
    for pid in processes.into_iter().filter(|&pid| pid != 0) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_group_goes_with_all_that_was_made_in_it_however_deep_and_whatever_it_is_called() {
        let root = TempDir::new().expect("a temporary directory");
        let base = root.path().join("bourse/a1");
        let task = base.join("c1/task");
        fs::create_dir_all(task.join("a/b")).expect("it is writable");
        fs::create_dir_all(task.join(OsStr::from_bytes(b"\xff")).join("c")).expect("it is writable");
        fs::create_dir(base.join("c1/other")).expect("it is writable");
        // Deeper than a path may be long.
        let long = "x".repeat(255);
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut here = open(&task, directory, Mode::empty()).expect("it is there");
        for _ in 0..20 {
            rustix::fs::mkdirat(&here, long.as_str(), Mode::RWXU).expect("it is writable");
            here = openat(&here, long.as_str(), directory, Mode::empty()).expect("it was made");
        }
        remove_container(&base, "c1", &["task"]).unwrap_or_else(|error| panic!("{error}: {}", error.source));
        assert!(!root.path().join("bourse").exists());
    }

    #[test]
    fn groups_with_nothing_in_them_go_at_once_and_others_are_left() {
        let root = TempDir::new().expect("a temporary directory");
        let base = root.path().join("bourse/a1");
        let within = base.join("c1/task/within");
        fs::create_dir_all(&within).expect("it is writable");
        assert!(!remove_empty_container(&base, "c1", &["init", "task"]));
        assert!(within.exists());
        fs::remove_dir(&within).expect("it is there");
        assert!(remove_empty_container(&base, "c1", &["init", "task"]));
        assert!(!root.path().join("bourse").exists(), "the parents go with the last one");
        assert!(remove_empty_container(&base, "c1", &["init", "task"]), "a repeat does nothing");
    }

    #[test]
    fn nothing_that_a_group_could_lead_to_is_removed_with_those_in_it() {
        let root = TempDir::new().expect("a temporary directory");
        let [group, elsewhere] = ["group", "elsewhere"].map(|name| root.path().join(name));
        fs::create_dir_all(group.join("in")).expect("it is writable");
        fs::create_dir_all(elsewhere.join("kept")).expect("it is writable");
        std::os::unix::fs::symlink(&elsewhere, group.join("link")).expect("it is writable");
        assert!(remove_below(&group).expect("it is there"));
        assert!(!remove_below(&group).expect("it is there"), "there is nothing more");
        assert!(elsewhere.join("kept").exists() && !group.join("in").exists());
    }

    #[test]
    fn processes_in_groups_below_a_containers_are_found() {
        let root = TempDir::new().expect("a temporary directory");
        let [container, task] = ["c1", "c1/task"].map(|name| root.path().join(name));
        for (dir, text) in [("c1/task", "1\n"), ("c1/task/a/b", "2\n"), ("c1/other", "3\n")] {
            let dir = root.path().join(dir);
            fs::create_dir_all(&dir).expect("it is writable");
            fs::write(dir.join("cgroup.procs"), text).expect("it is writable");
        }
        let found = processes(&below(&[container, task]));
        assert_eq!(found.into_iter().collect::<Vec<u32>>(), [2, 3]);
    }
}
