//! Processes: made, reaped, and become another program.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr;

use super::signals::SIGCHLD;
use super::{c_text, check};

unsafe extern "C" {
    fn execve(path: *const c_char, argv: *const *const c_char, env: *const *const c_char) -> c_int;
    fn fork() -> c_int;
    fn getpid() -> c_int;
    fn madvise(start: *mut c_void, length: usize, advice: c_int) -> c_int;
    /// Where the program begins and where its instructions end; the linker says so.
    static __executable_start: u8;
    static etext: u8;
    fn prctl(option: c_int, ...) -> c_int;
    #[link_name = "setsid"]
    fn c_setsid() -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "umask"]
    fn c_umask(mask: c_uint) -> c_uint;
    fn waitid(kind: c_int, id: c_uint, info: *mut SignalInfo, options: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
}

/// As large as a `siginfo_t`; the first number is that of the signal.
#[repr(C, align(8))]
struct SignalInfo([c_int; 32]);

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

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Signaled(i32),
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

pub(super) fn set_process_flag(option: c_int, value: u32) -> io::Result<()> {
    // SAFETY: the options used below take one number and no memory.
    check(unsafe { prctl(option, c_ulong::from(value), 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) }).map(drop)
}

/// The name that `ps` and `top` show; without it, that of a file in memory is shown.
pub fn set_name() {
    const PR_SET_NAME: c_int = 15;
    let name = c"bourse-init";
    // SAFETY: the name is a C string that outlives the call.
    unsafe { prctl(PR_SET_NAME, name.as_ptr(), 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) };
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

/// What a child process finds, for tests: it may do to itself what would hurt the others.
#[cfg(test)]
pub(super) fn in_child(find: impl FnOnce() -> bool) -> bool {
    let Some(child) = make_child().expect("a process can be made") else {
        std::process::exit(i32::from(!find()));
    };
    let mut status = 0;
    // SAFETY: `status` is valid for writes.
    check(unsafe { waitpid(child, &mut status, 0) }).expect("it is our child");
    status == 0
}
