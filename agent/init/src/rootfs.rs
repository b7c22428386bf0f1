//! A directory of the machine as the root of a task, written to without being changed.
//!
//! The kernel lays an upper directory, in the task's sandbox, over it (overlayfs). Where the task has users of its own, the
//! files of users 0 to 65535 in the directory are theirs.
//!
//! What is in the directory is a stranger's: its set-user-id programs and device files do nothing, and its links lead
//! nowhere but into itself, as they are looked at after the switch of the root only. Even there none may stand for what
//! every container has: where `/proc` led to `/etc`, what is put up at the one would cover the other, and what is masked
//! could be found by another way. So where something is to be put up, a link is removed (which hides it in the upper
//! directory), and one on the way there is refused.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bourse_init::plan::Root;
use bourse_init::record::Failure;
use bourse_init::step::Step;

use crate::failure::At;
use crate::sys::{self, Links, MS_NODEV, MS_NOSUID};

/// Settings of the machine that a task with a root of its own has too, as it has the machine's network and name: what
/// Mesos shows to containers in the host's network.
pub const SETTINGS: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"];

/// The directories above the sandbox, where nobody but Bourse puts anything.
pub const ABOVE_SANDBOX: [&str; 2] = ["/mnt", "/mnt/mesos"];

/// The directories that become the root, held whatever happens to their paths.
pub struct Layers {
    lower: OwnedFd,
    upper: OwnedFd,
    work: OwnedFd,
}

impl Layers {
    /// Refuses links on the way: whoever could put one there could choose what is shown and where it is written.
    pub fn open(root: &Root) -> Result<Layers, Failure> {
        let open = |path: &Path| {
            sys::open_place(path, Links::Refuse).at(Step::Rootfs, || path.display().to_string())
        };
        Ok(Layers { lower: open(&root.lower)?, upper: open(&root.upper)?, work: open(&root.work)? })
    }

    /// Mounts the root over `place`, for a task with these users of its own, if it has such. From then on the directory
    /// itself is covered in this mount namespace by one whose files are theirs.
    pub fn mount(&self, place: &Path, users: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mapped = users.map(|users| mapped(self.lower.as_fd(), users)).transpose()?;
        let lower = mapped.as_ref().unwrap_or(&self.lower);
        // By descriptors: no character of a path means anything then, and the task does not learn where it is kept.
        let [lower, upper, work] =
            [lower, &self.upper, &self.work].map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd()));
        let mut options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        if !is_machines_user_namespace() {
            // Its usual ones are for root of the machine alone; since Linux 5.11.
            options.push_str(",userxattr");
        }
        sys::mount("root", place, "overlay", MS_NOSUID | MS_NODEV, &options)
    }
}

/// The directory once more, with its files as those of these users; over itself, as overlayfs takes no mount that is
/// attached nowhere.
fn mapped(directory: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let tree = sys::detached_tree(directory, false)?;
    sys::map_users_of_tree(tree.as_fd(), users)?;
    sys::attach_tree(tree.as_fd(), directory)?;
    Ok(tree)
}

/// Whether users are known here by the numbers that the machine has for them, all of them (user_namespaces(7)).
fn is_machines_user_namespace() -> bool {
    const ALL: [&str; 3] = ["0", "0", "4294967295"];
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().eq(ALL))
}

/// Removes what is at `place` if that is a link.
pub fn remove_link(place: &Path) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(there) if there.is_symlink() => fs::remove_file(place),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
