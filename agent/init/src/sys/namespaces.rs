//! Namespaces: what is set in those of a container, and how they are entered.

use std::ffi::{OsStr, c_char, c_int, c_ulong};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::check;
use crate::errno::{ESRCH, ESTALE};

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn setns(fd: c_int, kinds: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
}

/// `struct ifreq`: the name of an interface, and what is said of it, of which flags are the first two bytes.
#[repr(C, align(8))]
struct Interface {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

pub(super) const CLONE_NEWNS: c_int = 0x0002_0000;

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

/// The number of the process behind a pid descriptor, as `proc(5)` tells it; ESRCH when it has ended.
fn pid_behind(process: BorrowedFd<'_>) -> io::Result<u32> {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = about.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.ok_or_else(|| io::Error::from_raw_os_error(ESRCH))
}
