//! Who a process is and what it may: user, groups, capabilities, keys, and the calls that it may make.

use std::ffi::{c_char, c_int, c_long, c_ulong};
use std::fs;
use std::io;
use std::ptr;

use super::processes::set_process_flag;
use super::{check, if_allowed};
use crate::errno::EINVAL;

unsafe extern "C" {
    fn capget(header: *mut CapHeader, data: *mut CapData) -> c_int;
    fn capset(header: *mut CapHeader, data: *const CapData) -> c_int;
    fn getresgid(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_int;
    fn getresuid(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn setresgid(real: u32, effective: u32, saved: u32) -> c_int;
    fn setresuid(real: u32, effective: u32, saved: u32) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
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

/// Nobody but root may trace this process or read its memory.
pub fn not_dumpable() -> io::Result<()> {
    set_process_flag(4, 0)
}

#[cfg(test)]
mod tests {
    use super::super::processes::in_child;
    use super::*;

    unsafe extern "C" {
        fn geteuid() -> u32;
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
