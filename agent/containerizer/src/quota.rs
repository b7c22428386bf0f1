//! A quota for one sandbox, where its file system has quotas of projects: ext4 and XFS that are mounted with `prjquota`.
//!
//! All that is made in the sandbox belongs to a project of its own, and the kernel lets that have so many bytes and inodes
//! and no more: who writes or makes files beyond it is told EDQUOT, on XFS ENOSPC, and nobody else notices. The project is
//! noted in the sandbox itself, so that it outlives the agent, and is nobody's any more once nothing is left of that.
//!
//! A task that owns a folder may take the mark off it by which what is made there belongs to the project
//! (`FS_PROJINHERIT_FL`, ioctl_iflags(2)), so a quota does not replace measuring.
#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{fs::File, mem, ptr};

use nix::errno::Errno;
use rustix::fs::{Mode, OFlags, open};

/// `PRJQUOTA` of the kernel's uapi/linux/quota.h; that of users is 0, that of groups 1.
const OF_PROJECTS: i32 = 2;

/// `Q_XGETQSTAT` of uapi/linux/dqblk_xfs.h: which quotas are counted and which are kept to, on ext4 as well.
const STATE: i32 = (b'X' as i32) << 8 | 5;

/// `FS_QUOTA_PDQ_ENFD`, likewise: those of projects are kept to.
const KEPT_TO: u16 = 1 << 5;

/// `FS_XFLAG_PROJINHERIT` of uapi/linux/fs.h: what is made in the folder belongs to its project.
const INHERITED: u32 = 0x200;

/// Ours are from here on, as many as this: above what people name in projid(5).
const FIRST: u32 = 1 << 30;

/// So many projects in a row are tried before it is given up. They follow from the number of the folder's inode, so that
/// the very first is nobody's, but for other agents and large XFS file systems.
const TRIES: u32 = 64;

/// The unit of a limit of blocks.
const BLOCK_BYTES: u64 = 1024;

/// `struct fsxattr` of uapi/linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR` of uapi/linux/fs.h. The macros make them public.
mod request {
    #![allow(missing_docs)]

    use super::Attributes;

    nix::ioctl_read!(get_attributes, b'X', 31, Attributes);
    nix::ioctl_write_ptr!(set_attributes, b'X', 32, Attributes);
}

/// What a sandbox may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In whole KiB, and at least one.
    pub bytes: u64,
    /// Files, folders and links, and the sandbox itself: at least one. `None`: as many as there are.
    pub inodes: Option<u64>,
}

/// What a sandbox with a quota holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The blocks that files take, those that are open and have no name any more among them.
    pub bytes: u64,
    /// How many there are, likewise, and the sandbox itself.
    pub inodes: u64,
}

/// Has a new sandbox hold so much at most; `None`: as much as there is, until that is [changed](change). A repeat with other
/// figures changes it.
///
/// Before the first file of the sandbox is made: what is there already belongs to no project, and could not be renamed any
/// more (rename(2), EXDEV). Answers `false`, and does nothing, where the file system has no such quotas or the agent may not
/// set them.
pub fn give(sandbox: &Path, limit: Option<Limit>) -> io::Result<bool> {
    let folder = folder(sandbox)?;
    if !is_kept_to(folder.as_fd()) {
        return Ok(false);
    }
    let project = match project(folder.as_fd())? {
        Some(project) => project,
        None => give_project(folder.as_fd())?,
    };
    set(folder.as_fd(), project, limit).map(|()| true)
}

/// Changes what a sandbox holds that was given a quota, also to less than what is there. Answers `false`, and does nothing,
/// where it was given none.
pub fn change(sandbox: &Path, limit: Option<Limit>) -> io::Result<bool> {
    let folder = folder(sandbox)?;
    if !is_kept_to(folder.as_fd()) {
        return Ok(false);
    }
    match project(folder.as_fd())? {
        Some(project) => set(folder.as_fd(), project, limit).map(|()| true),
        None => Ok(false),
    }
}

fn set(folder: BorrowedFd<'_>, project: u32, limit: Option<Limit>) -> io::Result<()> {
    // To the kernel none is 0.
    let blocks = limit.map_or(0, |limit| (limit.bytes / BLOCK_BYTES).max(1));
    let inodes = limit.and_then(|limit| limit.inodes).map_or(0, |inodes| inodes.max(1));
    let mut quota = Quota::none();
    quota.0.dqb_bhardlimit = blocks;
    quota.0.dqb_bsoftlimit = blocks;
    quota.0.dqb_ihardlimit = inodes;
    quota.0.dqb_isoftlimit = inodes;
    quota.0.dqb_valid = libc::QIF_BLIMITS | libc::QIF_ILIMITS;
    Ok(control(folder, libc::Q_SETQUOTA, project, ptr::from_mut(&mut quota.0).cast())?)
}

/// What a sandbox with a quota holds. `None` where there is none, or it cannot be asked.
pub fn used(sandbox: &Path) -> Option<Used> {
    let folder = folder(sandbox).ok()?;
    let project = project(folder.as_fd()).ok().flatten()?;
    let quota = quota(folder.as_fd(), project).ok()?.0;
    Some(Used { bytes: quota.dqb_curspace, inodes: quota.dqb_curinodes })
}

fn folder(sandbox: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(sandbox, flags, Mode::empty())?)
}

/// A file system that knows nothing of them, a kernel before 5.14, or an agent that may not: whatever is wrong, there is
/// no quota. That they are kept to everybody is told, and of a project only who may also set its quota.
fn is_kept_to(folder: BorrowedFd<'_>) -> bool {
    let may = !matches!(quota(folder, FIRST), Err(error) if error.kind() == ErrorKind::PermissionDenied);
    // `struct fs_quota_stat` takes 80 bytes: a version and a byte of padding, then the flags.
    let mut state = [0_u16; 64];
    control(folder, STATE, 0, state.as_mut_ptr().cast()).is_ok() && state[1] & KEPT_TO != 0 && may
}

/// One of ours that the folder belongs to.
fn project(folder: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let Attributes { flags, project, .. } = attributes(folder)?;
    Ok((flags & INHERITED != 0 && project >= FIRST).then_some(project))
}

/// Has the folder, and what is made in it from now on, belong to a project that nothing else belongs to.
fn give_project(folder: BorrowedFd<'_>) -> io::Result<u32> {
    // Two sandboxes that begin at one time may look at the same one.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let inode = File::from(folder.try_clone_to_owned()?).metadata()?.ino();
    for number in 0..TRIES {
        let project = FIRST + (inode.wrapping_add(number.into()) % u64::from(FIRST)) as u32;
        let is_free = match quota(folder, project) {
            Ok(quota) => quota.0.dqb_curinodes == 0,
            // On XFS, of a project that never was.
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if is_free {
            let before = attributes(folder)?;
            let attributes = Attributes { flags: before.flags | INHERITED, project, ..before };
            // SAFETY: the kernel reads as much as the struct is, of a reference that lives on.
            unsafe { request::set_attributes(folder.as_raw_fd(), &attributes) }?;
            return Ok(project);
        }
    }
    Err(io::Error::other(format!("each of {TRIES} projects has files already")))
}

fn attributes(folder: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes as much as the struct is, to a reference that lives on.
    unsafe { request::get_attributes(folder.as_raw_fd(), &mut attributes) }?;
    Ok(attributes)
}

struct Quota(libc::dqblk);

impl Quota {
    fn none() -> Quota {
        // SAFETY: it has numbers only, for which zeros are a value.
        Quota(unsafe { mem::zeroed() })
    }
}

fn quota(folder: BorrowedFd<'_>, project: u32) -> io::Result<Quota> {
    let mut quota = Quota::none();
    control(folder, libc::Q_GETQUOTA, project, ptr::from_mut(&mut quota.0).cast())?;
    Ok(quota)
}

/// Asks the file system of a folder about the quota of a project (quotactl(2)). By the folder and not by its device, which
/// the agent may not see.
fn control(
    folder: BorrowedFd<'_>,
    command: i32,
    project: u32,
    address: *mut libc::c_void,
) -> Result<(), Errno> {
    let command = command << 8 | OF_PROJECTS;
    // SAFETY: the kernel reads or writes what the command goes with: a `dqblk` for a quota, less than 128 bytes for the
    // state, and each caller has one of that at the address.
    let done = unsafe { libc::syscall(libc::SYS_quotactl_fd, folder.as_raw_fd(), command, project, address) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_on_a_file_system_without_quotas_of_projects_has_none_and_that_is_no_error() {
        // In memory, where the kernel has none of projects.
        let sandbox = tempfile::tempdir_in("/dev/shm").expect("it is writable");
        let limit = Limit { bytes: 1 << 20, inodes: Some(100) };
        assert!(!give(sandbox.path(), Some(limit)).expect("that is no error"));
        assert!(!change(sandbox.path(), None).expect("that is no error"));
        assert_eq!(used(sandbox.path()), None);
        let missing = sandbox.path().join("missing");
        assert!(give(&missing, None).is_err_and(|error| error.kind() == ErrorKind::NotFound));
    }
}
