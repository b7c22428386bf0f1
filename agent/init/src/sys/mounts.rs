//! Mounts: what a container sees of the file system is made of them.

use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use super::namespaces::CLONE_NEWNS;
use super::{c_text, check};

unsafe extern "C" {
    fn fchdir(fd: c_int) -> c_int;
    fn mknod(path: *const c_char, mode: c_uint, device: u64) -> c_int;
    #[link_name = "mount"]
    fn c_mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn setns(fd: c_int, kinds: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

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
const AT_EMPTY_PATH: c_uint = 0x1000;
const AT_RECURSIVE: c_uint = 0x8000;
const SYS_OPEN_TREE: c_long = 428;
const SYS_MOVE_MOUNT: c_long = 429;
const SYS_MOUNT_SETATTR: c_long = 442;

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

/// Makes a character device that everybody may use.
pub fn make_device(path: &Path, major: u64, minor: u64) -> io::Result<()> {
    const S_IFCHR: c_uint = 0o020_000;
    let path = c_text(path)?;
    // SAFETY: the path is a C string that outlives the call. Small numbers: the device is `major << 8 |
    // minor`.
    check(unsafe { mknod(path.as_ptr(), S_IFCHR | 0o666, (major << 8) | minor) }).map(drop)
}
