//! What a process has from whoever started it: limits, its turn among others, its personality.

use std::ffi::{c_int, c_long, c_uint, c_ulong};
use std::io;

use super::{check, if_allowed};
use crate::errno::EPERM;

unsafe extern "C" {
    fn getrlimit(resource: c_int, limit: *mut Rlimit) -> c_int;
    fn personality(persona: c_ulong) -> c_int;
    fn sched_setscheduler(pid: c_int, policy: c_int, priority: *const c_int) -> c_int;
    fn setpriority(kind: c_int, who: c_uint, value: c_int) -> c_int;
    fn setrlimit(resource: c_int, limit: *const Rlimit) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

#[repr(C)]
struct Rlimit {
    soft: u64,
    hard: u64,
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
