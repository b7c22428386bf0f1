//! Control groups that root gives to another user, for an agent that is not root.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

/// Nobody has this number, nor the group of it.
pub const USER: u32 = 54_321;

/// The group in which an agent puts itself on version 2, where processes are in leaves only.
const LEAF: &str = "bourse-host";

/// One in each hierarchy that a container needs.
pub struct Delegated(Vec<PathBuf>);

impl Delegated {
    /// Makes them for [`USER`], as root may delegate one (`cgroup-v2.rst`, "Delegation").
    pub fn make(name: &str) -> Delegated {
        const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "freezer", "memory", "pids"];
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let tops = mounts.lines().filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1)?);
            let is_needed = match kind {
                "cgroup" => options.split(',').any(|name| CONTROLLERS.contains(&name)),
                kind => kind == "cgroup2",
            };
            is_needed.then(|| left.split(' ').nth(4).map(PathBuf::from))?
        });
        let give = |top: PathBuf| {
            let there = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
            if there.contains("memory") {
                fs::write(top.join("cgroup.subtree_control"), "+cpu +memory +pids").expect("we are root");
            }
            let group = top.join(name);
            fs::create_dir(&group).expect("we are root");
            let files = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks"];
            let files = files.map(|file| group.join(file)).into_iter().filter(|file| file.exists());
            for path in files.chain([group.clone()]) {
                chown(path, Some(USER), Some(USER)).expect("we are root");
            }
            group
        };
        Delegated(tops.map(give).collect())
    }

    /// Moves a process into them: where an agent before it has handed controllers down, into the leaf of that.
    pub fn take_in(&self, pid: u32) {
        for group in &self.0 {
            let leaf = Some(group.join(LEAF)).filter(|leaf| leaf.exists());
            let procs = leaf.as_ref().unwrap_or(group).join("cgroup.procs");
            fs::write(&procs, pid.to_string()).unwrap_or_else(|error| panic!("{}: {error}", procs.display()));
        }
    }

    /// Removes them, if nothing is left in them. The kernel may call one busy for a moment: ask again.
    pub fn are_removed(&self) -> bool {
        let is_removed = |group: PathBuf| !group.exists() || fs::remove_dir(&group).is_ok();
        self.0.iter().all(|group| is_removed(group.join(LEAF)) && is_removed(group.clone()))
    }
}
