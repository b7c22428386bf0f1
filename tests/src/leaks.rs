//! What a cluster could leave behind on the machine: control groups, processes, mounts, listeners, links of its network and
//! networks with a name.
//!
//! Namespaces are not counted by themselves: one lives only as long as a process in it, a descriptor of a process, or a
//! mount, and all of these are.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process;

/// Where a network is that was given a name (ip-netns(8)).
const NAMED_NETWORKS: &str = "/run/netns";

/// Where to look.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The cluster's folder: it is in the path of every mount, and in the arguments or the environment of every process.
    pub folder: PathBuf,
    /// The work directories of its agents: each holds the name of the agent's control groups.
    pub work_dirs: Vec<PathBuf>,
    /// Where it listens.
    pub listeners: Vec<(Ipv4Addr, Option<RangeInclusive<u16>>)>,
    /// Links and named networks of before.
    before: BTreeSet<String>,
}

impl Traces {
    /// Those of a cluster that is yet to start, by a thread that is in its network.
    pub fn new(
        folder: PathBuf,
        work_dirs: Vec<PathBuf>,
        listeners: Vec<(Ipv4Addr, Option<RangeInclusive<u16>>)>,
    ) -> Traces {
        Traces { folder, work_dirs, listeners, before: networks() }
    }

    /// All that is there, in words; empty when nothing is.
    pub fn all(&self) -> Vec<String> {
        let groups = self.groups().into_iter().map(|path| format!("control group {}", path.display()));
        let pids = self.processes().into_iter();
        let processes = pids.map(|pid| format!("process {pid}: {}", process::command_line(pid)));
        let networks = networks().into_iter().filter(|network| !self.before.contains(network));
        groups.chain(processes).chain(self.mounts()).chain(self.listening()).chain(networks).collect()
    }

    /// The control groups of the cluster's agents, in all hierarchies, with those below.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let roots = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let roots: Vec<PathBuf> =
            roots.filter_map(|line| Some(PathBuf::from(line.split(' ').nth(4)?))).collect();
        let mut found = Vec::new();
        for work_dir in &self.work_dirs {
            for root in &roots {
                below(&root.join("bourse").join(instance(work_dir)), &mut found);
            }
        }
        found
    }

    /// The processes of the cluster's tasks.
    pub fn tasks(&self) -> Vec<u32> {
        self.work_dirs.iter().flat_map(|work_dir| process::in_groups(&instance(work_dir))).collect()
    }

    /// The cluster's processes and those of its tasks.
    pub fn processes(&self) -> Vec<u32> {
        let folder = self.folder.display().to_string();
        let own = std::process::id();
        let mut found: Vec<u32> = process::all()
            .into_iter()
            .filter(|pid| *pid != own && process::mentions(*pid, &folder))
            .collect();
        found.extend(self.tasks());
        found.sort_unstable();
        found.dedup();
        found
    }

    fn mounts(&self) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        mounts.lines().filter(|line| line.contains(&folder)).map(|line| format!("mount {line}")).collect()
    }

    fn listening(&self) -> Vec<String> {
        // In the network of this thread: `/proc/net` is that of the process' first one.
        let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("/proc is mounted");
        let sockets = table.lines().skip(1).filter_map(listener);
        let ours = sockets.filter(|(address, port)| {
            let covers =
                |ports: &Option<RangeInclusive<u16>>| ports.as_ref().is_none_or(|ports| ports.contains(port));
            self.listeners.iter().any(|(ip, ports)| ip == address && covers(ports))
        });
        ours.map(|(address, port)| format!("listener {address}:{port}")).collect()
    }

    /// Ends and removes all that can be; for a test that has failed.
    pub fn clean(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            let processes = self.processes();
            for pid in &processes {
                // It may have ended by itself just now.
                let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
            }
            let mut groups = self.groups();
            // The innermost first: a group with groups in it cannot be removed.
            groups.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
            for group in &groups {
                let _ = fs::remove_dir(group); // The next round tries again.
            }
            if processes.is_empty() && groups.is_empty() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The name of an agent among those of the machine, as its control groups carry it. One that never started has none, and no
/// groups.
pub fn instance(work_dir: &Path) -> String {
    let name = fs::read_to_string(work_dir.join("instance"));
    name.map_or_else(|_| "no-agent-was-started-here".to_owned(), |name| name.trim().to_owned())
}

/// The links of this thread's network, and the networks that have a name.
fn networks() -> BTreeSet<String> {
    // In the network of this thread, as above. The first two lines are headings.
    let table = fs::read_to_string("/proc/thread-self/net/dev").expect("/proc is mounted");
    let links = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    let links = links.map(|(name, _)| format!("link {}", name.trim()));
    let named = fs::read_dir(NAMED_NETWORKS).into_iter().flatten().flatten();
    let named = named.map(|entry| format!("network {}", entry.path().display()));
    links.chain(named).collect()
}

fn below(group: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(group) else { return };
    found.push(group.to_owned());
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), found);
        }
    }
}

/// A line of `/proc/net/tcp` that is a listener: "0: 0100007F:13BA 00000000:0000 0A ...".
fn listener(line: &str) -> Option<(Ipv4Addr, u16)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == "0A").then(|| (Ipv4Addr::from(address.to_ne_bytes()), port))
}
