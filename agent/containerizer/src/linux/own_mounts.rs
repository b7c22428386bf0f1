//! Which mounts of a container show what its task has on its disk: its sandbox, and the root that it writes to.

use std::collections::BTreeSet;
use std::fs;

use rustix::fs::makedev;

use crate::spec::SANDBOX;

/// The mounts that the first process of a container sees.
///
/// Asked of that one, as the task cannot change what it sees: a process of its own may have another root, and is then shown
/// no mount outside of that.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnMounts {
    /// Those with files of the task's disk. Without a sandbox there are none.
    own: BTreeSet<u64>,
    /// All others, such as volumes, which may be on the same disk. Likewise.
    others: BTreeSet<u64>,
    /// The devices of its own.
    devices: BTreeSet<u64>,
}

/// One of them (proc_pid_mountinfo(5)).
struct Mount<'a> {
    id: u64,
    device: &'a str,
    root: &'a str,
    place: &'a str,
    kind: &'a str,
}

impl OwnMounts {
    /// None are known where the process is gone.
    pub fn of(first: u32) -> OwnMounts {
        // Names may be any bytes; numbers and slashes are what counts.
        let mounts = fs::read(format!("/proc/{first}/mountinfo")).unwrap_or_default();
        OwnMounts::parse(&String::from_utf8_lossy(&mounts))
    }

    fn parse(mountinfo: &str) -> OwnMounts {
        let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(parse_line).collect();
        let Some(sandbox) = mounts.iter().rfind(|mount| mount.place == SANDBOX) else {
            return OwnMounts::default();
        };
        let (own, others): (Vec<&Mount<'_>>, Vec<&Mount<'_>>) =
            mounts.iter().partition(|mount| mount.is_part_of(sandbox) || mount.is_own_root());
        let ids = |mounts: &[&Mount<'_>]| mounts.iter().map(|mount| mount.id).collect();
        OwnMounts {
            own: ids(&own),
            others: ids(&others),
            devices: own.iter().filter_map(|mount| device(mount.device)).collect(),
        }
    }

    /// Whether a file is the task's that was opened by this mount, and that is on this device as the file itself tells. One
    /// of which the mount is not known was opened before the sandbox was mounted, as the logs are: it is the task's if it is
    /// on the disk of the sandbox.
    pub fn have(&self, mount: Option<u64>, device: u64, of_sandbox: u64) -> bool {
        match mount {
            Some(mount) if self.own.contains(&mount) => true,
            Some(mount) if self.others.contains(&mount) => false,
            Some(_) | None => device == of_sandbox,
        }
    }

    /// Whether files of the task's may be on this device.
    pub fn may_be_on(&self, device: u64, of_sandbox: u64) -> bool {
        device == of_sandbox || self.devices.contains(&device)
    }
}

impl Mount<'_> {
    /// `/tmp` is, and so is a volume that is a directory of the sandbox.
    fn is_part_of(&self, sandbox: &Mount<'_>) -> bool {
        let below = self.root.strip_prefix(sandbox.root.trim_end_matches('/'));
        self.device == sandbox.device && below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// What is written to a root that a task has brought goes into its sandbox, and has the overlay's device or one that no
    /// mount is known by (kernel documentation, `overlayfs.rst`, "Inode properties"). A task without such a root has another
    /// kind of file system there.
    fn is_own_root(&self) -> bool {
        self.place == "/" && self.kind == "overlay"
    }
}

fn parse_line(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let id = left.next()?.parse().ok()?;
    let (device, root, place) = (left.nth(1)?, left.next()?, left.next()?);
    Some(Mount { id, device, root, place, kind: right.split(' ').next()? })
}

/// `8:1`.
fn device(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: u64 = 77;

    const MOUNTS: &str = "\
        30 20 8:1 / / rw - ext4 /dev/sda1 rw\n\
        31 30 8:1 /srv/runs/c1 /mnt/mesos/sandbox rw - ext4 /dev/sda1 rw\n\
        32 30 8:1 /srv/runs/c1/tmp /tmp rw - ext4 /dev/sda1 rw\n\
        33 30 8:1 /data /volume rw - ext4 /dev/sda1 rw\n\
        34 30 8:1 /srv/runs/c10 /neighbour rw shared:7 - ext4 /dev/sda1 rw\n\
        35 30 8:2 /srv/runs/c1 /other\\040disk rw - ext4 /dev/sdb1 rw\n\
        36 30 0:9 / /dev/shm rw - tmpfs shm rw\n\
        37 30 0:40 / /image rw - overlay other rw\n\
        no mount at all\n";

    fn own(mounts: &str) -> Vec<u64> {
        OwnMounts::parse(mounts).own.into_iter().collect()
    }

    #[test]
    fn what_is_mounted_of_a_sandbox_is_told_from_volumes_on_the_same_disk() {
        let mounts = OwnMounts::parse(MOUNTS);
        let has = |mount| mounts.have(Some(mount), DISK, DISK);
        assert!([31, 32].into_iter().all(has) && ![30, 33, 34, 35, 36, 37].into_iter().any(has));
        let whole = MOUNTS.replace("/srv/runs/c1 /mnt", "/ /mnt");
        assert_eq!(own(&whole), [30, 31, 32, 33, 34], "a disk of its own");
        assert!(mounts.may_be_on(makedev(8, 1), DISK) && mounts.may_be_on(DISK, DISK));
        assert!(!mounts.may_be_on(makedev(8, 2), DISK));
    }

    #[test]
    fn the_root_that_a_task_writes_to_is_its_own_whatever_the_device_of_a_file_there_is() {
        let rooted = MOUNTS.replace("8:1 / / rw - ext4 /dev/sda1", "0:39 / / rw - overlay root");
        assert_eq!(own(&rooted), [30, 31, 32]);
        let mounts = OwnMounts::parse(&rooted);
        assert!(mounts.have(Some(30), 1, DISK) && !mounts.have(Some(37), 1, DISK));
        assert!(mounts.may_be_on(makedev(0, 39), DISK) && !mounts.may_be_on(makedev(0, 40), DISK));
    }

    #[test]
    fn where_a_mount_is_not_known_the_device_decides() {
        let mounts = OwnMounts::parse(MOUNTS);
        for mount in [None, Some(99)] {
            assert!(mounts.have(mount, DISK, DISK) && !mounts.have(mount, 1, DISK), "{mount:?}");
        }
        let before = OwnMounts::parse(&MOUNTS.replace(SANDBOX, "/elsewhere"));
        assert_eq!(before, OwnMounts::default(), "there is no sandbox yet");
        assert!(before.have(Some(33), DISK, DISK) && !before.have(Some(31), 1, DISK));
    }
}
