//! What processes and the kernel hold, as the kernel tells it, and the cpu time of a process.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// What of the kernel's own memory grows with tasks: objects such as control groups, mounts and descriptors, stacks of
/// threads, tables of pages, counters of control groups. It is told for the whole machine only (proc_meminfo(5)).
const KERNELS: [&str; 4] = ["Slab", "KernelStack", "PageTables", "Percpu"];

/// Clock ticks a second in `/proc`: USER_HZ, 100 on every architecture that Linux programs can see it on.
const TICKS: u64 = 100;

/// The kernel's own memory in KiB, of the whole machine.
pub fn of_kernel() -> anyhow::Result<u64> {
    let info = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo; mount /proc")?;
    Ok(KERNELS.into_iter().filter_map(|name| kibibytes(&info, name)).sum())
}

/// Memory of a process in KiB; what it shares counts by its part. `None`: it is gone.
pub fn of_process(pid: u32) -> Option<u64> {
    kibibytes(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss")
}

/// What programs may still have in KiB, as the kernel reckons it.
pub fn available() -> anyhow::Result<u64> {
    let info = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo; mount /proc")?;
    kibibytes(&info, "MemAvailable").context("/proc/meminfo has no MemAvailable; Linux has it since 3.14")
}

/// A line such as `Pss:    12 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// All processes that descend from this one.
pub fn below(root: u32) -> anyhow::Result<Vec<u32>> {
    let all = fs::read_dir("/proc").context("listing /proc; mount it")?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u64)> = pids.filter_map(|pid| Some((pid, stat(pid, 4)?))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == u64::from(parent)).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    Ok(found)
}

/// The cpu time of a process so far, all its threads together, to a hundredth of a second.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let ticks = stat(pid, 14).zip(stat(pid, 15)).with_context(|| format!("process {pid} is gone"))?;
    Ok(Duration::from_millis((ticks.0 + ticks.1) * 1000 / TICKS))
}

/// A field of `/proc/PID/stat`, by its number in proc_pid_stat(5), from 4 on.
fn stat(pid: u32, number: usize) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, number)
}

/// The command's name, in parentheses, is field 2 and may hold anything: fields are counted from the last one.
fn field(text: &str, number: usize) -> Option<u64> {
    text.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_that_of_the_line_with_this_name_and_of_no_longer_one() {
        let text =
            "00400000-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss_Anon:  7 kB\nPss:   450 kB\n";
        assert_eq!(kibibytes(text, "Pss"), Some(450));
        assert_eq!(kibibytes(text, "Swap"), None);
    }

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 0 0 0 0 0 7 5 0 0 20 0 3 0 12345 1000 250 0";
        assert_eq!((field(line, 4), field(line, 14), field(line, 15)), (Some(1), Some(7), Some(5)));
    }

    #[test]
    fn a_process_and_what_descends_from_it_are_found_while_they_live() {
        let mut child =
            std::process::Command::new("sleep").arg("1000").spawn().expect("every machine has it");
        let found = below(std::process::id()).expect("/proc is mounted");
        let its = of_process(child.id());
        child.kill().expect("our child");
        child.wait().expect("our child");
        assert!(found.contains(&child.id()), "{found:?}");
        assert!(its.is_some_and(|kibibytes| kibibytes > 0), "{its:?}");
        assert_eq!(of_process(child.id()), None);
    }
}
