//! Files that a task has open and that have no name any more: they take room and inodes of a disk, and no walk finds them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::containerizer::Unlinked;
use crate::kernel_file;
use crate::spec::SANDBOX;

/// The unit of `st_blocks`, whatever the file system's own is.
const BLOCK_BYTES: u64 = 512;

/// So many descriptors are looked at in all.
const DESCRIPTORS_MAX: usize = 100_000;

/// What those on one device take that these processes have open: each once, however many have it. Those of the task's
/// volumes are nobody's sandbox and are left out, also where they lie on that device. A process that ends meanwhile has none
/// any more. What a process has mapped only, or sent to itself through a socket, is not seen.
pub fn measure(processes: impl IntoIterator<Item = u32>, device: u64) -> Unlinked {
    measure_within(DESCRIPTORS_MAX, processes, device)
}

fn measure_within(most: usize, processes: impl IntoIterator<Item = u32>, device: u64) -> Unlinked {
    let (mut seen, mut found, mut looked) = (BTreeSet::new(), Unlinked::NONE, 0);
    for pid in processes.into_iter().filter(|&pid| pid != 0) {
        let mut elsewhere = None;
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            looked += 1;
            if looked > most {
                return Unlinked { is_whole: false, ..found };
            }
            // Few have none, and their names cost no look at a disk: one of another machine may not answer.
            if !is_nameless(&descriptor.path()) {
                continue;
            }
            let elsewhere = elsewhere.get_or_insert_with(|| mounts_elsewhere(pid));
            if mount_of(pid, &descriptor.file_name()).is_none_or(|mount| elsewhere.contains(&mount)) {
                continue;
            }
            // Only looked at, never opened: that of a device or a pipe could wait for ever.
            let Ok(file) = fs::metadata(descriptor.path()) else { continue };
            let counts = file.is_file() && file.nlink() == 0 && file.dev() == device;
            if counts && seen.insert(file.ino()) {
                found.bytes = found.bytes.saturating_add(file.blocks().saturating_mul(BLOCK_BYTES));
                found.inodes += 1;
            }
        }
    }
    found
}

/// Whether the kernel says of an open file that the name is gone by which it was opened. It may have others.
fn is_nameless(descriptor: &Path) -> bool {
    fs::read_link(descriptor).is_ok_and(|name| name.as_os_str().as_bytes().ends_with(b" (deleted)"))
}

/// The mount by which a process has a file open.
fn mount_of(pid: u32, descriptor: &OsStr) -> Option<u64> {
    let about = kernel_file::read(Path::new(&format!("/proc/{pid}/fdinfo")).join(descriptor)).ok()?;
    about.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// The mounts that a process sees and that show nothing of its sandbox.
fn mounts_elsewhere(pid: u32) -> BTreeSet<u64> {
    // Names may be any bytes; numbers and slashes are what counts.
    let mounts = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    elsewhere(&String::from_utf8_lossy(&mounts))
}

/// Those of a text as proc_pid_mountinfo(5) says. `/tmp` is a directory of the sandbox, and so not among them. Without a
/// sandbox there are none: files are opened before it is mounted, as the logs are.
fn elsewhere(mountinfo: &str) -> BTreeSet<u64> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let id = fields.next()?.parse::<u64>().ok()?;
        let (device, root, place) = (fields.nth(1)?, fields.next()?, fields.next()?);
        Some((id, device, root, place))
    });
    let mounts: Vec<_> = mounts.collect();
    let Some(&(_, device, sandbox, _)) = mounts.iter().rfind(|(_, _, _, place)| *place == SANDBOX) else {
        return BTreeSet::new();
    };
    let is_below = |root: &str| {
        let below = root.strip_prefix(sandbox.trim_end_matches('/'));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    let others = mounts.iter().filter(|(_, on, root, _)| *on != device || !is_below(root));
    others.map(|(id, ..)| *id).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process with nothing open but these, as others of this one may have files without a name, too.
    fn sleeping(stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Child {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").stdin(stdin).stdout(stdout).stderr(Stdio::null());
        sleep.spawn().expect("coreutils are installed")
    }

    fn end(mut child: Child) {
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    #[test]
    fn a_file_without_a_name_counts_once_as_long_as_somebody_has_it_open() {
        let folder = tempfile::tempdir().expect("it is writable");
        let device = fs::metadata(folder.path()).expect("it is there").dev();
        let mut file = fs::File::create(folder.path().join("gone")).expect("it is writable");
        file.write_all(&vec![7; 1 << 20]).expect("there is room");
        file.sync_all().expect("it is written");
        let child = sleeping(file.try_clone().expect("there are descriptors"), file);
        let pid = child.id();
        assert_eq!(measure([pid], device), Unlinked::NONE, "it has a name");
        fs::remove_file(folder.path().join("gone")).expect("it is there");
        let taken = measure([pid, 0, pid], device);
        assert!((1 << 20..2 << 20).contains(&taken.bytes), "{taken:?}");
        assert!(taken.inodes == 1 && taken.is_whole, "{taken:?}");
        assert_eq!(measure([pid], device + 1), Unlinked::NONE, "on no other device");
        end(child);
        assert_eq!(measure([pid], device), Unlinked::NONE);
    }

    #[test]
    fn descriptors_beyond_the_bound_are_not_looked_at_and_that_is_told() {
        let (one, other) = (sleeping(Stdio::null(), Stdio::null()), sleeping(Stdio::null(), Stdio::null()));
        let pids = [one.id(), other.id()];
        let is_whole = |most, pids: &[u32]| measure_within(most, pids.iter().copied(), 0).is_whole;
        let all = fs::read_dir(format!("/proc/{}/fd", pids[0])).expect("it runs").count();
        assert!(is_whole(all, &pids[..1]) && !is_whole(all - 1, &pids[..1]));
        assert!(!is_whole(all, &pids), "of all processes together");
        [one, other].into_iter().for_each(end);
    }

    #[test]
    fn what_is_mounted_of_a_sandbox_is_told_from_volumes_on_the_same_disk() {
        let mounts = "\
            30 20 8:1 / / rw - ext4 /dev/sda1 rw\n\
            31 30 8:1 /work/runs/c1 /mnt/mesos/sandbox rw - ext4 /dev/sda1 rw\n\
            32 30 8:1 /work/runs/c1/tmp /tmp rw - ext4 /dev/sda1 rw\n\
            33 30 8:1 /data /volume rw - ext4 /dev/sda1 rw\n\
            34 30 8:1 /work/runs/c10 /neighbour rw shared:7 - ext4 /dev/sda1 rw\n\
            35 30 8:2 /work/runs/c1 /other\\040disk rw - ext4 /dev/sdb1 rw\n\
            36 30 0:9 / /dev/shm rw - tmpfs shm rw\n\
            no mount at all\n";
        assert_eq!(elsewhere(mounts), BTreeSet::from([30, 33, 34, 35, 36]));
        let whole = mounts.replace("/work/runs/c1 /mnt", "/ /mnt");
        assert_eq!(elsewhere(&whole), BTreeSet::from([35, 36]), "a disk of its own");
        let before = mounts.replace(SANDBOX, "/elsewhere");
        assert_eq!(elsewhere(&before), BTreeSet::new());
    }
}
