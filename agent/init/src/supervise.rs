//! Life after the start: wait for the task's main process, pass signals on, reap what others leave behind.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::{self, End};

/// Signals for the task that reach us instead, for instance from a person who looked up the wrong pid.
const PASSED_ON: [i32; 6] =
    [sys::SIGHUP, sys::SIGINT, sys::SIGQUIT, sys::SIGUSR1, sys::SIGUSR2, sys::SIGTERM];

/// Waits until the main process has ended. Signals are blocked beforehand, so none is lost in between.
pub fn wait_for(main: i32) -> End {
    loop {
        if let Some(end) = reap_until(main) {
            return end;
        }
        match sys::next_signal() {
            number if PASSED_ON.contains(&number) => sys::kill(main, number),
            _ => {}
        }
    }
}

/// The same for a command inside a running container: when the agent hangs up (a timeout, or its own death)
/// the command and its process group are killed. `None` when it came to that.
pub fn wait_while_wanted(main: i32, report: &OwnedFd) -> Option<End> {
    // Without the descriptor there would be no end to wait for but the command's own.
    let Ok(signals) = sys::signal_descriptor() else { return Some(wait_for(main)) };
    let mut signals = fs::File::from(signals);
    loop {
        if let Some(end) = reap_until(main) {
            return Some(end);
        }
        let (signal, hung_up) = sys::wait_readable(signals.as_fd(), report.as_fd());
        if hung_up {
            sys::kill(-main, sys::SIGKILL);
            return None;
        }
        if signal {
            // 128 bytes is one signalfd_siginfo; which signal it was does not matter: SIGCHLD is the one we
            // wait for.
            let _ = signals.read(&mut [0; 128]);
        }
    }
}

/// Reaps every child that has ended; the main one's end, when it is among them.
fn reap_until(main: i32) -> Option<End> {
    while let Ok(Some((pid, end))) = sys::reap(false) {
        if pid == main {
            return Some(end);
        }
    }
    None
}

/// Kills all descendants, generation by generation: the children of a killed process become ours. Only for a
/// place without a pid namespace; in a container the kernel does it when pid 1 ends, and better.
pub fn kill_descendants(main: i32) {
    sys::kill(-main, sys::SIGKILL);
    loop {
        for child in children() {
            sys::kill(child, sys::SIGKILL);
        }
        if sys::reap(true).is_err() {
            return;
        }
    }
}

fn children() -> Vec<i32> {
    let own = sys::own_pid().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The command's name, in parentheses, may hold anything: fields are counted from the last one.
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) == Some(&own)
        })
        .collect()
}
