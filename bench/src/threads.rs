//! What the threads of an agent do while it has nothing to do: cpu time, how often they run, and what it reads and writes.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::figures::tell;

/// Cpu time, and how often it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ran {
    cpu: Duration,
    times: u64,
}

/// What was seen of a process at one moment.
pub struct Look {
    at: Instant,
    /// By their numbers.
    threads: BTreeMap<u32, Ran>,
    /// Calls that read, and that write, so far.
    calls: [u64; 2],
}

impl Look {
    /// Looks at it now.
    pub fn at(pid: u32) -> anyhow::Result<Look> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {folder}; mount /proc"))? {
            let entry = entry?;
            // One that has just ended has done all that it does.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some((number, ran)) = number.zip(ran(&text)) {
                threads.insert(number, ran);
            }
        }
        let io = fs::read_to_string(format!("/proc/{pid}/io")).context("reading what a process has read")?;
        Ok(Look { at: Instant::now(), threads, calls: ["syscr", "syscw"].map(|name| number(&io, name)) })
    }
}

/// From `/proc/PID/schedstat` (kernel documentation, `scheduler/sched-stats.rst`): nanoseconds on a cpu, nanoseconds of waiting
/// for one, how often it was given one.
fn ran(schedstat: &str) -> Option<Ran> {
    let mut numbers = schedstat.split_whitespace().map_while(|text| text.parse::<u64>().ok());
    Some(Ran { cpu: Duration::from_nanos(numbers.next()?), times: numbers.nth(1)? })
}

/// From lines such as `syscr: 12` (proc_pid_io(5)).
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

/// Whose work a thread of an agent does. The first is the one that owns its core. As many as there are cpus come next: timers,
/// connections, what waits for neither disk nor kernel. All others are for that, and come and go.
const WHOSE: [&str; 3] = [
    "  its own thread: the core, the checkpoint",
    "  threads of its runtime: timers, the link, the API",
    "  threads that wait for the kernel: measuring, files",
];

/// Prints what was done between two looks, each in a second.
pub fn print(before: &Look, after: &Look) {
    let seconds = (after.at - before.at).as_secs_f64();
    let cpus = available_parallelism().map_or(1, NonZero::get);
    for (whose, ran) in WHOSE.iter().zip(by_whose(before, after, cpus)) {
        let share = ran.cpu.as_secs_f64() / seconds * 100.0;
        tell(whose, format!("{share:>7.2} %  {:>7.1} times a second", ran.times as f64 / seconds));
    }
    let [reads, writes] = [0, 1].map(|at| (after.calls[at] - before.calls[at]) as f64 / seconds);
    tell("  calls that read and that write", format!("{reads:>7.1} and {writes:.1} a second"));
}

fn by_whose(before: &Look, after: &Look, cpus: usize) -> [Ran; 3] {
    let mut found = [Ran::default(); 3];
    for (index, (number, ran)) in after.threads.iter().enumerate() {
        let begun = before.threads.get(number).copied().unwrap_or_default();
        let whose = match index {
            0 => &mut found[0],
            runtime if runtime <= cpus => &mut found[1],
            _ => &mut found[2],
        };
        whose.cpu += ran.cpu.saturating_sub(begun.cpu);
        whose.times += ran.times.saturating_sub(begun.times);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_do_is_told_by_whose_work_it_is() {
        let look = |threads: &[(u32, u64, u64)]| {
            let ran = |&(number, millis, times): &(u32, u64, u64)| {
                (number, Ran { cpu: Duration::from_millis(millis), times })
            };
            Look { at: Instant::now(), threads: threads.iter().map(ran).collect(), calls: [0; 2] }
        };
        let before = look(&[(10, 5, 1), (11, 7, 2), (12, 0, 0), (20, 100, 9)]);
        let after = look(&[(10, 6, 3), (11, 9, 4), (12, 1, 1), (20, 150, 10), (21, 3, 2)]);
        let ran = |millis, times| Ran { cpu: Duration::from_millis(millis), times };
        assert_eq!(by_whose(&before, &after, 2), [ran(1, 2), ran(3, 3), ran(53, 3)]);
    }

    #[test]
    fn a_process_is_looked_at_with_all_its_threads() {
        let look = Look::at(std::process::id()).expect("/proc is mounted");
        assert!(!look.threads.is_empty() && look.calls[0] > 0);
        assert_eq!(ran("12 34 56\n"), Some(Ran { cpu: Duration::from_nanos(12), times: 56 }));
        assert_eq!((ran(""), number("rchar: 1\nsyscr: 7\n", "syscr")), (None, 7));
    }
}
