//! Processes that are not ours to lose: named for good, watched and signalled through descriptors.
//!
//! A pid alone names whoever has it now. Here a process is a pid and its start time, and what is done to it
//! goes through a pid descriptor that was opened first and compared afterwards: a signal can never hit a
//! stranger.
#![allow(unsafe_code)]

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{SysconfVar, sysconf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::kernel_file;

/// A process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub start_time: u64,
}

impl Process {
    /// The process that has this pid now; `None` when there is none, or one that has ended and waits to be reaped by a
    /// parent that may never do it.
    pub fn with_pid(pid: u32) -> io::Result<Option<Process>> {
        Ok(stat(pid)?.filter(|stat| !stat.ended).map(|stat| Process { pid, start_time: stat.start_time }))
    }

    /// A descriptor for the process; `None` when it is gone, even if someone else has its pid now.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        // SAFETY: no memory involved; the result is a fresh descriptor that nobody else owns.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid as libc::pid_t, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) };
        }
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // Compared after opening: the descriptor pins the process that is compared.
        Ok((Process::with_pid(self.pid)? == Some(self)).then_some(fd))
    }
}

/// What `/proc/PID/stat` tells (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Whether it is a zombie.
    pub ended: bool,
    /// Whether it has become a program since it was forked from another.
    pub executed: bool,
    /// The session's leader.
    pub session: u32,
    /// User and system time in clock ticks.
    pub cpu_ticks: u64,
    /// Number of threads.
    pub threads: u64,
    /// When it started, in clock ticks since the machine did.
    pub start_time: u64,
    /// Memory in pages.
    pub resident_pages: u64,
}

/// The figures of a process; `None` when there is none. Any other trouble in finding out is an error: a process that
/// could not be looked at is not gone.
pub fn stat(pid: u32) -> io::Result<Option<Stat>> {
    stat_by(pid, kernel_file::read(format!("/proc/{pid}/stat")))
}

fn stat_by(pid: u32, read: io::Result<String>) -> io::Result<Option<Stat>> {
    match read {
        Ok(text) => parse_stat(&text).map(Some).ok_or_else(|| {
            io::Error::new(
                ErrorKind::InvalidData,
                format!("/proc/{pid}/stat is not as proc_pid_stat(5) says"),
            )
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // It ended between the opening and the reading.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn parse_stat(text: &str) -> Option<Stat> {
    // Set in a process from its fork to its execve (linux/sched.h).
    const PF_FORKNOEXEC: u64 = 0x40;
    // The command's name, in parentheses, may hold anything: fields are counted from the last one. It is
    // field 2.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        executed: field(9)? & PF_FORKNOEXEC == 0,
        session: u32::try_from(field(6)?).ok()?,
        cpu_ticks: field(14)?.saturating_add(field(15)?),
        threads: field(20)?,
        start_time: field(22)?,
        resident_pages: field(24)?,
    })
}

/// Whether a process ends within so long. It can be waited for afterwards.
pub fn ends_within(process: BorrowedFd<'_>, most: Duration) -> bool {
    let deadline = Instant::now() + most;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut ended = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the one descriptor that is asked for is valid for the call.
        let answer = unsafe { libc::poll(&mut ended, 1, left.as_millis() as i32) };
        match answer {
            1.. => return true,
            0 if left.is_zero() => return false,
            // Interrupted, or a rest of less than a millisecond.
            _ => {}
        }
    }
}

/// A span that the kernel tells in clock ticks.
pub fn ticks(count: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    // What it is wherever programs look (`USER_HZ`).
    let per_second = per_second.filter(|&ticks| ticks > 0).unwrap_or(100);
    Duration::from_millis(count.saturating_mul(1000) / per_second)
}

/// All process ids that there are.
pub fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The id of this boot of the machine: a process of another boot is gone.
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

/// Sends a signal; `Ok(false)` when the process has ended.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<bool> {
    // SAFETY: a null siginfo is allowed and means the same as kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(false) } else { Err(error) }
}

/// Waits until the process has ended, without polling; works for processes that are not our children.
pub async fn ended(process: BorrowedFd<'_>) -> io::Result<()> {
    watch(process)?.readable().await.map(drop)
}

/// Watches a descriptor for something to read, on a copy: two watchers of one number would be one too many
/// for epoll.
pub fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let copy = fd.try_clone_to_owned()?;
    // SAFETY: the watcher owns the descriptor, which stays open and the same until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }?)
}

/// Takes the exit status of a child that has ended, so that it is no zombie; `None` when it is not our child,
/// has been reaped before, or still runs.
pub fn reap(process: BorrowedFd<'_>) -> Option<WaitStatus> {
    waitid(Id::PIDFd(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)
        .ok()
        .filter(|status| *status != WaitStatus::StillAlive)
}

/// Whether two threads have one table of descriptors and not each its own. `false`, too, where one has ended or the kernel
/// does not tell, which it may be built not to (kcmp(2)).
pub fn share_descriptors(one: u32, other: u32) -> bool {
    // linux/kcmp.h.
    const KCMP_FILES: libc::c_int = 2;
    let [one, other] = [one, other].map(|thread| thread as libc::pid_t);
    let unused: libc::c_ulong = 0;
    // SAFETY: no memory involved.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, unused, unused) == 0 }
}

/// Whether the kernel knows pid descriptors (Linux 5.3).
pub fn supported() -> io::Result<()> {
    let own = Process::with_pid(std::process::id())?
        .ok_or_else(|| io::Error::new(ErrorKind::NotFound, "/proc is not mounted"))?;
    own.open().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 0 0 0 0 0 7 5 0 0 20 0 3 0 12345 1000 250 0";
        let stat = parse_stat(line).expect("it is a stat line");
        assert_eq!(
            stat,
            Stat {
                ended: false,
                executed: true,
                session: 42,
                cpu_ticks: 12,
                threads: 3,
                start_time: 12345,
                resident_pages: 250
            }
        );
    }

    #[test]
    fn a_process_that_could_not_be_looked_at_is_not_taken_for_one_that_is_gone() {
        let failed = |errno| stat_by(42, Err(io::Error::from_raw_os_error(errno)));
        assert_eq!(failed(libc::ENOENT).expect("there is none"), None);
        assert_eq!(failed(libc::ESRCH).expect("it has just gone"), None);
        for errno in [libc::EMFILE, libc::EACCES, libc::EIO] {
            assert_eq!(failed(errno).expect_err("nobody knows").raw_os_error(), Some(errno));
        }
        let error = stat_by(42, Ok("42 (a) S".into())).expect_err("half a line");
        assert!(error.to_string().contains("/proc/42/stat"), "{error}");
    }

    #[test]
    fn threads_have_one_table_of_descriptors_and_processes_each_its_own() {
        let own = std::process::id();
        let is_told = share_descriptors(own, own);
        let other = move || share_descriptors(own, nix::unistd::gettid().as_raw() as u32);
        assert_eq!(std::thread::spawn(other).join().expect("it only asks"), is_told);
        assert!(!share_descriptors(own, std::os::unix::process::parent_id()));
    }

    #[test]
    fn a_process_with_the_same_pid_but_another_start_is_not_the_same() {
        let own = Process::with_pid(std::process::id()).expect("/proc is mounted").expect("we run");
        assert!(own.open().expect("the kernel knows pid descriptors").is_some());
        let other = Process { start_time: own.start_time + 1, ..own };
        assert!(other.open().expect("the kernel knows pid descriptors").is_none());
    }
}
