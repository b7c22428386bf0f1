//! Life after the start: wait for the task's main process, obey the agent's orders, reap what others leave behind.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use bourse_init::order;
use bourse_init::record::Record;

use crate::logs::Logs;
use crate::sys::{self, End};

/// Signals that ask for an end. They go to every process, as a shell that runs a command neither passes them on
/// nor waits for it.
const ENDING: [i32; 3] = [order::END, sys::SIGINT, sys::SIGQUIT];

/// Signals for the main process that reach us instead, for instance from a person who looked up the wrong pid.
/// They mean something to it alone ("read your settings again"), and would end others that never heard of them.
const PASSED_ON: [i32; 3] = [sys::SIGHUP, sys::SIGUSR1, sys::SIGUSR2];

/// How far the task reaches: which processes are its own.
#[derive(Clone, Copy)]
pub enum Reach {
    /// All in this pid namespace, whose first process we are.
    Namespace,
    /// All that descend from us: there is no pid namespace.
    Descendants,
}

/// Waits until the main process has ended, and all others too if the task was asked to end; writes its logs meanwhile.
/// Tells the end of the main one, with the time at which that was. Signals are blocked beforehand, so none is lost in
/// between.
pub fn wait_for(main: i32, reach: Reach, signals: &mut File, logs: &mut Option<Logs>) -> Record {
    let mut end = None;
    let mut asked_to_end = false;
    loop {
        let others = reap_ended(main, &mut end);
        if let Some(end) = end.take_if(|_| !(asked_to_end && others)) {
            return end;
        }
        let [stdout, stderr] = logs.as_ref().map_or([None; 2], Logs::pipes);
        let [signalled, stdout, stderr] = sys::wait_readable([Some(signals.as_fd()), stdout, stderr]);
        // One piece of each, so that a task that writes without end does not keep us from hearing the next order.
        if let Some(logs) = logs {
            logs.move_on([stdout, stderr]);
        }
        if !signalled {
            continue;
        }
        match (next_signal(signals), reach) {
            (order::KILL, Reach::Namespace) => sys::kill(sys::ALL_BUT_US, sys::SIGKILL),
            (order::KILL, Reach::Descendants) => kill_descendants(main, &mut end),
            (number, _) if ENDING.contains(&number) => {
                asked_to_end = true;
                match reach {
                    Reach::Namespace => sys::kill(sys::ALL_BUT_US, number),
                    Reach::Descendants => signal_descendants(number),
                }
            }
            // Once it is reaped, someone else may have its number.
            (number, _) if PASSED_ON.contains(&number) && end.is_none() => sys::kill(main, number),
            _ => {}
        }
    }
}

/// The number of a signal that is pending.
fn next_signal(signals: &mut File) -> i32 {
    // One `signalfd_siginfo`, which begins with the number (signalfd(2)).
    let mut info = [0; 128];
    let _ = signals.read(&mut info);
    i32::from_ne_bytes([info[0], info[1], info[2], info[3]])
}

/// Waits for a command inside a running container, which takes its process group along when it ends. When the
/// agent hangs up (a timeout, or its own death) they are killed. Tells whether the command was wanted until its
/// end, which is kept once it is seen.
pub fn wait_while_wanted(main: i32, report: &OwnedFd, signals: &mut File, end: &mut Option<Record>) -> bool {
    while !sys::has_ended(main) {
        let [signalled, hung_up] = sys::wait_readable([Some(signals.as_fd()), Some(report.as_fd())]);
        if hung_up {
            break;
        }
        if signalled {
            // Which one does not matter: SIGCHLD is the one we wait for.
            next_signal(signals);
        }
    }
    let wanted = sys::has_ended(main);
    // Before its leader is reaped, so that the number is still that of this group.
    sys::kill(-main, sys::SIGKILL);
    reap_ended(main, end);
    wanted
}

/// Reaps every child that has ended, and keeps the end of the main one. Tells whether children are left.
fn reap_ended(main: i32, end: &mut Option<Record>) -> bool {
    loop {
        match sys::reap(false) {
            Ok(Some((pid, how))) if pid == main => *end = Some(record(how)),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// An end that is seen now.
fn record(end: End) -> Record {
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    match end {
        End::Exited(code) => Record::Exited { code, wall_ms },
        End::Signaled(signal) => Record::Signaled { signal, wall_ms },
    }
}

/// Kills all descendants, generation by generation: the children of a killed process become ours. Only for a
/// place without a pid namespace; in a container the kernel does it when pid 1 ends, and better. Keeps the end of
/// the main process, if that is still to come.
pub fn kill_descendants(main: i32, end: &mut Option<Record>) {
    if end.is_none() {
        // All at once, so that none of the group can fork away.
        sys::kill(-main, sys::SIGKILL);
    }
    let us = sys::own_pid();
    loop {
        for (child, _) in processes().into_iter().filter(|&(_, parent)| parent == us) {
            sys::kill(child, sys::SIGKILL);
        }
        match sys::reap(true) {
            Ok(Some((pid, how))) if pid == main => *end = Some(record(how)),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// How often those are looked for that were made while a signal was sent to the others: a task that forks without end
/// must not keep us from hearing the next order.
const ROUNDS_MAX: usize = 10;

/// Sends a signal to each descendant once, and to those that were made meanwhile, until there are no more of them. One that
/// has been sent its signal makes no others unless it lives on with it (fork is begun anew after a signal), so a task
/// that does not handle the signal is reached whole.
fn signal_descendants(signal: i32) {
    let mut reached = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let mut new = descendants();
        new.retain(|pid| !reached.contains(pid));
        if new.is_empty() {
            return;
        }
        for &pid in &new {
            sys::signal_if(pid, signal, || descends_from_us(pid));
        }
        reached.append(&mut new);
    }
}

fn descendants() -> Vec<i32> {
    let mut rest = processes();
    let all: Vec<i32> = rest.iter().map(|&(pid, _)| pid).collect();
    let mut found = vec![sys::own_pid()];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        rest.retain(|&(pid, its_parent)| {
            let child = its_parent == parent;
            if child {
                found.push(pid);
            }
            !child
        });
    }
    // The parents of these have ended while the list was made, and left them to another.
    let orphans = rest.into_iter().filter(|&(_, parent)| parent != 0 && !all.contains(&parent));
    found.extend(orphans.map(|(pid, _)| pid).filter(|&pid| descends_from_us(pid)));
    found.split_off(1)
}

/// By its parents, up to us or to the first process of all. Orphans of ours are our children, as we are their reaper.
fn descends_from_us(pid: i32) -> bool {
    let us = sys::own_pid();
    let mut at = pid;
    loop {
        match parent(at) {
            Some(0) => return false,
            Some(parent) if parent == us => return true,
            Some(parent) => at = parent,
            None if at == pid => return false,
            // This one has ended since its child named it, and left the child to another: from below again. The way up
            // is shorter each time.
            None => at = pid,
        }
    }
}

/// All processes that there are, each with its parent.
fn processes() -> Vec<(i32, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(pid)?))
        })
        .collect()
}

/// `None`: there is no such process, nor does process 0 have a parent.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may hold anything: fields are counted from the last one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
