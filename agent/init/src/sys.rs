//! The system calls that the standard library does not offer, each behind a safe function.
//!
//! This is the only file of the crate with `unsafe` in it. The declarations are written by hand because the
//! program is kept free of dependencies; they follow the manual pages (section 2) for 64-bit Linux.
//! Everything here runs in a process with one thread, which `fork` and `setns` need.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr;

use crate::errno::{EACCES, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH, ESTALE};

/// `siginfo_t` and other parts of results that we do not look at are left out by passing null.
#[repr(C)]
struct SignalSet([u64; 16]);

/// As large as a `siginfo_t`; the first number is that of the signal.
#[repr(C, align(8))]
struct SignalInfo([c_int; 32]);

#[repr(C)]
struct Rlimit {
    soft: u64,
    hard: u64,
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `struct clone_args`, as it is since Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `struct sock_filter`.
#[repr(C)]
struct FilterStep {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

impl FilterStep {
    /// From 8 bytes.
    fn of(bytes: &[u8]) -> FilterStep {
        FilterStep {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            if_true: bytes[2],
            if_false: bytes[3],
            value: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }
}

/// `struct sock_fprog`.
#[repr(C)]
struct FilterProgram {
    length: u16,
    steps: *const FilterStep,
}

/// `struct ifreq`: the name of an interface, and what is said of it, of which flags are the first two bytes.
#[repr(C, align(8))]
struct Interface {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

unsafe extern "C" {
    fn capget(header: *mut CapHeader, data: *mut CapData) -> c_int;
    fn capset(header: *mut CapHeader, data: *const CapData) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn dup2(old: c_int, new: c_int) -> c_int;
    fn execve(path: *const c_char, argv: *const *const c_char, env: *const *const c_char) -> c_int;
    fn fallocate(fd: c_int, mode: c_int, offset: i64, length: i64) -> c_int;
    fn fchdir(fd: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn fork() -> c_int;
    fn getpid() -> c_int;
    fn getresgid(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_int;
    fn getresuid(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut Rlimit) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    fn madvise(start: *mut c_void, length: usize, advice: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: c_uint, device: u64) -> c_int;
    /// Where the program begins and where its instructions end; the linker says so.
    static __executable_start: u8;
    static etext: u8;
    #[link_name = "mount"]
    fn c_mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn personality(persona: c_ulong) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn recv(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize;
    fn sched_setscheduler(pid: c_int, policy: c_int, priority: *const c_int) -> c_int;
    fn send(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn setns(fd: c_int, kinds: c_int) -> c_int;
    fn setpriority(kind: c_int, who: c_uint, value: c_int) -> c_int;
    fn setresgid(real: u32, effective: u32, saved: u32) -> c_int;
    fn setresuid(real: u32, effective: u32, saved: u32) -> c_int;
    fn setrlimit(resource: c_int, limit: *const Rlimit) -> c_int;
    #[link_name = "setsid"]
    fn c_setsid() -> c_int;
    fn sigfillset(set: *mut SignalSet) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn signalfd(fd: c_int, set: *const SignalSet, flags: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    #[link_name = "umask"]
    fn c_umask(mask: c_uint) -> c_uint;
    fn waitid(kind: c_int, id: c_uint, info: *mut SignalInfo, options: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
}

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGQUIT: i32 = 3;
pub const SIGKILL: i32 = 9;
pub const SIGUSR1: i32 = 10;
pub const SIGUSR2: i32 = 12;
const SIGCHLD: i32 = 17;

/// For [`kill`] in the first process of a pid namespace: all others in it.
pub const ALL_BUT_US: i32 = -1;

pub const MS_RDONLY: u64 = 0x1;
pub const MS_NOSUID: u64 = 0x2;
pub const MS_NODEV: u64 = 0x4;
pub const MS_NOEXEC: u64 = 0x8;
pub const MS_REMOUNT: u64 = 0x20;
pub const MS_BIND: u64 = 0x1000;
pub const MS_REC: u64 = 0x4000;
pub const MS_PRIVATE: u64 = 0x4_0000;

/// Properties of a mount, for [`restrict_tree`].
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;

/// For opening: what waits for somebody else, as a pipe does, is refused.
pub const O_NONBLOCK: i32 = 0o4_000;
/// For opening: a link in the place of the file is refused.
pub const O_NOFOLLOW: i32 = if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };

const AT_FDCWD: c_int = -100;
const AT_EMPTY_PATH: c_uint = 0x1000;
const AT_RECURSIVE: c_uint = 0x8000;

// Numbers that are the same on every architecture (all calls since Linux 5.1 are).
const SYS_PIDFD_SEND_SIGNAL: c_long = 424;
const SYS_OPEN_TREE: c_long = 428;
const SYS_MOVE_MOUNT: c_long = 429;
const SYS_PIDFD_OPEN: c_long = 434;
const SYS_CLOSE_RANGE: c_long = 436;
const SYS_OPENAT2: c_long = 437;
const SYS_MOUNT_SETATTR: c_long = 442;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Signaled(i32),
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A text for the kernel; one with a zero byte in it is "invalid argument", as the kernel would say.
fn c_text(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| io::Error::from_raw_os_error(EINVAL))
}

/// Takes ownership of a descriptor that this process was started with; an error when there is none of that
/// number.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    const F_SETFD: c_int = 2;
    const FD_CLOEXEC: c_int = 1;
    // SAFETY: fcntl with these arguments touches no memory. It also proves that the descriptor is open, and
    // the program calls this once for each number, before it opens anything itself: nobody else owns it.
    unsafe {
        check(fcntl(fd, F_SETFD, FD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Closes every descriptor above standard error except the given ones.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut sorted: Vec<c_uint> = keep.iter().map(|&fd| fd as c_uint).collect();
    sorted.sort_unstable();
    let mut first: c_uint = 3;
    for fd in sorted.into_iter().chain([c_uint::MAX]) {
        if first < fd {
            // SAFETY: runs before this process owns any descriptor but those it keeps.
            let closed = unsafe { syscall(SYS_CLOSE_RANGE, first, fd - 1, 0 as c_uint) };
            match check(closed as c_int) {
                Err(error) if error.raw_os_error() == Some(ENOSYS) => return close_each_but(keep),
                closed => closed?,
            };
        }
        first = fd.wrapping_add(1);
    }
    Ok(())
}

/// The same where the kernel cannot close a range, which came with Linux 5.9.
fn close_each_but(keep: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: as above; the descriptor of the listing itself is closed by now, and closing it again is
        // refused without effect.
        unsafe { close(fd) };
    }
    Ok(())
}

/// Makes `target` (0, 1 or 2) another name of `fd`; unlike its source it stays open over `execve`.
pub fn dup_onto(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: both are numbers; descriptors 0 to 2 are owned by nobody in this program.
    check(unsafe { dup2(fd.as_raw_fd(), target) }).map(drop)
}

/// Sends one message; a peer that is gone is an error, not a signal.
pub fn send_message(fd: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    const MSG_NOSIGNAL: c_int = 0x4000;
    // SAFETY: the buffer is `message`, valid for its length.
    let sent = unsafe { send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for one message; empty when the peer has gone.
pub fn receive_message(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for writes of its length.
    let got = unsafe { recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Makes a child process: `None` in the child, its id in the parent.
pub fn make_child() -> io::Result<Option<i32>> {
    // SAFETY: this process has one thread, so the child may go on as any process may.
    let pid = check(unsafe { fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// The same, with the child in a control group of version 2 from its first moment on: moving a process there holds up all of
/// the machine's forks until every processor has noticed. Needs Linux 5.7. The group is an open directory.
pub fn make_child_in(group: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    const SYS_CLONE3: c_long = 435;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: SIGCHLD as u64,
        cgroup: group.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: the arguments are of the size that is said and outlive the call. No memory is shared with the child, and this
    // process has one thread, so it goes on as after fork.
    let pid = check(unsafe { syscall(SYS_CLONE3, &raw const args, size_of::<CloneArgs>()) } as c_int)?;
    Ok((pid != 0).then_some(pid))
}

/// This process's id.
pub fn own_pid() -> i32 {
    // SAFETY: no arguments, no memory.
    unsafe { getpid() }
}

/// Reaps one child: `Ok(None)` when there are children and none has ended (only without `wait`), `Err` when
/// there are no children at all.
pub fn reap(wait: bool) -> io::Result<Option<(i32, End)>> {
    const WNOHANG: c_int = 1;
    let mut status = 0;
    // SAFETY: `status` is valid for writes.
    let pid = check(unsafe { waitpid(-1, &mut status, if wait { 0 } else { WNOHANG }) })?;
    let end = match status & 0x7f {
        0 => End::Exited((status >> 8) & 0xff),
        number => End::Signaled(number),
    };
    Ok((pid != 0).then_some((pid, end)))
}

/// Whether this child has ended; it is still there to be reaped.
pub fn has_ended(child: i32) -> bool {
    const P_PID: c_int = 1;
    const WNOHANG: c_int = 1;
    const WEXITED: c_int = 4;
    const WNOWAIT: c_int = 0x0100_0000;
    let mut info = SignalInfo([0; 32]);
    // SAFETY: `info` is valid for writes, and as large as the kernel's.
    let asked = unsafe { waitid(P_PID, child as c_uint, &mut info, WEXITED | WNOHANG | WNOWAIT) };
    asked == 0 && info.0[0] == SIGCHLD
}

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

/// Reads of an open file never wait from now on.
pub fn never_wait(fd: BorrowedFd<'_>) -> io::Result<()> {
    const F_SETFL: c_int = 4;
    // SAFETY: fcntl with these arguments touches no memory.
    check(unsafe { fcntl(fd.as_raw_fd(), F_SETFL, O_NONBLOCK) }).map(drop)
}

/// Waits until one of these descriptors is readable or closed by its peer; tells which. What is absent never is.
pub fn wait_readable<const N: usize>(of: [Option<BorrowedFd<'_>>; N]) -> [bool; N] {
    const POLLIN: i16 = 1;
    // A negative number is passed over (poll(2)).
    let fd = |of: Option<BorrowedFd<'_>>| of.map_or(-1, |fd| fd.as_raw_fd());
    let mut fds = of.map(|of| PollFd { fd: fd(of), events: POLLIN, revents: 0 });
    // SAFETY: the array is valid for its length. An interruption reads as "none", and the caller asks again.
    unsafe { poll(fds.as_mut_ptr(), N as c_ulong, -1) };
    fds.map(|fd| fd.revents != 0)
}

/// Begins a session of its own, away from the agent's terminal. A repeat is harmless.
pub fn setsid() {
    // SAFETY: no arguments, no memory.
    unsafe { c_setsid() };
}

/// Sets the file mode mask.
pub fn umask(mask: u32) {
    // SAFETY: no memory involved.
    unsafe { c_umask(mask) };
}

/// Mounts, as mount(2) does.
pub fn mount(source: &str, target: impl AsRef<Path>, kind: &str, flags: u64, data: &str) -> io::Result<()> {
    let (source, target) = (c_text(source)?, c_text(target.as_ref())?);
    let (kind, data) = (c_text(kind)?, c_text(data)?);
    // SAFETY: all are C strings that outlive the call.
    check(unsafe {
        c_mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags as c_ulong, data.as_ptr().cast())
    })
    .map(drop)
}

/// Whether a path may lead through links.
#[derive(Clone, Copy, PartialEq)]
pub enum Links {
    Follow,
    Refuse,
}

/// Opens a file or directory for no more than to name it.
pub fn open_place(path: &Path, links: Links) -> io::Result<OwnedFd> {
    open_place_from(AT_FDCWD, path, links)
}

/// The same from an open directory on.
pub fn open_place_at(directory: BorrowedFd<'_>, path: &Path, links: Links) -> io::Result<OwnedFd> {
    open_place_from(directory.as_raw_fd(), path, links)
}

fn open_place_from(directory: RawFd, path: &Path, links: Links) -> io::Result<OwnedFd> {
    const O_PATH: u64 = 0o10_000_000;
    const O_CLOEXEC: u64 = 0o2_000_000;
    const RESOLVE_NO_SYMLINKS: u64 = 4;
    let path = c_text(path)?;
    let resolve = if links == Links::Refuse { RESOLVE_NO_SYMLINKS } else { 0 };
    let how = OpenHow { flags: O_PATH | O_CLOEXEC, mode: 0, resolve };
    // SAFETY: the path is a C string and `how` of the size that is said, and both outlive the call; the result is a
    // fresh descriptor that nobody else owns.
    unsafe {
        let fd = syscall(SYS_OPENAT2, directory, path.as_ptr(), &raw const how, size_of::<OpenHow>());
        Ok(OwnedFd::from_raw_fd(check(fd as c_int)?))
    }
}

/// A copy of the mounts at an open file or directory, attached nowhere yet; with or without those below it.
pub fn detached_tree(at: BorrowedFd<'_>, with_those_below: bool) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: c_uint = 1;
    const OPEN_TREE_CLOEXEC: c_uint = 0o2_000_000;
    let below = if with_those_below { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string that outlives the call; the result is a fresh descriptor that nobody else owns.
    unsafe {
        let fd = syscall(
            SYS_OPEN_TREE,
            at.as_raw_fd(),
            c"".as_ptr(),
            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | below,
        );
        Ok(OwnedFd::from_raw_fd(check(fd as c_int)?))
    }
}

/// Gives all mounts of a tree from [`detached_tree`] these properties, of `MOUNT_ATTR_...`, on top of those that they
/// have. Needs Linux 5.12.
pub fn restrict_tree(tree: BorrowedFd<'_>, properties: u64) -> io::Result<()> {
    change_tree(tree, &MountAttr { set: properties, clear: 0, propagation: 0, user_namespace: 0 })
}

/// Makes all files of a tree from [`detached_tree`] belong to those whom a user namespace takes their owners for. Those
/// whom it does not know are nobody, and their files are nobody's own, not even root's. Needs Linux 5.12 and a file system
/// that can (mount_setattr(2), "ID-mapped mounts").
pub fn map_users_of_tree(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let user_namespace = namespace.as_raw_fd() as u64;
    change_tree(tree, &MountAttr { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, user_namespace })
}

fn change_tree(tree: BorrowedFd<'_>, change: &MountAttr) -> io::Result<()> {
    // SAFETY: the path is a C string and the change of the size that is said, and both outlive the call.
    let changed = unsafe {
        syscall(
            SYS_MOUNT_SETATTR,
            tree.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | AT_RECURSIVE,
            ptr::from_ref(change),
            size_of::<MountAttr>(),
        )
    };
    check(changed as c_int).map(drop)
}

/// Attaches a tree from [`detached_tree`] at a place from [`open_place`], on top of what is there.
pub fn attach_tree(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x4;
    const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
    // SAFETY: both paths are C strings that outlive the call.
    let moved = unsafe {
        syscall(
            SYS_MOVE_MOUNT,
            tree.as_raw_fd(),
            c"".as_ptr(),
            place.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    check(moved as c_int).map(drop)
}

const CLONE_NEWNS: c_int = 0x0002_0000;

/// Makes the file system that is mounted at an open place the root of this mount namespace and of this process, and lets go of
/// the root that was there with all that is mounted in it.
///
/// An agent in a chroot has another root than the namespace, and pivot_root(2) is about the root of who calls it. What the
/// namespace has above that would stay, for a task of root, which may call chroot(2), to get out to. So this process goes to
/// the root of the namespace first, which is where entering it leads (setns(2)), also from within.
pub fn make_root(place: BorrowedFd<'_>) -> io::Result<()> {
    const SYS_PIVOT_ROOT: c_long = if cfg!(target_arch = "aarch64") { 41 } else { 155 };
    const MNT_DETACH: c_int = 2;
    let namespace = File::open("/proc/self/ns/mnt")?;
    // SAFETY: no memory involved.
    check(unsafe { setns(namespace.as_raw_fd(), CLONE_NEWNS) })?;
    // All of it, as what is let go of would be unmounted in the agent's namespace, too.
    mount("", "/", "", MS_REC | MS_PRIVATE, "")?;
    // SAFETY: both paths are C strings that outlive the calls.
    unsafe {
        check(fchdir(place.as_raw_fd()))?;
        // The old root is put on top of the new one, as pivot_root(2) says, and is taken away from there.
        check(syscall(SYS_PIVOT_ROOT, c".".as_ptr(), c".".as_ptr()) as c_int)?;
        check(umount2(c".".as_ptr(), MNT_DETACH))?;
    }
    std::env::set_current_dir("/")
}

/// Takes room on the disk for the first bytes of a file, whose length stays. Where a file system cannot, nothing is taken.
pub fn reserve(file: &File, bytes: i64) -> io::Result<()> {
    const FALLOC_FL_KEEP_SIZE: c_int = 1;
    // SAFETY: no memory involved.
    match check(unsafe { fallocate(file.as_raw_fd(), FALLOC_FL_KEEP_SIZE, 0, bytes) }) {
        Err(error) if !matches!(error.raw_os_error(), Some(ENOSYS | EOPNOTSUPP)) => Err(error),
        _ => Ok(()),
    }
}

/// Makes a character device that everybody may use.
pub fn make_device(path: &Path, major: u64, minor: u64) -> io::Result<()> {
    const S_IFCHR: c_uint = 0o020_000;
    let path = c_text(path)?;
    // SAFETY: the path is a C string that outlives the call. Small numbers: the device is `major << 8 |
    // minor`.
    check(unsafe { mknod(path.as_ptr(), S_IFCHR | 0o666, (major << 8) | minor) }).map(drop)
}

/// Sets the host name of this process's uts namespace.
pub fn set_hostname(name: &OsStr) -> io::Result<()> {
    // SAFETY: the name is valid for its length; the call takes no terminator.
    check(unsafe { sethostname(name.as_bytes().as_ptr().cast(), name.len()) }).map(drop)
}

/// Brings up the loopback interface of this process's network, which gives it its addresses. A repeat does nothing.
pub fn bring_up_loopback() -> io::Result<()> {
    const AF_INET: c_int = 2;
    const SOCK_DGRAM: c_int = 2;
    const SOCK_CLOEXEC: c_int = 0o2_000_000;
    const SIOCGIFFLAGS: c_ulong = 0x8913;
    const SIOCSIFFLAGS: c_ulong = 0x8914;
    const IFF_UP: i16 = 1;
    let mut loopback = Interface { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: 0, rest: [0; 22] };
    // SAFETY: the socket is a fresh descriptor that nobody else owns. What is said of the interface is as large as the
    // kernel's `struct ifreq` and outlives both calls, the first of which writes to it.
    unsafe {
        let any = OwnedFd::from_raw_fd(check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))?);
        check(ioctl(any.as_raw_fd(), SIOCGIFFLAGS, &raw mut loopback))?;
        loopback.flags |= IFF_UP;
        check(ioctl(any.as_raw_fd(), SIOCSIFFLAGS, &raw const loopback)).map(drop)
    }
}

/// Enters a user namespace by its descriptor, or that of a process by its pid descriptor. From then on this process may
/// everything in it and nothing outside, and numbers of users and groups are those that are known in it.
pub fn enter_users(namespace: BorrowedFd<'_>) -> io::Result<()> {
    const CLONE_NEWUSER: c_int = 0x1000_0000;
    // SAFETY: no memory involved.
    check(unsafe { setns(namespace.as_raw_fd(), CLONE_NEWUSER) }).map(drop)
}

/// Enters the mount, uts and ipc namespaces, if it has one of its own the network, of the process behind a pid descriptor,
/// and its user namespace where that is another one; children made from now on are in its pid namespace.
///
/// The root is from then on that of the mount namespace (setns(2)), which [`make_root`] has made that of the process; ESTALE
/// where it is not: a release before this one made containers that have another, if its agent was in a chroot.
pub fn enter_namespaces(process: BorrowedFd<'_>, own_network: bool) -> io::Result<()> {
    const CLONE_NEWUTS: c_int = 0x0400_0000;
    const CLONE_NEWIPC: c_int = 0x0800_0000;
    const CLONE_NEWPID: c_int = 0x2000_0000;
    const CLONE_NEWUSER: c_int = 0x1000_0000;
    const CLONE_NEWNET: c_int = 0x4000_0000;
    let pid = pid_behind(process)?;
    let place = |path: &str| fs::metadata(path).map(|root| (root.dev(), root.ino()));
    // If the process ends meanwhile and its number is used again, the root is a stranger's, but `setns` fails.
    let root = place(&format!("/proc/{pid}/root"))?;
    // A kernel without user namespaces has no such files.
    let users_of = |who: &str| fs::metadata(format!("/proc/{who}/ns/user")).ok().map(|users| users.ino());
    // The machine's network is ours already, and somebody else's to enter where we are in a user namespace.
    let network = if own_network { CLONE_NEWNET } else { 0 };
    let mut kinds = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | network;
    // Nobody enters the one that he is in (setns(2)).
    if users_of("self") != users_of(&pid.to_string()) {
        kinds |= CLONE_NEWUSER;
    }
    // SAFETY: no memory involved.
    check(unsafe { setns(process.as_raw_fd(), kinds) })?;
    match place("/")? == root {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(ESTALE)),
    }
}

/// Makes an open directory the working directory. That takes the right to pass the directory itself, and none to pass
/// those above it.
pub fn enter_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { fchdir(directory.as_raw_fd()) }).map(drop)
}

/// The number of the process behind a pid descriptor, as `proc(5)` tells it; ESRCH when it has ended.
fn pid_behind(process: BorrowedFd<'_>) -> io::Result<u32> {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = about.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or_else(|| io::Error::from_raw_os_error(ESRCH))
}

/// Sets a limit of this process (getrlimit(2)). Where it may not have that hard limit, it has the one that is there, and a soft
/// one that is no higher.
pub fn set_limit(resource: i32, soft: u64, hard: u64) -> io::Result<()> {
    let mut limit = Rlimit { soft, hard };
    // SAFETY: `limit` is valid for reads.
    match check(unsafe { setrlimit(resource, &limit) }) {
        // Without CAP_SYS_RESOURCE, or of open files where the machine allows less to everybody (`fs.nr_open`).
        Err(error) if error.raw_os_error() == Some(EPERM) => {}
        set => return set.map(drop),
    }
    // SAFETY: `limit` is valid for reads and writes.
    unsafe {
        check(getrlimit(resource, &mut limit))?;
        limit = Rlimit { soft: soft.min(limit.hard), hard: hard.min(limit.hard) };
        check(setrlimit(resource, &limit)).map(drop)
    }
}

/// What the kernel or a filter around the agent does not let be done stays undone.
fn if_allowed(result: io::Result<c_int>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(EPERM | EACCES | ENOSYS)) => Ok(()),
        result => result.map(drop),
    }
}

/// From now on this process takes its turn on processors and disks as a program does that nobody has prepared: by the
/// ordinary policy, with nice 0, and on disks in no class of its own. Each that takes a right which it lacks stays.
pub fn take_ordinary_turns() -> io::Result<()> {
    const SYS_IOPRIO_SET: c_long = if cfg!(target_arch = "aarch64") { 30 } else { 251 };
    const SCHED_OTHER: c_int = 0;
    const PRIO_PROCESS: c_int = 0;
    const IOPRIO_WHO_PROCESS: c_int = 1;
    const NONE: c_int = 0;
    // SAFETY: the priority, which is all of a `struct sched_param`, outlives the call; no other memory involved.
    if_allowed(check(unsafe { sched_setscheduler(0, SCHED_OTHER, &NONE) }))?;
    // SAFETY: no memory involved. Process 0 is the caller.
    if_allowed(check(unsafe { setpriority(PRIO_PROCESS, 0, NONE) }))?;
    // SAFETY: likewise.
    if_allowed(check(unsafe { syscall(SYS_IOPRIO_SET, IOPRIO_WHO_PROCESS, 0 as c_int, NONE) } as c_int))
}

/// The program that comes next is run as Linux runs programs: with its addresses at random, and as on the machine that it is,
/// not as on one of 32 bits (personality(2)).
pub fn leave_personality() -> io::Result<()> {
    const PER_LINUX: c_ulong = 0;
    // SAFETY: no memory involved.
    if_allowed(check(unsafe { personality(PER_LINUX) }))
}

/// Becomes another user with exactly these groups. Groups first: afterwards the right to change them is gone.
///
/// In a user namespace whose groups were mapped without root nobody may change them (user_namespaces(7)): a user with none
/// but its own keeps there those that the agent has.
///
/// Looks afterwards whether that is what it became: to the kernel the greatest number means "leave it as it is",
/// and the call succeeds (setresuid(2)).
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let (mut gids, mut uids) = ([0; 3], [0; 3]);
    let keeps_groups = groups.iter().all(|group| *group == gid) && are_groups_fixed();
    // SAFETY: the list is valid for its length, and each of the numbers for writes.
    unsafe {
        if !keeps_groups {
            check(setgroups(groups.len(), groups.as_ptr()))?;
        }
        check(setresgid(gid, gid, gid))?;
        check(setresuid(uid, uid, uid))?;
        let [real, effective, saved] = &mut gids;
        check(getresgid(real, effective, saved))?;
        let [real, effective, saved] = &mut uids;
        check(getresuid(real, effective, saved))?;
    }
    match gids == [gid; 3] && uids == [uid; 3] {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(EINVAL)),
    }
}

/// Whether nobody in this user namespace may change groups.
fn are_groups_fixed() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|said| said.trim() == "deny")
}

/// Takes every capability that is not in `keep` out of the bounding set: no program can bring it back.
pub fn cut_bounding_set(keep: u64) -> io::Result<()> {
    const PR_CAPBSET_READ: c_int = 23;
    const PR_CAPBSET_DROP: c_int = 24;
    for number in 0..64 {
        // SAFETY: no memory involved. Reading a number that the kernel does not know is refused: the end of
        // the list.
        unsafe {
            match prctl(PR_CAPBSET_READ, number as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) {
                1 if keep & (1 << number) == 0 => {
                    check(prctl(
                        PR_CAPBSET_DROP,
                        number as c_ulong,
                        0 as c_ulong,
                        0 as c_ulong,
                        0 as c_ulong,
                    ))?;
                }
                0 | 1 => {}
                _ => break,
            }
        }
    }
    Ok(())
}

/// `_LINUX_CAPABILITY_VERSION_3` of uapi/linux/capability.h.
const VERSION_3: u32 = 0x2008_0522;

/// Gives up what lets a process pass the hard limit of a quota, among other limits (CAP_SYS_RESOURCE, capabilities(7)).
pub fn give_up_limits() -> io::Result<()> {
    const CAP_SYS_RESOURCE: u32 = 24;
    let mut header = CapHeader { version: VERSION_3, pid: 0 };
    let mut data = [CapData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: version 3 reads a header and writes two data records, which is what it gets.
    check(unsafe { capget(&mut header, data.as_mut_ptr()) })?;
    data[0].effective &= !(1 << CAP_SYS_RESOURCE);
    data[0].permitted &= !(1 << CAP_SYS_RESOURCE);
    // SAFETY: version 3 reads a header and two data records, which is what it gets.
    check(unsafe { capset(&mut header, data.as_ptr()) }).map(drop)
}

/// Sets the effective and permitted capabilities; nothing is inheritable.
pub fn set_capabilities(keep: u64) -> io::Result<()> {
    let mut header = CapHeader { version: VERSION_3, pid: 0 };
    let data = [keep as u32, (keep >> 32) as u32].map(|half| CapData {
        effective: half,
        permitted: half,
        inheritable: 0,
    });
    // SAFETY: version 3 reads a header and two data records, which is what it gets.
    check(unsafe { capset(&mut header, data.as_ptr()) }).map(drop)
}

/// Leaves the agent's session keyring for an empty one of its own. Where the kernel keeps no keys, or a filter around the
/// agent lets nobody ask for them, there are none to leave.
pub fn leave_keys() -> io::Result<()> {
    const SYS_KEYCTL: c_long = if cfg!(target_arch = "aarch64") { 219 } else { 250 };
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: no name is what asks for a new keyring; no other memory involved.
    let joined = unsafe { syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>()) };
    if_allowed(check(joined as c_int))
}

fn set_process_flag(option: c_int, value: u32) -> io::Result<()> {
    // SAFETY: the options used below take one number and no memory.
    check(unsafe { prctl(option, c_ulong::from(value), 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) }).map(drop)
}

/// From now on no program that is started gains privileges from its file.
pub fn no_new_privileges() -> io::Result<()> {
    set_process_flag(38, 1)
}

/// From now on this process and its children make only the system calls that a program of 8-byte steps lets pass, besides
/// those of earlier programs. It has to have given up new privileges.
pub fn filter_calls(program: &[u8]) -> io::Result<()> {
    const PR_SET_SECCOMP: c_int = 22;
    const SECCOMP_MODE_FILTER: c_ulong = 2;
    let steps: Vec<FilterStep> = program.chunks_exact(size_of::<FilterStep>()).map(FilterStep::of).collect();
    let length = u16::try_from(steps.len()).map_err(|_| io::Error::from_raw_os_error(EINVAL))?;
    let program = FilterProgram { length, steps: steps.as_ptr() };
    // SAFETY: the program says how long its steps are, and both outlive the call; the kernel copies them.
    check(unsafe {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program, 0 as c_ulong, 0 as c_ulong)
    })
    .map(drop)
}

/// The name that `ps` and `top` show; without it, that of a file in memory is shown.
pub fn set_name() {
    const PR_SET_NAME: c_int = 15;
    let name = c"bourse-init";
    // SAFETY: the name is a C string that outlives the call.
    unsafe { prctl(PR_SET_NAME, name.as_ptr(), 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) };
}

/// Nobody but root may trace this process or read its memory.
pub fn not_dumpable() -> io::Result<()> {
    set_process_flag(4, 0)
}

/// Lets go of the program's pages that the set-up needed. They are shared by all containers and come back
/// when they are used; waiting needs few of them.
pub fn shrink() {
    const MADV_DONTNEED: c_int = 4;
    const PAGE: usize = 4096;
    let (start, end) = ((&raw const __executable_start).addr(), (&raw const etext).addr());
    // SAFETY: the range holds constants and instructions only, whole pages of them: nothing in it was ever
    // written, so every page is read again from the file as it was.
    unsafe { madvise(start as *mut c_void, (end - start) / PAGE * PAGE, MADV_DONTNEED) };
}

/// Orphans among the descendants become children of this process.
pub fn adopt_orphans() -> io::Result<()> {
    set_process_flag(36, 1)
}

/// Becomes another program. Returns only when that failed.
pub fn execute(program: &Path, argv: &[CString], env: &[CString]) -> io::Error {
    let program = match c_text(program) {
        Ok(program) => program,
        Err(error) => return error,
    };
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|text| CStr::as_ptr(text)).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: all strings and both null-ended lists outlive the call.
    unsafe { execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn geteuid() -> u32;
    }

    /// What a child process finds: it may do to itself what would hurt the other tests.
    fn in_child(find: impl FnOnce() -> bool) -> bool {
        let Some(child) = make_child().expect("a process can be made") else {
            std::process::exit(i32::from(!find()));
        };
        let mut status = 0;
        // SAFETY: `status` is valid for writes.
        check(unsafe { waitpid(child, &mut status, 0) }).expect("it is our child");
        status == 0
    }

    #[test]
    fn without_close_range_each_descriptor_is_closed_but_those_to_keep() {
        let files = [File::open("/dev/null"), File::open("/dev/null")].map(|file| file.expect("it is there"));
        let [kept, closed] = files.each_ref().map(|file| file.as_raw_fd());
        let right = in_child(|| {
            close_each_but(&[kept]).is_ok() && inherited(kept).is_ok() && inherited(closed).is_err()
        });
        assert!(right);
    }

    #[test]
    fn a_user_that_the_kernel_takes_for_no_change_is_not_become() {
        const ROOT: u32 = 0;
        // SAFETY: no memory involved.
        if unsafe { geteuid() } != ROOT {
            // Another user may not switch at all.
            return;
        }
        assert!(in_child(|| become_user(1, 1, &[]).is_ok()));
        assert!(in_child(|| become_user(u32::MAX, 1, &[]).is_err()));
        assert!(in_child(|| become_user(1, u32::MAX, &[]).is_err()));
    }
}
