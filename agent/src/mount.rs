//! Which mount something lies on.
//!
//! A device number does not tell: btrfs gives each subvolume one of its own, and a task can make subvolumes in its sandbox.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::path::Arg;

/// The mount of what has this name in a folder, for as long as it is mounted. A link is not followed. `None`: nothing is
/// there, or the kernel does not tell, as Linux before 5.8.
pub fn id(folder: impl AsFd, name: impl Arg) -> Option<u64> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let about = statx(folder, name, flags, StatxFlags::MNT_ID).ok()?;
    (about.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(about.stx_mnt_id)
}

/// Where a folder lies.
#[derive(Clone, Copy, Debug)]
pub struct Location {
    /// As [`id`] tells.
    pub mount: Option<u64>,
    /// Its `st_dev`.
    pub device: u64,
}

impl Location {
    /// Whether both are of one mount. Where mounts are not known, those of one device count as of one mount.
    pub fn shares_mount(self, other: Location) -> bool {
        match (self.mount, other.mount) {
            (Some(own), Some(others)) => own == others,
            (Some(_), None) | (None, Some(_)) | (None, None) => self.device == other.device,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::thread;

    use nix::mount::{MsFlags, mount};
    use nix::sched::CloneFlags;
    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn the_mount_decides_and_the_device_only_where_the_kernel_tells_no_mount() {
        let at = |mount, device| Location { mount, device };
        assert!(at(Some(1), 7).shares_mount(at(Some(1), 8)), "a subvolume of btrfs");
        assert!(!at(Some(1), 7).shares_mount(at(Some(2), 7)), "a part of the same disk, mounted again");
        assert!(at(None, 7).shares_mount(at(None, 7)) && !at(None, 7).shares_mount(at(None, 8)));
    }

    #[test]
    fn what_is_mounted_has_another_number_than_its_folder_also_where_the_device_is_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        for name in ["plain", "bound"] {
            fs::create_dir(path.join(name)).expect("writable");
        }
        assert_eq!(id(CWD, path.join("none")), None);
        // For this thread only.
        thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("tests run as root");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("ours");
            mount(Some(&path.join("plain")), &path.join("bound"), none, MsFlags::MS_BIND, none)
                .expect("ours");
            let open = File::open(&path).expect("there");
            let own = id(CWD, &path);
            assert!(own.is_some(), "these tests need Linux 5.8");
            assert_eq!((id(&open, c"."), id(&open, c"plain")), (own, own));
            assert_ne!(id(&open, c"bound"), own);
        })
        .join()
        .expect("as said");
    }
}
