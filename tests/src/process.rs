//! Processes of this machine, as `/proc` tells them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process for good: a number may be given out again, a number with its start time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// As this machine counts.
    pub pid: u32,
    /// In clock ticks since the machine was started.
    pub started: u64,
}

impl Process {
    /// The process of that number, unless it has ended.
    pub fn of(pid: u32) -> Option<Process> {
        let stat = Stat::read(pid)?;
        (stat.state != 'Z').then_some(Process { pid, started: stat.started })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Process::of(self.pid) == Some(self)
    }

    /// Sends SIGKILL. One that has ended is dead enough.
    pub fn kill9(self) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid as i32), Signal::SIGKILL);
        }
    }
}

/// All processes that run.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a variable of the process' environment holds this text, or its command line does.
pub fn mentions(pid: u32, text: &str) -> bool {
    let holds = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    holds("environ") || holds("cmdline")
}

/// What it was called with, for people.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// Cpu time that the processes of a control group have had so far, summed from their own figures.
pub fn cpu_time(pids: &[u32]) -> Duration {
    let ticks: u64 = pids.iter().filter_map(|pid| Stat::read(*pid)).map(|stat| stat.ticks).sum();
    // USER_HZ is 100 on every architecture that Linux programs can see it on.
    Duration::from_millis(ticks * 10)
}

/// The memory that it has had at most so far, in MiB, as the kernel counts its pages.
///
/// # Panics
/// When it has ended.
pub fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the kernel tells it in KiB") >> 10
}

/// How many descriptors it has open.
///
/// # Panics
/// When it has ended.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// The namespaces that it has a descriptor of, as `user:[4026531837]`; none of one that has ended.
pub fn namespaces(pid: u32) -> Vec<String> {
    const KINDS: [&str; 8] = ["cgroup:[", "ipc:[", "mnt:[", "net:[", "pid:[", "time:[", "user:[", "uts:["];
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let places = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let places = places.map(|place| place.display().to_string());
    places.filter(|place| KINDS.iter().any(|kind| place.starts_with(kind))).collect()
}

/// All processes in control groups whose path holds this text.
pub fn in_groups(text: &str) -> Vec<u32> {
    let holds = |pid: &u32| {
        let groups = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("cgroup"));
        groups.is_ok_and(|groups| groups.contains(text))
    };
    all().into_iter().filter(holds).collect()
}

/// What is used of `/proc/PID/stat`.
struct Stat {
    state: char,
    started: u64,
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Stat> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything, parentheses too.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        // By proc(5) these are fields 3, 14, 15 and 22; the list begins with field 3.
        Some(Stat {
            state: fields.first()?.chars().next()?,
            started: number(19)?,
            ticks: number(11)? + number(12)?,
        })
    }
}
