//! Signals: sent, blocked, and read from a descriptor.

use std::ffi::{c_int, c_long, c_uint, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::check;

unsafe extern "C" {
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    fn sigfillset(set: *mut SignalSet) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn signalfd(fd: c_int, set: *const SignalSet, flags: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

/// `siginfo_t` and other parts of results that we do not look at are left out by passing null.
#[repr(C)]
struct SignalSet([u64; 16]);

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGQUIT: i32 = 3;
pub const SIGKILL: i32 = 9;
pub const SIGUSR1: i32 = 10;
pub const SIGUSR2: i32 = 12;

pub(super) const SIGCHLD: i32 = 17;

/// For [`kill`] in the first process of a pid namespace: all others in it.
pub const ALL_BUT_US: i32 = -1;

// Numbers that are the same on every architecture (all calls since Linux 5.1 are).
const SYS_PIDFD_SEND_SIGNAL: c_long = 424;
const SYS_PIDFD_OPEN: c_long = 434;

/// Sends a signal to a process of which `still` says, once nobody else can take its number any more, that it is
/// the one that is meant.
pub fn signal_if(pid: i32, signal: i32, still: impl FnOnce() -> bool) {
    // SAFETY: no memory involved; the result is a fresh descriptor that nobody else owns.
    let process = unsafe {
        match syscall(SYS_PIDFD_OPEN, pid, 0 as c_uint) {
            ..0 => return,
            fd => OwnedFd::from_raw_fd(fd as RawFd),
        }
    };
    if still() {
        // SAFETY: a null siginfo is allowed and means the same as kill(2).
        unsafe {
            syscall(SYS_PIDFD_SEND_SIGNAL, process.as_raw_fd(), signal, ptr::null::<c_void>(), 0 as c_uint)
        };
    }
}

/// Sends a signal; to a process group when `pid` is negative. A target that is gone is not an error.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: no memory involved.
    unsafe { c_kill(pid, signal) };
}

fn set_of_all() -> SignalSet {
    let mut set = SignalSet([0; 16]);
    // SAFETY: `set` is as large as glibc's sigset_t.
    unsafe { sigfillset(&mut set) };
    set
}

/// Blocks every signal that can be blocked: from now on they are read from [`signal_descriptor`].
pub fn block_signals() {
    const SIG_SETMASK: c_int = 2;
    // SAFETY: the set is valid; the old mask is not wanted.
    unsafe { sigprocmask(SIG_SETMASK, &set_of_all(), ptr::null_mut()) };
}

/// Takes back what an agent may have been started with and hands on: a process that ignores SIGCHLD never hears
/// of the end of a child, and has none to reap (waitpid(2)).
pub fn keep_children() {
    const SIG_DFL: usize = 0;
    // SAFETY: the default action is no function pointer.
    unsafe { signal(SIGCHLD, SIG_DFL) };
}

/// Puts every signal back to its default and unblocks all, as a fresh program expects.
pub fn default_signals() {
    const SIG_SETMASK: c_int = 2;
    const SYS_RT_SIGACTION: c_long = if cfg!(target_arch = "aarch64") { 134 } else { 13 };
    // The kernel's `struct sigaction`: a handler, flags, a restorer and a mask. All zero is the default action.
    let default = [0_u64; 4];
    for number in 1..=64_i32 {
        // The C library refuses to set the two signals that it keeps for itself, and `posix_spawn` leaves one of them
        // ignored: so not by way of it.
        // SAFETY: the action is as large as the kernel's and outlives the call, the old one is not wanted, and sets of
        // signals have 8 bytes; numbers that may not be set are refused without effect.
        unsafe {
            syscall(SYS_RT_SIGACTION, number, default.as_ptr(), ptr::null_mut::<c_void>(), size_of::<u64>())
        };
    }
    // SAFETY: an all-zero set is the empty set.
    unsafe { sigprocmask(SIG_SETMASK, &SignalSet([0; 16]), ptr::null_mut()) };
}

/// A descriptor that is readable while a blocked signal is pending.
pub fn signal_descriptor() -> io::Result<OwnedFd> {
    const SFD_CLOEXEC: c_int = 0o2_000_000;
    // SAFETY: the set is valid; the result is a fresh descriptor that nobody else owns.
    unsafe { Ok(OwnedFd::from_raw_fd(check(signalfd(-1, &set_of_all(), SFD_CLOEXEC))?)) }
}
