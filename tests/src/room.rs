//! A control group with a limit of memory, for one part of a cluster: on version 1 and on version 2 alike.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many groups this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A group of the test's own. Removed when it is let go; whoever is in it has to have ended.
#[derive(Debug)]
pub struct MemoryRoom {
    path: PathBuf,
}

impl MemoryRoom {
    /// One for so many MiB.
    ///
    /// # Panics
    /// When the machine has no control groups for memory, or they are not this user's.
    pub fn new(mib: u64) -> MemoryRoom {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let (root, limit) =
            mounts.lines().find_map(with_memory).expect("there are control groups for memory");
        let name = format!("bourse-test-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let room = MemoryRoom { path: root.join(name) };
        fs::create_dir(&room.path).unwrap_or_else(|error| panic!("making {}: {error}", room.path.display()));
        fs::write(room.path.join(limit), (mib << 20).to_string()).expect("it is ours");
        room
    }

    /// What in front of a command runs it in this group; the process id stays.
    pub fn prefix(&self) -> Vec<OsString> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        ["sh", "-c", &enter, "sh"].map(OsString::from).into()
    }
}

impl Drop for MemoryRoom {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// A hierarchy in which a group may limit memory, and the file that says how much.
fn with_memory(mount: &str) -> Option<(PathBuf, &'static str)> {
    let (about, kind) = mount.split_once(" - ")?;
    let path = PathBuf::from(about.split(' ').nth(4)?);
    let options = kind.rsplit(' ').next()?;
    if kind.starts_with("cgroup ") && options.split(',').any(|option| option == "memory") {
        return Some((path, "memory.limit_in_bytes"));
    }
    let handed_down = || fs::read_to_string(path.join("cgroup.subtree_control")).unwrap_or_default();
    let has_memory =
        kind.starts_with("cgroup2 ") && handed_down().split_whitespace().any(|name| name == "memory");
    has_memory.then_some((path, "memory.max"))
}
